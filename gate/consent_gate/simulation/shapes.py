"""What of a workspace's facts an outcome can depend on: equal shapes, equal outcomes.

The rules only compare: instants with each other and with those at which anything changes for
everybody, positions with each other, names with those that a policy speaks of. So every instant and
position may give way to its rank, and every name that nobody speaks of to none. A million opt-outs of
one kind have few shapes, and each is judged once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from consent_domain.facts import (
    Attributes,
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    WorkspaceFacts,
    pack,
)
from consent_domain.instants import Micros
from msgspec.structs import replace

FIELDS = ("plan", "region", "contract", "organisation")


class Shapes:
    """Makes shapes of facts, as two books and a ledger time tell them apart."""

    def __init__(
        self, books: Sequence[Book], at: Micros, organisation: Callable[[str], OrganisationFacts | None]
    ) -> None:
        """`organisation` looks up an organisation's facts."""
        self._organisation = organisation
        self._landmarks = sorted({at, *(instant for book in books for instant in _instants_of_book(book))})
        self._named = _named_in(books)

    def attributes(self, one: Attributes) -> Attributes:
        """The attributes without names that nobody speaks of."""
        plans, regions, contracts, _ = self._named
        return Attributes(
            one.since,
            one.position,
            one.plan if one.plan in plans else "",
            one.region if one.region in regions else "",
            one.contract if one.contract in contracts else "",
            self._told_organisation(one.organisation),
        )

    def _told_organisation(self, name: str) -> str:
        return "" if name and name not in self._named[3] and self._is_silent(name) else name

    def _is_silent(self, name: str) -> bool:
        """Whether the organisation is there and has never said anything."""
        facts = self._organisation(name)
        return facts is not None and facts == OrganisationFacts(facts.position)

    def of(self, facts: WorkspaceFacts) -> bytes | None:
        """The shape; None for facts that lead to another workspace's, which have none. About 20 µs."""
        if facts.successions:
            return None
        attributes = [self.attributes(one) for one in facts.attributes]
        instants = _Ranks(_instants(facts), self._landmarks_of(attributes))
        positions = _Ranks(_positions(facts), ())
        at, position = instants.of, positions.of_position
        return pack(
            replace(
                facts,
                position=1,
                customer_since=instants.rank(facts.customer_since),
                attributes=tuple(
                    replace(one, since=instants.rank(one.since), position=1) for one in attributes
                ),
                choices=Choices(
                    tuple(
                        replace(
                            one,
                            request="",
                            since=instants.rank(one.since),
                            position=position(one.position),
                            ended=at(one.ended),
                            permit_until=at(one.permit_until),
                        )
                        for one in facts.choices.opt_outs
                    ),
                    tuple(
                        replace(
                            one,
                            id="",
                            since=instants.rank(one.since),
                            position=position(one.position),
                            expires=at(one.expires),
                            ended=at(one.ended),
                            ended_position=position(one.ended_position),
                        )
                        for one in facts.choices.opt_ins
                    ),
                ),
                closed=at(facts.closed),
                closed_position=min(1, facts.closed_position),
                erased_position=min(1, facts.erased_position),
                quarantined=min(1, facts.quarantined),
            )
        )

    def _landmarks_of(self, attributes: Iterable[Attributes]) -> Sequence[Micros]:
        named = {one.organisation for one in attributes if one.organisation}
        known = [facts for facts in map(self._organisation, named) if facts is not None]
        instants = [instant for facts in known for instant in _instants_of_choices(facts.choices)]
        return sorted({*self._landmarks, *instants}) if instants else self._landmarks


class _Ranks:
    """Numbers in the order of instants or positions, and in the same places between landmarks."""

    def __init__(self, values: Iterable[int], landmarks: Sequence[int]) -> None:
        own = sorted(set(values))
        self._ranks = {
            value: (bisect_left(landmarks, value) + bisect_right(landmarks, value)) * (len(own) + 1) + number
            for number, value in enumerate(own, start=1)
        }

    def rank(self, value: int) -> int:
        return self._ranks[value]

    def of(self, value: int | None) -> int | None:
        return None if value is None else self._ranks[value]

    def of_position(self, value: int) -> int:
        """0 says that there is no such event, and keeps its meaning."""
        return self._ranks[value] if value else 0


def _instants(facts: WorkspaceFacts) -> Iterator[Micros]:
    yield facts.customer_since
    yield from (one.since for one in facts.attributes)
    yield from _instants_of_choices(facts.choices)
    if facts.closed is not None:
        yield facts.closed


def _instants_of_choices(choices: Choices) -> Iterator[Micros]:
    known: OptOut | OptIn
    for known in choices.opt_outs:
        yield from (one for one in (known.since, known.ended, known.permit_until) if one is not None)
    for known in choices.opt_ins:
        yield from (one for one in (known.since, known.ended, known.expires) if one is not None)


def _positions(facts: WorkspaceFacts) -> Iterator[int]:
    yield from (one.position for one in facts.choices.opt_outs)
    for opt_in in facts.choices.opt_ins:
        yield from (opt_in.position, opt_in.ended_position)


def _instants_of_book(book: Book) -> Iterator[Micros]:
    yield from (policy.effective for policy in book.policies)
    for stop in book.suspensions:
        yield from (one for one in (stop.since, stop.ended) if one is not None)


def _named_in(books: Iterable[Book]) -> tuple[frozenset[str], ...]:
    """The plans, regions, contracts and organisations that any version speaks of: it looks at no others."""
    parts = [
        part
        for book in books
        for policy in book.policies
        for part in (*policy.rules.rules, *policy.rules.exclusions)
    ]
    return tuple(
        frozenset(value for part in parts for value in getattr(part, f"{field}s", ())) for field in FIELDS
    )
