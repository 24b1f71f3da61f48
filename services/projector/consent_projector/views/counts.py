"""`views.counts`: how many events of each type were recorded on each day, UTC.

Rows are what `events` add, not the new totals: the cursor makes sure that each is added once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import msgspec

from consent_projector.seams import Changes, Fault, Row, View
from consent_projector.stored import Stored


class _Recorded(msgspec.Struct, frozen=True):
    """What of an envelope is counted. Bodies are not read: what a later version wrote counts as well."""

    type: str
    time: str


_decode = msgspec.json.Decoder(_Recorded).decode
_DAY_LENGTH = len("2026-01-31")


def fold(rows: Iterable[Row], events: Iterable[Stored]) -> Changes:
    """Rows (day, type, events to add, position of the last of them). `rows` need not be known."""
    added: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    faults: list[Fault] = []
    for event in events:
        try:
            recorded = _decode(event.body)
            key = recorded.time[:_DAY_LENGTH], recorded.type
            if key not in added:
                date.fromisoformat(key[0])
        except Exception as error:  # RecursionError of deep nesting, too: the log goes on
            faults.append(Fault(event.position, event.stream, f"{type(error).__name__}: {error}"))
            continue
        added[key] = added.get(key, 0) + 1
        last[key] = event.position
    return Changes(
        [(date.fromisoformat(day), kind, number, last[day, kind]) for (day, kind), number in added.items()],
        faults,
    )


COUNTS = View("counts", ("day", "type", "events", "position"), None, fold, splits=False)
