"""The pieces of data of a job, and what became of their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from consent_gate.engines.engine import Counts, Made, Progress
from consent_gate.engines.rows import Rows
from consent_gate.engines.where import Where
from consent_gate.verdicts import Judge, Verdict

if TYPE_CHECKING:
    from consent_gate.engines.job import Job
    from consent_gate.engines.pinned import Pinned
    from consent_gate.filter import Filter


class JobTask:
    """One piece of data: `consent_gate.engines.engine.Task`."""

    def __init__(self, job: Job, where: Where, reasons: bool, progress: Progress) -> None:
        self.where = where
        self.reasons = reasons
        self.progress = progress
        self.ended = False
        self._job = job
        self._counts: Counts | None = None
        self._rows: Callable[[], tuple[int | None, int | None]] = lambda: (None, None)

    def judge(self) -> Judge:
        return self._job.judge()

    def pinned(self) -> Pinned:
        return self._job.pinned()

    def of_pinned(self, make: Callable[[Pinned], Made]) -> Made:
        return self._job.of_pinned(make)

    def filtering(self) -> Filter:
        from consent_gate.filter import Filter

        standings = self._job.standings()
        rows = Filter(standings.judge, self.where.columns, self.where.collected_column, standings)
        self.counting(rows)
        return rows

    def items(self) -> Rows:
        owners = self._job.owners()
        rows = Rows(owners.judge, owners)
        self.counting(rows)
        return rows

    def counting(self, counts: Counts) -> None:
        self._counts = counts

    def counted(self, rows: Callable[[], tuple[int | None, int | None]]) -> None:
        self._rows = rows

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self._job.ended()

    def planned(self) -> None:
        self._job.ended()

    @property
    def reason_counts(self) -> dict[Verdict, int] | None:
        return None if self._counts is None else self._counts.counts

    @property
    def kept(self) -> set[str] | None:
        """Who owns a row that stayed, None if nobody kept count of that."""
        return getattr(self._counts, "kept", None)

    @property
    def rows(self) -> tuple[int | None, int | None]:
        """Rows in and out."""
        reasons = self.reason_counts
        if reasons is None:
            return self._rows()
        return sum(reasons.values()), sum(rows for verdict, rows in reasons.items() if verdict.permit)


def totals(tasks: Sequence[JobTask]) -> tuple[int | None, int | None, dict[Verdict, int] | None]:
    """Rows in, rows out, reasons, of all tasks: None where one of them does not say."""
    return (
        _sum([task.rows[0] for task in tasks]),
        _sum([task.rows[1] for task in tasks]),
        _united([task.reason_counts for task in tasks]),
    )


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _united(counts: Sequence[dict[Verdict, int] | None]) -> dict[Verdict, int] | None:
    total: Counter[Verdict] = Counter()
    for one in counts:
        if one is None:
            return None
        total.update(one)
    return dict(total.most_common())
