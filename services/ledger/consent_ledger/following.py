"""The replica of this host, kept up from PostgreSQL: facts to begin with, then every event.

One process per host follows, in a thread of its own; the others read what it writes. What this
process committed itself it hears at once, and applies it if it follows without a gap. A message
of another process only says that there is something to read: its bytes are taken from
PostgreSQL. Either way the head is read every 250 ms, which is what keeps the replica fresh.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress

from consent_domain.batch import Committed, decode_committed
from consent_domain.envelope import stream_of
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.identifiers import Token
from consent_gate.boot import boot_nanoseconds
from consent_gate.following import ThreadFollowing
from consent_gate.replica import Recorded, Replica
from consent_gate.sources import Events, Pages, SourceUnavailable
from consent_plumbing.postgres import Pool, open_pool

from consent_ledger.facts_pages import NoView, read_generation, read_page
from consent_ledger.seams import StoreUnavailable
from consent_ledger.store import PostgresStore
from consent_ledger.watermarks import LedgerTime, read_watermark

WATERMARK_SECONDS = 0.25
EVENTS_MAX = 2_000
ROWS_MAX = 10_000
HEARD_BYTES_MAX = 8 * 1024 * 1024
CONNECTIONS_MAX = 2


class LedgerFollowing(ThreadFollowing):
    """Follows PostgreSQL into the replica from `start` to `stop`; a second process of the host stands by."""

    def __init__(self, replica: Replica, database_url: str, origin: str) -> None:
        self._heard = Heard()
        super().__init__(replica, lambda: PostgresSource(database_url, self._heard), origin)

    def hear(self, message: bytes) -> None:
        """Take what this process committed, as published. From any thread; never raises, never waits."""
        if self.leads:
            self._heard.add(message)

    def wake(self, message: bytes = b"") -> None:
        """Somebody committed something: read now. From any thread; never raises, never waits."""
        self._heard.wake()


class Heard:
    """What the following thread is told by others."""

    def __init__(self) -> None:
        self._batches: deque[Committed] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._woken: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._news = False

    def attach(self) -> None:
        """The running loop is the one that is woken."""
        with self._lock:
            self._woken = (asyncio.get_running_loop(), asyncio.Event())

    def add(self, message: bytes) -> None:
        """Keep a message; above 8 MiB nothing is kept, and PostgreSQL is read."""
        try:
            batch = decode_committed(message)
        except Unreadable:
            return self.wake()
        with self._lock:
            self._bytes += len(message)
            if self._bytes > HEARD_BYTES_MAX:
                self._forget()
            self._batches.append(batch)
        return self.wake()

    def wake(self) -> None:
        """End the wait of whoever follows."""
        with self._lock:
            self._news = True
            woken = self._woken
        if woken is not None:
            loop, event = woken
            with suppress(RuntimeError):  # the loop is closed: nobody follows any more
                loop.call_soon_threadsafe(event.set)

    async def wait(self, seconds_max: float) -> None:
        """Until there is news, at most so many seconds."""
        assert self._woken is not None, "attach comes first"
        event = self._woken[1]
        with self._lock:
            if self._news:
                event.set()
            else:
                event.clear()
            self._news = False
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), seconds_max)

    def after(self, token: Token) -> list[Recorded]:
        """The events heard that follow `token` without a gap, once; the others are forgotten."""
        with self._lock:
            batches = list(self._batches)
            self._forget()
        found: list[Recorded] = []
        for batch in batches:
            if (batch.origin, batch.epoch) != (token.origin, token.epoch):
                continue
            for position, body in enumerate(batch.bodies, batch.first):
                named = stream_of(body)
                if named is not None and position == named[1] == token.position + len(found) + 1:
                    found.append(Recorded(position, named[0], body))
        return found

    def _forget(self) -> None:
        self._batches.clear()
        self._bytes = 0


class PostgresSource:
    """`consent_gate.sources.Source` over PostgreSQL, for one loop."""

    def __init__(self, database_url: str, heard: Heard) -> None:
        self._database_url = database_url
        self._heard = heard
        self._pool: Pool | None = None
        self._store: PostgresStore | None = None
        self._paging = False
        self._time = LedgerTime()
        self._next_watermark = 0.0

    async def ask(self, after: Token | None) -> Pages | Events:
        """See Source."""
        pool, store = await self._opened()
        try:
            if after is None or self._paging:
                page = await self._snapshot(pool, 0 if after is None else after.position)
                if page is not None:
                    return page
            return await self._events(pool, store, after)
        except (StoreUnavailable, ConsentError) as error:
            raise SourceUnavailable(str(error)) from error

    async def close(self) -> None:
        """Give the connections back."""
        if self._store is not None:
            await self._store.close()
        if self._pool is not None:
            self._pool.terminate()

    async def _opened(self) -> tuple[Pool, PostgresStore]:
        if self._pool is None or self._store is None:
            self._heard.attach()
            self._pool = await open_pool(self._database_url, "consent-ledger following", CONNECTIONS_MAX)
            self._store = PostgresStore(self._pool)
        return self._pool, self._store

    async def _snapshot(self, pool: Pool, after: int) -> Pages | None:
        """A page of the view of facts; None if it has not begun: then events are folded from the first."""
        asked = boot_nanoseconds()
        try:
            page = await read_page(pool, after, ROWS_MAX, self._time)
        except NoView:
            return None
        self._paging = page.more
        return Pages(page, asked) if page.through else None

    async def _events(self, pool: Pool, store: PostgresStore, after: Token | None) -> Events:
        if after is not None:
            await self._heard.wait(self._next_watermark - time.monotonic())
            heard = self._heard.after(after)
            if heard and time.monotonic() < self._next_watermark:
                return Events(heard, None, 0)
        stored = await store.events_after(0 if after is None else after.position, EVENTS_MAX)
        sent = await read_watermark(store, self._time)
        generation = await read_generation(pool)
        self._next_watermark = time.monotonic() + WATERMARK_SECONDS
        if len(stored) == EVENTS_MAX:
            self._next_watermark = 0.0  # there is more: do not wait
        events = [Recorded(event.position, event.stream, event.body) for event in stored]
        return Events(events, sent.watermark, sent.boot_ns, generation)
