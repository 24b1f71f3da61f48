"""The feed of remote gates: pages of fact rows with a watermark, all of one instant, signed.

Rows, the view's position and the head are read by one statement after the request came. The
watermark may therefore be ahead of the rows, never behind; a gate counts it once it got there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
from consent_domain.errors import ConsentError
from consent_domain.feed import FORMAT, Page, Row, Watermark
from consent_domain.identifiers import Token
from consent_domain.instants import micros
from consent_gate.signatures import Signer, sign_page
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.database import STATEMENTS

WAIT_SECONDS_MAX = 1.0
LOOK_SECONDS = 0.02


class NoView(ConsentError):
    """There are no facts to read: no projector has begun here yet."""


async def read_page(pool: Pool, after: int, rows_max: int) -> Page:
    """The page after a position, at most `rows_max` rows. Raises NoView, and ConsentError `unavailable`.

    Where the view is behind `after`, as one that is being rebuilt, the page has no rows and goes nowhere.
    """
    try:
        async with acquire(pool) as connection:
            found = await connection.fetch(STATEMENTS["feed_page"], after, rows_max + 1)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise NoView("unavailable", "there is no view of the facts yet") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConsentError("unavailable", f"the facts cannot be read: {type(error).__name__}") from error
    if not found:
        raise NoView("unavailable", "there is no view of the facts yet")
    first = found[0]
    rows = [Row(row["kind"], row["id"], row["position"], row["facts"]) for row in found if row["kind"]]
    more = len(rows) > rows_max
    rows = rows[:rows_max]
    now = max(micros(first["now"]), micros(first["recorded_at"]))
    return Page(
        FORMAT,
        first["origin"],
        first["epoch"],
        after,
        rows[-1].position if more else max(after, first["through"]),
        more,
        Watermark(first["origin"], first["epoch"], first["head"], now),
        rows,
    )


class Feed:
    """Answers gates. One for all requests of a process, in its loop."""

    def __init__(self, pool: Pool, signer: Signer, require_sound: Callable[[], None] = lambda: None) -> None:
        """`require_sound` raises ConsentError while nothing may be told to gates."""
        self._pool = pool
        self._signer = signer
        self._require_sound = require_sound
        self._moved = asyncio.Event()
        self._waiting = 0
        self._looking: asyncio.Task[None] | None = None

    async def page(self, after: Token | None, rows_max: int) -> bytes:
        """The signed page after a token (None: the beginning), within 1 s if nothing changes.

        Raises ConsentError: `other_origin`; `resync` for a token of an earlier epoch, whose holder must
        begin anew; `forked` for one that this log never gave; `unavailable`; `damaged` while the log is
        halted: who follows gets neither facts nor a watermark then, and denies once it is stale.
        """
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            moved = self._moved
            page = await read_page(self._pool, 0 if after is None else after.position, rows_max)
            if after is not None:
                _require_known(after, page.watermark)
            left = deadline - time.monotonic()
            self._require_sound()
            if page.rows or page.through > page.after or left <= 0:
                return sign_page(page, self._signer)
            await self._wait(moved, left, page.through)

    async def _wait(self, moved: asyncio.Event, seconds_max: float, position: int) -> None:
        """Until the view moves: one question for all who wait, 50 times a second while anybody does."""
        self._waiting += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(position))
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(moved.wait(), seconds_max)
        finally:
            self._waiting -= 1

    async def _look(self, position: int) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with acquire(self._pool) as connection:
                    now_at = await connection.fetchval(STATEMENTS["feed_position"])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                continue  # whoever waits reads the page itself in the end, and says what is wrong
            if now_at is not None and now_at != position:
                position = now_at
                self._moved.set()
                self._moved = asyncio.Event()


def _require_known(after: Token, head: Watermark) -> None:
    if after.origin != head.origin:
        raise ConsentError("other_origin", f"the token is of {after.origin}, and this is {head.origin}")
    if after.epoch < head.epoch:
        raise ConsentError("resync", f"epoch {head.epoch} has begun; ask after=0", epoch=head.epoch)
    if (after.epoch, after.position) > (head.epoch, head.position):
        raise ConsentError("forked", f"this log stands at {head.epoch}/{head.position}, before the token")
