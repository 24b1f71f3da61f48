"""What the feed is made of: pages of fact rows with a watermark, each read by one statement, of one instant.

The watermark may be ahead of the rows, never behind; a gate counts it once it got there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Any, NamedTuple

import asyncpg
from consent_domain.errors import ConsentError
from consent_domain.feed import FORMAT, Page, Row, Watermark
from consent_domain.instants import micros
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.watermarks import LedgerTime

PAGE_FACTS_BYTES_MAX = 1024 * 1024
"""Of the facts in one page; a row that is larger by itself makes a page by itself."""
STAND_SECONDS_MAX = 2.0

# The driver and the loop's transport say it by the last two when a connection went away in the middle.
_FAILED = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_LOST = (*_FAILED, asyncpg.InternalClientError, RuntimeError, AttributeError)


class NoView(ConsentError):
    """There are no facts to read: no projector has begun here yet, or its rows and events do not fit."""


class Stand(NamedTuple):
    """Where the log stood, and how far its facts reached then."""

    watermark: Watermark
    through: int
    generation: int


async def read_page(pool: Pool, after: int, rows_max: int, time: LedgerTime) -> Page:
    """The page after a position, at most `rows_max` rows and 1 MiB of facts.

    Where the view is behind `after`, as one that is being rebuilt, the page has no rows and goes nowhere.
    Raises NoView, and ConsentError `unavailable`.
    """
    found = await _fetch(pool, STATEMENTS["feed_page"], None, after, rows_max + 1)
    first = found[0]
    rows = [Row(row["kind"], row["id"], row["position"], row["facts"]) for row in found if row["kind"]]
    count = min(rows_max, _within(rows, PAGE_FACTS_BYTES_MAX))
    more = len(rows) > count
    rows = rows[:count]
    through = rows[-1].position if more else max(after, first["through"])
    mark = _watermark(first, time)
    return Page(FORMAT, mark.origin, mark.epoch, first["generation"], after, through, more, mark, rows)


async def read_stand(pool: Pool, time: LedgerTime) -> Stand:
    """Where log and facts stand now, within 2 s. Raises NoView, and ConsentError `unavailable`."""
    (row,) = await _fetch(pool, STATEMENTS["feed_stand"], STAND_SECONDS_MAX)
    return Stand(_watermark(row, time), row["through"], row["generation"])


async def read_generation(pool: Pool) -> int:
    """The generation of the facts, 0 if there are none yet.

    Raises ConsentError `unavailable`, also while their rows and events are found not to fit.
    """
    try:
        ((generation, disputed),) = await _fetch(pool, STATEMENTS["facts_generation"], STAND_SECONDS_MAX)
    except NoView:
        return 0
    if disputed:
        raise ConsentError("unavailable", "the facts and their events do not fit: run consent-ledger fsck")
    return int(generation)


def page_without_rows(after: int, stand: Stand) -> Page:
    """The page of one who has everything."""
    mark = stand.watermark
    return Page(FORMAT, mark.origin, mark.epoch, stand.generation, after, after, False, mark, [])


async def _fetch(pool: Pool, statement: str, seconds_max: float | None, *given: int) -> list[Any]:
    try:
        async with acquire(pool) as connection:
            found = await connection.fetch(statement, *given, timeout=seconds_max)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise NoView("unavailable", "there is no view of the facts yet") from error
    except _LOST as error:
        raise ConsentError("unavailable", f"the facts cannot be read: {type(error).__name__}") from error
    if not found:
        raise NoView("unavailable", "there is no view of the facts yet")
    return list(found)


def _within(rows: Sequence[Row], bytes_max: int) -> int:
    """How many of the rows, from the first on, have so many bytes of facts together; at least one."""
    sizes = accumulate(len(row.facts) for row in rows)
    return max(1, sum(1 for _ in takewhile(lambda size: size <= bytes_max, sizes)))


def _watermark(row: Any, time: LedgerTime) -> Watermark:
    now, recorded_at = micros(row["now"]), micros(row["recorded_at"])
    return Watermark(row["origin"], row["epoch"], row["head"], time.at(now, recorded_at))
