"""The feed of remote gates: a thousand of them wait in one worker, and what one is sent is made for all.

Who has nothing to fetch waits. As long as anybody does, one task looks every 20 ms where the log and its
facts stand. Rules:

1. A gate counts the age of an answer from when it sent the request. So nobody is told what was read before
   the request came: a look answers those who waited when it began, a page those who asked before it is read.
2. Whoever asks for the same is sent the same bytes: read, encoded and signed once.
3. A wait ends at a random moment of its second half. Otherwise one change would bring a thousand gates into
   step, and they would come back at once every second from then on.
4. After many were answered at once, the next look is put off. However fast the ledger changes, gates leave
   the worker time for everybody else, and each answer brings them more.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from consent_domain.errors import ConsentError
from consent_domain.feed import Page, Watermark
from consent_domain.identifiers import Token
from consent_gate.signatures import Signer, sign_page
from consent_plumbing.postgres import Pool

from consent_ledger.facts_pages import Stand, page_without_rows, read_page, read_stand
from consent_ledger.watermarks import LedgerTime

WAIT_SECONDS_MIN = 0.5
WAIT_SECONDS_MAX = 1.0
LOOK_SECONDS = 0.02
ANSWER_SECONDS = 0.0001
"""What one answer puts the next look off: gates are sent ten thousand a second by a process, and no more."""
DONE_SECONDS_MAX = 15.0
"""However slow the database is, whoever asks is told something by then."""
FOLLOWERS_MAX = 2_000
"""Gates that are answered by one process at the same time; the next one is told to come again."""
RETRY_AFTER_SECONDS = 2
READS_MAX = 2
"""Pages that are read at the same time: what they hold in memory, and how many connections they keep."""


class Wanted(NamedTuple):
    """What is asked for."""

    after: Token | None
    rows_max: int

    @property
    def position(self) -> int:
        """The position to go on from."""
        return 0 if self.after is None else self.after.position


_Told: TypeAlias = bytes | ConsentError
_Waiting: TypeAlias = "list[tuple[float, int, asyncio.Future[_Told]]]"
"""A heap by when the wait ends; a number tells apart those that end together."""


class Feed:
    """Answers gates. One for all requests of a process, in its loop."""

    def __init__(
        self,
        pool: Pool,
        signer: Signer,
        require_sound: Callable[[], None] = lambda: None,
        followers_max: int = FOLLOWERS_MAX,
        jitter: random.Random | None = None,
    ) -> None:
        """`require_sound` raises ConsentError while nothing may be told to gates; asked for each answer."""
        self._pool = pool
        self._signer = signer
        self._require_sound = require_sound
        self._followers_max = followers_max
        self._jitter = jitter or random.Random()
        self._time = LedgerTime()
        self._number = count().__next__
        self._followers = 0
        self._waiting: dict[Wanted, _Waiting] = {}
        self._stand: Stand | None = None
        self._looking: asyncio.Task[None] | None = None
        self._reads: dict[Wanted, asyncio.Task[bytes | None]] = {}
        self._reading = asyncio.Semaphore(READS_MAX)
        self._fetching: set[asyncio.Task[None]] = set()

    async def page(self, after: Token | None, rows_max: int) -> bytes:
        """The signed page after a token (None: the beginning), within 1 s if nothing changes.

        Raises ConsentError: `other_origin`; `resync` for a token of an earlier epoch, whose holder must
        begin anew; `forked` for one that this log never gave; `overloaded`; `unavailable`; `damaged` while
        the log is halted: who follows gets neither facts nor a watermark then, and denies once it is stale.
        """
        if self._followers >= self._followers_max:
            raise ConsentError(
                "overloaded",
                f"{self._followers} gates are answered here at the moment; add workers if it stays so",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._followers += 1
        try:
            async with asyncio.timeout(DONE_SECONDS_MAX):
                told = await self._answer(Wanted(after, rows_max))
        except TimeoutError as error:
            raise ConsentError("unavailable", "the facts could not be read in time") from error
        finally:
            self._followers -= 1
        self._require_sound()
        return told

    async def _answer(self, wanted: Wanted) -> bytes:
        if wanted.after is None or (self._stand is not None and _is_behind(wanted.after, self._stand)):
            page = await asyncio.shield(self._next_read(wanted))
            if page is not None:
                return page
        waiting: asyncio.Future[_Told] = asyncio.get_running_loop().create_future()
        ends = time.monotonic() + wait_seconds(self._jitter)
        self._wait(wanted, [(ends, self._number(), waiting)])
        told = await waiting
        if isinstance(told, ConsentError):
            # Everybody raises an error of their own: one that is shared would collect all their tracebacks.
            raise ConsentError(told.code, told.detail, **told.extra)
        return told

    # -- waiting ---------------------------------------------------------------------------------------------

    def _wait(self, wanted: Wanted, waiting: _Waiting) -> None:
        """Let those of a heap wait for the next look."""
        known = self._waiting.get(wanted, [])
        fewer, more = sorted((known, waiting), key=len)
        for one in fewer:
            heappush(more, one)
        self._waiting[wanted] = more
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self._waiting:
            answered = await self._look_once()
            await asyncio.sleep(max(LOOK_SECONDS, answered * ANSWER_SECONDS))

    async def _look_once(self) -> int:
        """Tell those who wait now what there is to tell; how many are told something."""
        waiting, self._waiting = self._waiting, {}
        stand: Stand | ConsentError
        try:
            self._stand = stand = await read_stand(self._pool, self._time)
        except ConsentError as error:
            stand = error
        return sum(self._settle(wanted, heap, stand) for wanted, heap in waiting.items())

    def _settle(self, wanted: Wanted, waiting: _Waiting, stand: Stand | ConsentError) -> int:
        if isinstance(stand, ConsentError):
            return self._tell_due(wanted, waiting, lambda: stand)
        refusal = _refusal(wanted.after, stand.watermark)
        if refusal is not None:
            return _tell(waiting, refusal)
        if stand.through > wanted.position:
            self._start(self._fetch(wanted, waiting))
            return len(waiting)
        idle = page_without_rows(wanted.position, stand)
        return self._tell_due(wanted, waiting, lambda: sign_page(idle, self._signer))

    def _tell_due(self, wanted: Wanted, waiting: _Waiting, told: Callable[[], _Told]) -> int:
        """Tell those whose wait is over; the others wait for the next look."""
        now, due = time.monotonic(), []
        while waiting and waiting[0][0] <= now:
            due.append(heappop(waiting))
        if waiting:
            self._wait(wanted, waiting)
        return _tell(due, told()) if due else 0

    # -- reading ---------------------------------------------------------------------------------------------

    async def _fetch(self, wanted: Wanted, waiting: _Waiting) -> None:
        told: _Told | None
        try:
            told = await asyncio.shield(self._next_read(wanted))
        except ConsentError as error:
            told = error
        if told is None:
            self._wait(wanted, waiting)
        else:
            _tell(waiting, told)

    def _next_read(self, wanted: Wanted) -> asyncio.Task[bytes | None]:
        """A read that has not begun, for all who ask for the same until it does."""
        reading = self._reads.get(wanted)
        if reading is None:
            reading = self._reads[wanted] = asyncio.create_task(self._read(wanted))
        return reading

    async def _read(self, wanted: Wanted) -> bytes | None:
        """The signed page, None if there is nothing new after all."""
        async with self._reading:
            del self._reads[wanted]
            page = await read_page(self._pool, wanted.position, wanted.rows_max, self._time)
            refusal = _refusal(wanted.after, page.watermark)
            if refusal is not None:
                raise refusal
            return sign_page(page, self._signer) if _has_news(page) else None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)


def wait_seconds(jitter: random.Random) -> float:
    """How long one who has everything waits for a change."""
    return jitter.uniform(WAIT_SECONDS_MIN, WAIT_SECONDS_MAX)


def _tell(waiting: _Waiting, told: _Told) -> int:
    for _, _, future in waiting:
        if not future.done():  # cancelled, by one who went away
            future.set_result(told)
    return len(waiting)


def _has_news(page: Page) -> bool:
    return bool(page.rows) or page.through > page.after


def _is_behind(after: Token, stand: Stand) -> bool:
    head = stand.watermark
    return (after.origin, after.epoch) == (head.origin, head.epoch) and after.position < stand.through


def _refusal(after: Token | None, head: Watermark) -> ConsentError | None:
    """Why nobody can go on from a token in a log that stands at `head`."""
    if after is None:
        return None
    if after.origin != head.origin:
        return ConsentError("other_origin", f"the token is of {after.origin}, and this is {head.origin}")
    if after.epoch < head.epoch:
        return ConsentError("resync", f"epoch {head.epoch} has begun; ask after=0", epoch=head.epoch)
    if (after.epoch, after.position) > (head.epoch, head.position):
        return ConsentError("forked", f"this log stands at {head.epoch}/{head.position}, before the token")
    return None
