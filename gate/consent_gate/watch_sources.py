"""Whom to watch: workspaces by name, or a job and whomever it meets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consent_domain.errors import ConsentError

from consent_gate.questions import owners_of, require_question
from consent_gate.watched import Watched

if TYPE_CHECKING:
    from consent_gate.engines.job import Job, Result
    from consent_gate.watch import Source


def source_of(
    used: str | Sequence[str] | Job | Result, purpose: str | None, categories: tuple[str, ...]
) -> tuple[Source, tuple[str, tuple[str, ...]]]:
    """Whom to watch, and the purpose and categories that their data is used for: a job has its own.

    Raises ConsentError `malformed` for nobody, and for a question that nobody can answer.
    """
    from consent_gate.engines.job import Job, Result

    job = used.job if isinstance(used, Result) else used
    if isinstance(job, Job):
        return _OfJob(job), (job.purpose, job.categories)
    names = owners_of(job)
    if not names:
        raise ConsentError("malformed", "there is nobody to watch: name the workspaces whose data is in use")
    require_question(purpose, categories)
    assert purpose is not None, "a question has one"
    return _Named(names), (purpose, categories)


class _Named:
    """Workspaces that were named once for all."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def feed(self, watched: Watched) -> None:
        if self._names:
            watched.add(self._names)
            self._names = ()


class _OfJob:
    """Workspaces that a job meets. Once all that permit have gone out to other processes, those."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._met = 0
        self._has_all = False

    def feed(self, watched: Watched) -> None:
        if self._has_all:
            return
        job, names = self._job, self._job.permitted_everywhere()
        if names is not None:
            self._has_all = True
        else:
            names = job.met_after(self._met)
            self._met += len(names)
        if names:
            watched.add_used(names, job.judge(), job.ledger_time)
