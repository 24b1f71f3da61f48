"""The gate: what a pipeline asks before it touches a workspace's data.

    with Gate.connect("https://ledger.example", token, purpose="train.global") as gate:
        if gate.check("acme", collected=message_time):
            ...

It follows the ledger's feed into a replica that all processes of the host share, and answers
from there: `live` within `max_staleness` or not at all. A gate may be shared by threads and is
usable after a fork; `check` is a matter of microseconds, so asynchronous code calls it as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from consent_gate.answers import Answer
from consent_gate.batches import SLICE_ROWS, Answers, Batch
from consent_gate.boot import boot_nanoseconds
from consent_gate.checks import Checks, Floors, Halted
from consent_gate.questions import When
from consent_gate.reader import Reader
from consent_gate.replica import Replica

if TYPE_CHECKING:
    from consent_gate.engines.engine import Progress
    from consent_gate.engines.job import Job, Result
    from consent_gate.engines.where import Place

STALENESS_SECONDS_MAX = 5.0
JOB_WAIT_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.005


class Status(NamedTuple):
    """`state` is `live`, `catching_up`, `stale` or `halted`; only `live` permits. `why` is for people."""

    state: str
    token: str
    position: int
    staleness: float | None
    why: str


class Following(Protocol):
    """What keeps the replica fresh."""

    def start(self) -> None:
        """Begin, or begin again in a process that was forked. Returns at once."""

    def stop(self) -> None:
        """End, and let another process of the host follow."""

    @property
    def why(self) -> str:
        """What went wrong last, empty if nothing did."""


class Gate:
    """Checks against the replica of this host."""

    def __init__(
        self,
        replica: Replica,
        *,
        purpose: str | None = None,
        max_staleness: float = STALENESS_SECONDS_MAX,
        floors: Floors | None = None,
        following: Following | None = None,
        halted: Halted | None = None,
    ) -> None:
        """A gate over a replica that somebody follows for; `connect` makes one that follows by itself.

        `purpose` is asked where a check names none. `max_staleness` is in seconds. `floors` say how far
        the replica must be for an answer, `following` is started now and stopped by `close`. While
        `halted` says so the gate is halted, whatever its replica is.
        """
        self.replica = replica
        self.purpose = purpose
        self.max_staleness = max_staleness
        self._following = following
        self._reader = Reader(replica, self._start_following)
        self._checks = Checks(self._reader, max_staleness, floors, halted)
        self._closed = False
        self._start_following()

    def _start_following(self) -> None:
        if self._following is not None and not self._closed:
            self._following.start()

    @classmethod
    def connect(
        cls,
        url: str,
        token: str,
        *,
        purpose: str | None = None,
        max_staleness: float = STALENESS_SECONDS_MAX,
        replica_dir: Path | str | None = None,
        verifier_key: str | None = None,
    ) -> Gate:
        """A gate that follows the ledger at `url` with an API key; returns before anything is fetched.

        `replica_dir` is shared by all gates of the host on this ledger; by default it lies in the user's
        cache folder. With `verifier_key` (`name+hash+base64`) whatever that key did not sign halts the gate.
        Raises ConsentError `invalid_value` for a key that is none, OSError if the folder cannot be made.
        """
        from consent_gate.following import HttpFollowing, default_folder

        replica = Replica.open(replica_dir or default_folder(url, verifier_key))
        following = HttpFollowing(replica, url, token, verifier_key)
        return cls(replica, purpose=purpose, max_staleness=max_staleness, following=following)

    # -- asking ----------------------------------------------------------------------------------------------

    def check(
        self,
        workspace: str | Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answer:
        """Whether data of `workspace` (of all of them, if several own it) may be used. Never raises.

        `collected` is when the data was collected: a datetime with a zone, or the first and last one;
        None says that this is not known. `categories` are those in the data, none: all that the
        purpose takes. `max_staleness` (seconds) and `at_least` (a position) may ask for
        more than the gate does.
        """
        if type(categories) is not tuple:
            categories = _tuple_of(categories)
        return self._checks.check(
            workspace,
            self.purpose if purpose is None else purpose,
            categories,
            collected,
            max_staleness,
            at_least,
        )

    def check_many(
        self,
        workspaces: Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answers:
        """The same question about each workspace, about a microsecond a row. Never raises."""
        batch = self.batch(
            purpose,
            categories=categories,
            collected=collected,
            max_staleness=max_staleness,
            at_least=at_least,
        )
        for start in range(0, len(workspaces), SLICE_ROWS):
            batch.take(workspaces[start : start + SLICE_ROWS])
        return batch.answers()

    async def check_many_async(
        self,
        workspaces: Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answers:
        """`check_many`, letting others run after every 1,000 rows."""
        batch = self.batch(
            purpose,
            categories=categories,
            collected=collected,
            max_staleness=max_staleness,
            at_least=at_least,
        )
        for start in range(0, len(workspaces), SLICE_ROWS):
            batch.take(workspaces[start : start + SLICE_ROWS])
            await asyncio.sleep(0)
        return batch.answers()

    def batch(
        self,
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Batch:
        """A question about many workspaces that are handed over slice by slice."""
        asked = self.purpose if purpose is None else purpose
        return Batch(self._checks, asked, _tuple_of(categories), collected, max_staleness, at_least)

    # -- whole data sets -------------------------------------------------------------------------------------

    def job(
        self,
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        wait_seconds_max: float = JOB_WAIT_SECONDS_MAX,
    ) -> Job:
        """A job that filters data of any engine as of one moment that knows all that was recorded before.

        `job.filter(data, workspace, collected)` returns the data alone, so that it goes into `pipe` and
        `transform`; `job.report()` says what became of the rows. Raises ConsentError `malformed` without a
        purpose, `stale` if the ledger's newest state does not come within `wait_seconds_max`.
        """
        return self._job(purpose, categories, wait_seconds_max, single=False)

    def filter(
        self,
        data: Any,
        workspace: Place | Sequence[Place],
        collected: Place | None = None,
        purpose: str | None = None,
        categories: Sequence[str] = (),
        *,
        reasons: bool = True,
        progress: Progress | None = None,
        wait_seconds_max: float = JOB_WAIT_SECONDS_MAX,
    ) -> Result:
        """The rows of `data` that may be used: `.data`, in the type of `data`, and `.report()`.

        `workspace` names the column of the owners' ids; of several columns, or a column of lists, all owners
        must permit. `collected` names the column of collection times. A row whose owner is missing or
        unknown is dropped and counted. `reasons=False` counts rows in and out only, where that is faster.
        Raises ConsentError `invalid_value` for columns that are missing or hold something else,
        `unavailable` if the engine's extra is not installed, and as `job` does.
        """
        job = self._job(purpose, categories, wait_seconds_max, single=True)
        return job.result(lambda: job.filter(data, workspace, collected, reasons=reasons, progress=progress))

    def mask(
        self,
        data: Any,
        workspace: Place | Sequence[Place],
        collected: Place | None = None,
        purpose: str | None = None,
        categories: Sequence[str] = (),
        *,
        progress: Progress | None = None,
        wait_seconds_max: float = JOB_WAIT_SECONDS_MAX,
    ) -> Result:
        """For each row whether it may be used, never null: `.data`, and `.report()`. Raises as `filter` does.

        Only for data whose rows are there and keep their order: tables, frames, lists.
        """
        job = self._job(purpose, categories, wait_seconds_max, single=True)
        return job.result(lambda: job.mask(data, workspace, collected, progress=progress))

    def _job(
        self, purpose: str | None, categories: Sequence[str], seconds_max: float, *, single: bool
    ) -> Job:
        from consent_gate.engines.job import Job

        asked = self.purpose if purpose is None else purpose
        return Job(self, asked, _tuple_of(categories), seconds_max, single)

    # -- how it is -------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Whether checks can be answered now, and on what they stand. Never raises."""
        why = "" if self._following is None else self._following.why
        try:
            transaction, view = self._reader.begin()
        except Exception as error:
            return Status("catching_up", "", 0, None, why or str(error))
        transaction.abort()
        staleness = (boot_nanoseconds() - view.asked) / 1e9 if view.asked else None
        problem = self._checks.problem_of(view)
        if problem:
            state = problem
        elif staleness is None or not 0 <= staleness <= self.max_staleness:
            state = "stale"
            self._reader.open_again()
        else:
            state = "live"
        return Status(state, str(view.token), view.meta.position, staleness, view.meta.halted or why)

    def position(self) -> int:
        """The position that answers stand on now, 0 for none."""
        return self.status().position

    def wait_until_live(self, seconds_max: float) -> bool:
        """Wait until checks can be answered; False if that took longer."""
        return self._wait(lambda status: status.state == "live", seconds_max)

    def _wait(self, wanted: Callable[[Status], bool], seconds_max: float) -> bool:
        deadline = time.monotonic() + seconds_max
        while not wanted(self.status()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    async def until_live(self, seconds_max: float) -> bool:
        """`wait_until_live` for asynchronous code."""
        return await self._until(lambda status: status.state == "live", seconds_max)

    async def until_position(self, position: int, seconds_max: float) -> bool:
        """Wait until answers stand on `position` or later; False if that took longer."""
        return await self._until(lambda status: status.position >= position, seconds_max)

    async def _until(self, wanted: Callable[[Status], bool], seconds_max: float) -> bool:
        deadline = time.monotonic() + seconds_max
        while not wanted(self.status()):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    # -- its end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop following; answers go on until they are stale. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._following is not None:
                self._following.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)


def _tuple_of(categories: object) -> tuple[str, ...]:
    """Categories as a tuple. What is none stays what it is, and the check says `malformed`."""
    if isinstance(categories, (list, set, frozenset)):
        return tuple(categories)
    return categories  # type: ignore[return-value]
