"""What a gate with a replica does with whole data sets: filters and masks of any engine, and manifests."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from consent_gate.asking import Asking, in_thread

if TYPE_CHECKING:
    from consent_domain.events import RunOutput
    from consent_domain.manifest import Input

    from consent_gate.engines.engine import Progress
    from consent_gate.engines.job import Job, Result
    from consent_gate.engines.where import Place
    from consent_gate.manifests import Prepared

JOB_WAIT_SECONDS_MAX = 60.0


class Filtering(Asking):
    """All of it is judged as of one moment: see `consent_gate.engines.job`."""

    @abstractmethod
    def _job(
        self, purpose: str | None, categories: Sequence[str], seconds_max: float, *, single: bool
    ) -> Job:
        """A job as of now; a `single` one closes when its data ends. Raises as `job` does."""

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

    job_async = in_thread(job)

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

    filter_async = in_thread(filter)

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

    mask_async = in_thread(mask)

    def manifest(
        self,
        job: Job | Result,
        run: str,
        *,
        outputs: Sequence[RunOutput],
        inputs: Sequence[Input] = (),
        parents: Sequence[str] = (),
        code: str = "",
        checkpoint: str = "",
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
    ) -> Prepared:
        """What a run stood on, whose data it used, what came out of it: see `consent_gate.manifests.prepare`.

        Register it by `consent_gate.manifests.register`, or by `consent runs register` from a file.
        """
        from consent_gate.manifests import prepare

        return prepare(
            job,
            run,
            outputs=outputs,
            inputs=inputs,
            parents=parents,
            code=code,
            checkpoint=checkpoint,
            started_at=started_at,
            ended_at=ended_at,
        )

    manifest_async = in_thread(manifest)
