"""`views.facts`: what decides about each workspace, each organisation, and everybody (the book).

It folds with `consent_domain.evolve` and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from consent_domain.envelope import decode
from consent_domain.errors import Unreadable
from consent_domain.evolve import evolve, quarantine
from consent_domain.facts import (
    BOOK_ID,
    Facts,
    home_of,
    pack,
    unpack_book,
    unpack_organisation,
    unpack_workspace,
)

from consent_projector.seams import Changes, Fault, Row, View
from consent_projector.stored import Stored

Home = tuple[str, str]
UNPACK: dict[str, Callable[[bytes], Facts]] = {
    "workspace": unpack_workspace,
    "organisation": unpack_organisation,
    "book": unpack_book,
}


def keys(events: Sequence[Stored]) -> tuple[list[str], ...]:
    """The kinds and ids of the rows that `events` fold into."""
    homes = {home for event in events if (home := home_of(event.stream)) is not None}
    return [kind for kind, _ in homes], [name for _, name in homes]


def fold(rows: Iterable[Row], events: Iterable[Stored]) -> Changes:
    """Rows (kind, id, position, packed facts) after `events`. Cost O(events × a stream's own history)."""
    facts: dict[str, Facts] = {}
    for kind, name, _, packed in rows:
        facts[_key(cast(str, kind), cast(str, name))] = UNPACK[cast(str, kind)](cast(bytes, packed))
    changed: dict[str, int] = {}
    faults: list[Fault] = []
    for position, stream, body in events:
        key = stream if stream.startswith(_OWN) else _BOOK
        before = facts.get(key)
        try:
            event = decode(body)
            if event.position != position or event.stream != stream:
                raise Unreadable("the event says another stream or position than its row")
            after = before if event.body is None else evolve(before, event)
        except (
            Exception
        ) as error:  # whatever it is, what depends on this event is denied, and the log goes on
            faults.append(Fault(position, stream, f"{type(error).__name__}: {error}"))
            after = quarantine(before, stream, position)
        if after is not None and after is not before and after != before:
            facts[key] = after
            changed[key] = position
    return Changes([(*_home(key), position, pack(facts[key])) for key, position in changed.items()], faults)


_BOOK = "book/-"
_OWN = ("workspace/", "organisation/")


def _key(kind: str, name: str) -> str:
    """A home as text; of workspaces and organisations it is the stream itself: no tuple for each event."""
    return _BOOK if kind == "book" else f"{kind}/{name}"


def _home(key: str) -> Home:
    home = home_of(key)
    return ("book", BOOK_ID) if home is None else home


FACTS = View("facts", ("kind", "id", "position", "facts"), keys, fold, splits=True)
