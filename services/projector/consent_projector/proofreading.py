"""Proofreading the facts: row after row is folded from the log again, for ever, and compared.

The feed signs what the rows say, so a row that somebody wrote by hand would permit what nobody granted.

1. An event that is not what its hash says is told of, and proves nothing: the rows that it is in are passed
   over. It is the log that was changed then, and the rows know better.
2. A row that is not what its events make of it is told of, and the facts are *disputed*: nobody reads
   them, hosts and gates deny once they are stale. Which of the two is wrong, row or events, only signed
   checkpoints can tell: `consent-ledger fsck`. If the log is sound, `consent-projector rebuild facts
   --accept-differences` makes another generation, which everybody takes whole.
3. A whole round without a wrong row ends a dispute, if it began after it: another process may dispute a row
   that this one was past already.

One round of a million rows takes about an hour and a half.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import structlog
from consent_domain.facts import home_of
from consent_domain.merkle import leaf_hash
from consent_plumbing.postgres import Pool

from consent_projector.database import STATEMENTS
from consent_projector.metrics import Metrics
from consent_projector.runner import BACK_OFF_SECONDS_MAX
from consent_projector.seams import Row, Unavailable
from consent_projector.store import connected
from consent_projector.stored import Stored
from consent_projector.views.facts import FACTS

ROWS_MAX = 50
PAUSE_SECONDS = 0.25
_BEGINNING = ("", "")

_log = structlog.get_logger()


class Wrong(NamedTuple):
    """A row that is not what its events make of it, or an event that is not what its hash says.

    `name` is the event's stream, or the row's kind and id.
    """

    name: str
    position: int


class Read(NamedTuple):
    """What a step read: how many rows, which are wrong, and which events are."""

    rows: int
    wrong: list[Wrong]
    changed: list[Wrong]


class _Compared(NamedTuple):
    rows: list[Row]
    wrong: list[Wrong]
    changed: list[Wrong]
    generation: int
    disputed: bool


class Proofreader:
    """Goes through the rows in the order of their keys. For one task."""

    def __init__(self, pool: Pool, rows_max: int = ROWS_MAX) -> None:
        self._pool = pool
        self._rows_max = rows_max
        self._after = _BEGINNING
        self._settles = 0  # the generation whose dispute this round ends, if it stays sound

    async def step(self) -> Read:
        """Compare the next rows. The facts are disputed if any is wrong; after a sound round, no more.

        Begins again at the first row after the last one. Raises Unavailable.
        """
        begins = self._after == _BEGINNING
        found = await self._compare()
        if found.wrong:
            # The ledger may have been put back between the two readings: then the second one says so.
            found = await self._compare()
        if found.wrong:
            await self._say("dispute_facts", found.generation)
        if begins:
            self._settles = found.generation if found.disputed else 0
        if found.wrong or found.changed:
            self._settles = 0
        elif not found.rows and self._settles:
            await self._say("settle_facts", self._settles)
        last = found.rows[-1] if found.rows else None
        self._after = _BEGINNING if last is None else (str(last[0]), str(last[1]))
        return Read(len(found.rows), found.wrong, found.changed)

    async def _say(self, statement: str, generation: int) -> None:
        async with connected(self._pool) as connection:
            said = await connection.fetchval(STATEMENTS[statement], generation)
        if said is not None:
            _log.warning(statement, generation=generation)

    async def _compare(self) -> _Compared:
        async with connected(self._pool) as connection:
            found = await connection.fetch(STATEMENTS["facts_after"], *self._after, self._rows_max)
            rows = [tuple(row)[3:] for row in found if row["kind"]]
            if not rows:
                return _Compared([], [], [], 0, disputed=False)
            streams = [f"{row[0]}/{row[1]}" for row in rows]
            has_book = any(row[0] == "book" for row in rows)
            through: int = found[0]["through"]
            stored = await connection.fetch(STATEMENTS["events_of_homes"], streams, has_book, through)
        events = [(Stored(*event[:3]), bytes(event[3])) for event in map(tuple, stored)]
        wrong, changed = await asyncio.to_thread(_compared, rows, events)
        return _Compared(rows, wrong, changed, found[0]["generation"], found[0]["disputed"])


def _compared(rows: list[Row], events: list[tuple[Stored, bytes]]) -> tuple[list[Wrong], list[Wrong]]:
    changed = [event for event, hashed in events if leaf_hash(event.body) != hashed]
    passed_over = {home_of(event.stream) for event in changed}
    folded = FACTS.fold([], [event for event, _ in events]).rows
    right = {row[:2]: row for row in folded}
    wrong = [row for row in rows if row[:2] not in passed_over and right.get(row[:2]) != row]
    return (
        [Wrong(f"{row[0]}/{row[1]}", int(str(row[2]))) for row in wrong],
        [Wrong(event.stream, event.position) for event in changed],
    )


async def keep_proofreading(proofreader: Proofreader, metrics: Metrics) -> None:
    """Step until cancelled. No failure ends it."""
    with structlog.contextvars.bound_contextvars(view=FACTS.name):
        while True:
            pause = PAUSE_SECONDS
            try:
                read = await proofreader.step()
            except Unavailable as error:
                _log.warning("unavailable", error=str(error))
                pause = BACK_OFF_SECONDS_MAX
            except Exception:
                _log.exception("proofreading_failed")
                pause = BACK_OFF_SECONDS_MAX
            else:
                _tell(read, metrics)
            await asyncio.sleep(pause)


def _tell(read: Read, metrics: Metrics) -> None:
    metrics.proofread(read.rows, len(read.wrong), len(read.changed))
    for row in read.wrong:
        _log.error("row_is_wrong", row=row.name, position=row.position)
    for event in read.changed:
        _log.error("event_is_changed", stream=event.name, position=event.position)
