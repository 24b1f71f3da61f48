"""A job: all its data, in whatever engines, judged as of one position and one ledger time.

    with gate.job(purpose="train.search_ranking") as job:
        messages = job.filter(messages, "workspace_id", collected="sent_at")
        files = files.pipe(job.filter, ["owner", "guests"])
    report = job.report()

Data that is all there is judged by the workspaces in it. What is only planned, or goes to other
processes, takes the standings of all workspaces along (`pinned`): those never ask anybody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from os import getpid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import lmdb
import msgspec
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token

from consent_gate.boot import boot_nanoseconds
from consent_gate.engines.engine import Made, Progress, Task, engine_of
from consent_gate.engines.guarded import Guarded
from consent_gate.engines.report import NAMES_SHOWN_MAX, Overtaken, Report, set_digest
from consent_gate.engines.rows import Owners
from consent_gate.engines.tasks import JobTask, totals
from consent_gate.engines.where import Place, Where, where
from consent_gate.engines.withdrawals import Withdrawals, permits_ever
from consent_gate.gate import Gate
from consent_gate.pin import Pin, pinned
from consent_gate.questions import require_question
from consent_gate.reader import Reader, snapshot_of
from consent_gate.replica import Replica
from consent_gate.verdicts import Judge, Verdicts

if TYPE_CHECKING:
    from consent_gate.engines.pinned import Pinned
    from consent_gate.standings import Standings


class Job:
    """Filters data as of the moment that it was made. May be shared by threads."""

    def __init__(
        self,
        gate: Gate,
        purpose: str | None,
        categories: tuple[str, ...],
        wait_seconds_max: float,
        single: bool,
    ) -> None:
        """Made by `Gate.job`. A `single` job closes when its data ends.

        Raises ConsentError `malformed` for a question that nobody can answer, and `stale` if the gate does
        not get to know this moment in time.
        """
        require_question(purpose, categories)
        assert purpose is not None, "a question has one"
        self.purpose = purpose
        self.categories = categories
        self._gate = gate
        self._single = single
        self._open = ExitStack()
        self._pin: Pin = self._open.enter_context(pinned(gate, wait_seconds_max))
        self.token: Token = self._pin.token
        self.ledger_time = self._pin.at
        snapshot = gate.snapshot
        self._offline = None if snapshot is None else snapshot.stated()
        self._pid = getpid()
        self._lock = threading.RLock()
        self._verdicts = Verdicts(self._pin.snapshot, self._pin.at, purpose, categories, self._pin.until)
        self._guarded = Guarded(self._verdicts)
        self._pinned: Pinned | None = None
        self._made: dict[Callable[[Pinned], Any], Any] = {}
        self._standings: Standings | None = None
        self._owners: Owners | None = None
        self._tasks: list[JobTask] = []

    def filter(
        self,
        data: Any,
        workspace: Place | Sequence[Place],
        collected: Place | None = None,
        *,
        reasons: bool = True,
        progress: Progress | None = None,
    ) -> Any:
        """The rows of `data` that may be used, in its type.

        `workspace` names the column, or columns, of the owners' ids; a column may hold lists. `collected`
        names the column of collection times. Raises ConsentError `invalid_value` for columns that are
        not there or hold something else, `unavailable` if the engine's extra is not installed.
        """
        task = self.task(where(workspace, collected), reasons, progress)
        return engine_of(data).filtered(task, data)

    def mask(
        self,
        data: Any,
        workspace: Place | Sequence[Place],
        collected: Place | None = None,
        *,
        progress: Progress | None = None,
    ) -> Any:
        """For each row of `data` whether it may be used, never null. Raises as `filter` does."""
        task = self.task(where(workspace, collected), True, progress)
        return engine_of(data).masked(task, data)

    def task(self, where: Where, reasons: bool, progress: Progress | None) -> Task:
        """One piece of data, for those who judge it themselves: they call `counting` first, `end` last."""
        task = JobTask(self, where, reasons, progress or _silent)
        self._tasks.append(task)
        return task

    # -- where workspaces stand ------------------------------------------------------------------------------

    def judge(self) -> Judge:
        """Where workspaces stand, in this process and until the job is closed; then it raises."""
        if self._pinned is None or self._guarded.is_usable:
            return self._guarded
        return self._pinned

    def standings(self) -> Standings:
        """Those that any filter of the judge met so far: many small pieces of data share them."""
        from consent_gate.standings import Standings

        judge = self.judge()
        with self._lock:
            if self._standings is None or self._standings.judge is not judge:
                self._standings = Standings(judge)
            return self._standings

    def owners(self) -> Owners:
        """As `standings`, for data in no columns."""
        judge = self.judge()
        with self._lock:
            if self._owners is None or self._owners.judge is not judge:
                self._owners = Owners(judge)
            return self._owners

    def pinned(self) -> Pinned:
        """Where all workspaces stand, for other processes: one to two seconds for a million, once a job.

        Raises ConsentError `unavailable` if the job is closed or came here by a fork, or without pyarrow.
        """
        try:
            from consent_gate.engines.pinned import pinned_set
        except ModuleNotFoundError as error:
            raise ConsentError(
                "unavailable", f"{error.name} is not installed: pip install 'consent-gate[arrow]'"
            ) from error
        with self._lock:
            if self._pinned is None:
                self._guarded.require_open()
                with self._guarded.alone():
                    self._pinned = pinned_set(self._pin, self._verdicts, self.purpose, self.categories)
                self._guarded.everybody = self._pinned.everybody
            return self._pinned

    def of_pinned(self, make: Callable[[Pinned], Made]) -> Made:
        """What `make` makes of `pinned`: once a job, for all its data. Raises as both do."""
        pinned = self.pinned()
        with self._lock:
            if make not in self._made:
                self._made[make] = make(pinned)
            return cast(Made, self._made[make])

    # -- its end ---------------------------------------------------------------------------------------------

    def met_after(self, count: int) -> list[str]:
        """The workspaces met, in that order, without the first `count`. Never waits."""
        met = self._verdicts.met
        return list(met)[count:] if len(met) > count else []

    def permitted_everywhere(self) -> list[str] | None:
        """All workspaces that permit, if that set went out to other processes: they may meet any of them."""
        pinned = self._pinned
        return None if pinned is None else pinned.permitted().to_pylist()

    def result(self, run: Callable[[], Any]) -> Result:
        """What `run` returns of this job, which is over if it raises."""
        try:
            return Result(run(), self)
        except BaseException:
            self.close()
            raise

    def report(self) -> Report:
        """What the job did so far, and what the ledger has said since. Never raises for a stale gate.

        Cost: about ten microseconds for every workspace that it met.
        """
        with self._lock:
            judge = self.judge()
            names = self._permitted()
            return Report(
                self.purpose,
                self.categories,
                str(self.token),
                self.ledger_time,
                self._verdicts.policy_version,
                *totals(self._tasks),
                all(task.ended for task in self._tasks),
                "met" if self._pinned is None else "all",
                len(names),
                set_digest(names),
                self._overtaken(judge, names),
                self._offline,
            )

    def workspaces(self) -> Sequence[str]:
        """The workspaces of the report's set, sorted."""
        with self._lock:
            return self._permitted()

    @property
    def replica(self) -> Replica:
        """The replica that the gate reads, as it goes on."""
        return self._gate.replica

    @property
    def is_collected_stated(self) -> bool:
        """Whether any data was judged by its collection times."""
        return any(task.where.collected is not None for task in self._tasks)

    def _permitted(self) -> list[str]:
        if self._pinned is not None:
            permitted: list[str] = self._pinned.permitted().to_pylist()
            return permitted
        kept = [task.kept for task in self._tasks]
        if kept and None not in kept:
            return sorted(set().union(*(one for one in kept if one is not None)))
        met = list(self._verdicts.met.items())  # other threads go on meeting some
        return sorted(name for name, standing in met if permits_ever(self._verdicts, standing))

    def _overtaken(self, then: Judge, names: list[str]) -> Overtaken | None:
        if self._offline is not None:
            return None
        try:
            transaction, view = Reader(self._gate.replica).begin()
        except (ConsentError, lmdb.Error):
            return None
        try:
            age_seconds = (boot_nanoseconds() - view.asked) / 1e9
            if view.problem or not 0 <= age_seconds <= self._gate.max_staleness:
                return None
            if view.token[:2] != self.token[:2] or view.position < self.token.position:
                return None
            now = Verdicts(snapshot_of(transaction, view), view.at, self.purpose, self.categories)
            compared = Withdrawals(then, self.ledger_time, now)
            withdrawn = list(compared.among(names, then.standings(names), now.standings(names)))
        except (ConsentError, lmdb.Error, msgspec.MsgspecError):
            return None
        finally:
            transaction.abort()
        return Overtaken(str(view.token), len(withdrawn), tuple(withdrawn[:NAMES_SHOWN_MAX]))

    def ended(self) -> None:
        """A piece of data asks no more."""
        if self._single:
            self.close()

    def close(self) -> None:
        """Let go of the replica's pages. What is under way and meets a workspace it did not know, raises.

        Reports and sets that went out stay good. Idempotent.
        """
        with self._lock:
            self._guarded.is_open = False
            if getpid() == self._pid:
                self._open.close()
                self._pin.let_go()
                self._verdicts.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Result:
    """`data` is the rows that stay, or for a mask whether each does; `report()` says why."""

    def __init__(self, data: Any, job: Job) -> None:
        self.data = data
        self.job = job

    def report(self) -> Report:
        """What became of the rows; of streams and plans, so far."""
        return self.job.report()

    def close(self) -> None:
        """Give up on a stream that will not be read to its end. Idempotent."""
        self.job.close()


def _silent(done: int, total: int | None) -> None:
    """Nobody wants to know."""
