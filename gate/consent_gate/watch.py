"""Watching: being told when somebody withdraws whose data is in use, so that a long run can stop or drop it.

    with gate.job() as job, gate.watch(job) as watch:
        for batch in loader(job.filter(rows, "workspace_id", collected="sent_at")):
            if news := watch.news():
                ...                                 # stop, or leave the rows of these workspaces out
            train(batch)

Three ways, of which a watch is used in one: `news()` never waits and fits into a loop; `for event in watch`
and `async for event in watch` wait for the next; `gate.watch(job, on_withdrawal=call)` calls from a thread.

A call-back is called in the process that made the watch and in none that was forked from it: there, nobody
looks until somebody asks, and `is_silent` says so.

Nothing is lost between two looks: each compares with what was permitted when the run began. And silence is
no consent: when nothing can be known for longer than the gate's `max_staleness`, that is an event too.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from os import getpid
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from consent_gate.boot import boot_nanoseconds
from consent_gate.checks import Halted
from consent_gate.reader import Reader
from consent_gate.watched import Watched, Withdrawal

POLL_SECONDS = 0.05
FAILURES_KEPT = 100
_NANOSECONDS = 1_000_000_000
_WHY = {
    "stale": "nothing has been heard of the ledger for too long",
    "catching_up": "there is no complete replica",
    "halted": "the log is damaged, or what was sent of it cannot be",
    "undecided": "the replica could not be read",
}


class Silence(NamedTuple):
    """Nothing is known any more of who withdrew, since `seconds`. Treat it as if all had.

    `state` is `stale`, `catching_up`, `halted` or `undecided`. It is told once for each silence; withdrawals
    that came meanwhile are told when it is over.
    """

    state: str
    why: str
    seconds: float
    sentence: str


News = Withdrawal | Silence


class Source(Protocol):
    """Whom to watch, as far as that is known: a run may meet more workspaces as it goes on."""

    def feed(self, watched: Watched) -> None:
        """Add those who are new since the last call. Never waits."""


class Watch:
    """News of the workspaces in use. A context. Threads may share it; each event goes to one of them."""

    def __init__(
        self,
        reader: Reader,
        watched: Watched,
        source: Source,
        staleness_seconds_max: float,
        halted: Halted | None = None,
        on_withdrawal: Callable[[News], object] | None = None,
    ) -> None:
        """Made by `Gate.watch`."""
        self.failures: deque[tuple[News, Exception]] = deque(maxlen=FAILURES_KEPT)
        """Events whose call-back raised, with what it raised; the latest 100."""
        self._reader = reader
        self._watched = watched
        self._source = source
        self._halted = halted
        self._age_max = int(staleness_seconds_max * _NANOSECONDS)
        self._good = boot_nanoseconds()
        """When it was last known who had withdrawn (boot clock, ns)."""
        self._silent = False
        self._ready: deque[News] = deque()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._pid = getpid()
        self._calls = on_withdrawal is not None
        if on_withdrawal is not None:
            call = on_withdrawal
            threading.Thread(target=self._call, args=(call,), name="consent-watch", daemon=True).start()

    @property
    def is_silent(self) -> bool:
        """Whether nothing is known now: the last look was a silence, or nobody looks any more.

        The thread of a call-back does not come along when a process is forked: nobody looks there.
        """
        return self._silent or self._closed.is_set() or (self._calls and self._pid != getpid())

    def news(self) -> list[News]:
        """What was not told yet, at most about a thousand events. Never waits, and never raises.

        Once the watch or its gate is closed, that is told once: it is a silence for whoever goes on asking.
        Cost: ten microseconds while nothing happens, seconds for a million; see `consent_gate.watched`.
        """
        self._mend_after_fork()
        with self._lock:
            self._look()
            if self._closed.is_set() and not self._silent:
                self._silent = True
                seconds = (boot_nanoseconds() - self._good) / _NANOSECONDS
                self._ready.append(_silence("stale", "the watch is closed", seconds))
            found = list(self._ready)
            self._ready.clear()
            return found

    def __iter__(self) -> Iterator[News]:
        return self

    def __next__(self) -> News:
        """The next event, waited for; StopIteration once the watch or its gate is closed."""
        while True:
            found = self._next()
            if found is not None:
                return found
            if self._closed.wait(POLL_SECONDS):
                raise StopIteration

    def __aiter__(self) -> AsyncIterator[News]:
        return self

    async def __anext__(self) -> News:
        """The same without blocking the loop: looks are made in a thread."""
        while True:
            found = await asyncio.to_thread(self._next)
            if found is not None:
                return found
            if self._closed.is_set():
                raise StopAsyncIteration
            await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Watch no more: whoever waits for news stops waiting. Idempotent."""
        self._mend_after_fork()
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------------------

    def _next(self) -> News | None:
        self._mend_after_fork()
        with self._lock:
            if not self._ready:
                self._look()
            return self._ready.popleft() if self._ready else None

    def _call(self, call: Callable[[News], object]) -> None:
        """Hand each event to the call-back. One that raises is told of, and watching goes on."""
        for event in self:
            try:
                call(event)
            except Exception as error:
                self.failures.append((event, error))
                told = threading.ExceptHookArgs(
                    (type(error), error, error.__traceback__, threading.current_thread())
                )
                threading.excepthook(told)

    def _look(self) -> None:
        if self._closed.is_set():
            return
        problem, why, asked = self._looked()
        now = boot_nanoseconds()
        if not problem and 0 <= now - asked <= self._age_max:
            self._good, self._silent = asked, False
        elif not 0 <= now - self._good <= self._age_max and not self._silent:
            self._silent = True
            self._reader.open_again()
            self._ready.append(_silence(problem or "stale", why, (now - self._good) / _NANOSECONDS))

    def _looked(self) -> tuple[str, str, int]:
        """What stands in the way of knowing, in a word and in words, and as of when it is known."""
        try:
            self._source.feed(self._watched)
            transaction, view = self._reader.begin()
        except Exception as error:
            return "catching_up", str(error), 0
        try:
            problem = "halted" if self._halted is not None and self._halted() else view.problem
            if not problem:
                self._ready += self._watched.look(transaction, view)
        except Exception as error:
            self._reader.complain(error)
            return "undecided", str(error), 0
        finally:
            transaction.abort()
        return problem, view.meta.halted, view.asked

    def _mend_after_fork(self) -> None:
        """What another thread of the parent held would be held in the child for ever."""
        if self._pid != getpid():
            self._lock = threading.Lock()
            was_closed, self._closed = self._closed.is_set(), threading.Event()
            if was_closed:
                self._closed.set()
            self._pid = getpid()


def _silence(state: str, why: str, seconds: float) -> Silence:
    said = _WHY[state] + (f" ({why})" if why else "")
    return Silence(
        state,
        why,
        seconds,
        f"Nobody knows since {seconds:.1f} s who withdrew: {said}. Treat it as if all had: stop, or wait "
        "until the gate is live and look again.",
    )
