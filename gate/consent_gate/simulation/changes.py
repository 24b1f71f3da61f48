"""What one book would decide otherwise than another: for one workspace, or for a class of plain ones.

Decisions are compared for all collection times at once. A use is "permitted" if any data of the
workspace may be used for it; between two permits, the windows may grow or shrink.

| change | something was permitted | something would be | |
|---|---|---|---|
| `newly_permitted` | no | yes | |
| `widened` | yes | yes | data that could not be used could (whatever else no longer could) |
| `narrowed` | yes | yes | data that could be used no longer could, and no other could |
| `newly_denied` | yes | no | |
| `unchanged` | | | the same data as before |
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.grounds import prepare
from consent_domain.instants import Micros
from consent_domain.ruling import BEGINNING, Ruling, Snapshot, Window, for_member, rule_case, rule_class

from consent_gate.simulation.questions import Question
from consent_gate.simulation.shapes import Shapes

SHAPES_MAX = 100_000
"""How many shapes of facts are remembered at a time."""

NEWLY_PERMITTED, WIDENED, NARROWED, NEWLY_DENIED, UNCHANGED = (
    "newly_permitted", "widened", "narrowed", "newly_denied", "unchanged",
)  # fmt: skip
CHANGES = (NEWLY_PERMITTED, WIDENED, NARROWED, NEWLY_DENIED)
"""What is worth telling, the gravest first."""
WIDENING = (NEWLY_PERMITTED, WIDENED)


class Outcome(NamedTuple):
    """What becomes of one question about one workspace: the codes are of each decision's first reason."""

    change: str
    permitted_before: bool
    permitted_after: bool
    code_before: str
    code_after: str


Outcomes = tuple[Outcome, ...]
"""One for each question, in their order."""


class Line(NamedTuple):
    """The outcomes for the members of a class, by when each became a customer.

    Members from `starts[i]` up to the next start get `outcomes[i]`; the first start is the beginning.
    """

    starts: list[Micros]
    outcomes: list[Outcomes]

    def at(self, since: Micros) -> Outcomes:
        """The outcomes for a member that became a customer then."""
        return self.outcomes[bisect_right(self.starts, since) - 1]


class Comparison:
    """Compares what two books make of the same facts, at one ledger time, on the same questions."""

    def __init__(self, snapshot: Snapshot, after: Book, at: Micros, questions: Sequence[Question]) -> None:
        """`snapshot` has the facts, and the book before; `after` is the one after."""
        self.at = at
        self._facts = _Remembered(snapshot)
        self._cases = [
            (
                prepare(snapshot.book, question.purpose, question.categories, at),
                prepare(after, question.purpose, question.categories, at),
            )
            for question in questions
        ]
        self._shapes = Shapes((snapshot.book, after), at, self._facts.organisation)
        self._lines: dict[tuple[str, ...], Line] = {}
        self._known: dict[bytes, Outcomes] = {}

    def of_workspace(self, name: str, facts: WorkspaceFacts) -> Outcomes:
        """The outcomes for any workspace, by the rules. Raises as the snapshot does.

        About 20 µs for one whose like was judged before, 100 µs a question for the first of its shape.
        """
        shape = self._shapes.of(facts)
        known = None if shape is None else self._known.get(shape)
        if known is None:
            known = self._by_the_rules(name, facts)
            if shape is not None:
                if len(self._known) >= SHAPES_MAX:
                    self._known.clear()
                self._known[shape] = known
        return known

    def _by_the_rules(self, name: str, facts: WorkspaceFacts) -> Outcomes:
        seen = self._facts
        seen.forget_workspaces(name, facts)
        return tuple(
            outcome(rule_case(was, seen, name, self.at), rule_case(becomes, seen, name, self.at), self.at)
            for was, becomes in self._cases
        )

    def of_class(self, member: WorkspaceFacts) -> Line:
        """The outcomes for all plain workspaces of the class of `member`. Raises as the snapshot does.

        Classes that no version and no choice tells apart are judged once. It is not for members that become
        customers after the time at which is judged.
        """
        assert member.is_plain, "only workspaces without a history share what is decided"
        attributes = member.attributes[0]
        name = attributes.organisation
        organisation = self._facts.organisation(name) if name else None
        key = (member.kind, *self._shapes.attributes(attributes).profile)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = self._line(member, organisation)
        return line

    def _line(self, member: WorkspaceFacts, organisation: OrganisationFacts | None) -> Line:
        rulings = [
            (
                rule_class(was, organisation, member, self.at),
                rule_class(becomes, organisation, member, self.at),
            )
            for was, becomes in self._cases
        ]
        starts: list[Micros] = []
        found: list[Outcomes] = []
        for start in sorted(_instants(rulings)):
            outcomes = tuple(
                outcome(for_member(was, 1, start), for_member(becomes, 1, start), self.at)
                for was, becomes in rulings
            )
            if not found or found[-1] != outcomes:
                starts.append(start)
                found.append(outcomes)
        return Line(starts, found)


class _Remembered:
    """Facts that are looked up once although many questions ask for them.

    The book is there for the protocol: the rules find theirs in the case.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.book = snapshot.book
        self._snapshot = snapshot
        self._workspaces: dict[str, WorkspaceFacts | None] = {}
        self._organisations: dict[str, OrganisationFacts | None] = {}

    def forget_workspaces(self, name: str, facts: WorkspaceFacts) -> None:
        """All but this one: there are too many to remember. Organisations stay."""
        self._workspaces = {name: facts}

    def workspace(self, name: str) -> WorkspaceFacts | None:
        if name not in self._workspaces:
            self._workspaces[name] = self._snapshot.workspace(name)
        return self._workspaces[name]

    def organisation(self, name: str) -> OrganisationFacts | None:
        if name not in self._organisations:
            self._organisations[name] = self._snapshot.organisation(name)
        return self._organisations[name]


def outcome(before: Ruling, after: Ruling, at: Micros) -> Outcome:
    """How two rulings on the same question differ."""
    was, becomes = _windows(before, at), _windows(after, at)
    more, less = _holds_more(becomes, was), _holds_more(was, becomes)
    if more:
        change = WIDENED if was else NEWLY_PERMITTED
    elif less:
        change = NARROWED if becomes else NEWLY_DENIED
    else:
        change = UNCHANGED
    return Outcome(change, bool(was), bool(becomes), _code(before, at), _code(after, at))


def _windows(ruling: Ruling, at: Micros) -> tuple[Window, ...]:
    """The collection times up to `at` that are permitted; one that reaches up to it is open.

    Windows that begin later come of what was announced, as the end of a succession is: of them there
    is no data yet.
    """
    return tuple(
        Window(start, None if end is None or end > at else end)
        for start, end in (ruling.windows if ruling.permit else ())
        if start <= at
    )


def _code(ruling: Ruling, at: Micros) -> str:
    """The code of the first reason why something is permitted, or why nothing is."""
    if not ruling.permit:
        return ruling.reasons[0].code
    begun = [segment for segment in ruling.timeline if segment.start <= at]
    if not begun:
        return "before_enrolment"
    last = begun[-1].denied
    if last is None or any(segment.denied is None for segment in begun):
        return ruling.reasons[0].code
    return last.code


def _holds_more(some: Iterable[Window], others: Sequence[Window]) -> bool:
    """Whether any instant lies in a window of `some` and in none of `others`, which are in order."""
    for window in some:
        start = window.start
        for other in others:
            if other.start <= start and (other.end is None or other.end > start):
                if other.end is None:
                    break
                start = other.end
        else:
            if window.end is None or start < window.end:
                return True
    return False


def _instants(rulings: Iterable[tuple[Ruling, Ruling]]) -> set[Micros]:
    """Every instant at which it may matter whether a member became a customer before or after it."""
    return {BEGINNING, *(segment.start for pair in rulings for ruling in pair for segment in ruling.timeline)}
