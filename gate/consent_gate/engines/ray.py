"""Ray Data: a dataset comes back as one, judged block by block, as Arrow, wherever its blocks are.

The permitted set goes out once, through the object store; workers ask nobody. Counts come back by one
actor for the whole session, and the job fails if that is lost: rows are never counted short unsaid. A task
that Ray runs again, because a worker died or a block was lost, is counted once. A dataset that is run
twice is counted twice: `materialize` what is read more than once.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from consent_gate.engines.arrow import batch_of
from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, require_columns
from consent_gate.verdicts import Verdict

Counted = list[tuple[bool, str, str, int]]
"""The members of each verdict, and its rows: what travels to the actor and back."""


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if not isinstance(data, ray.data.Dataset):
        raise refuse_mask(data)
    where = task.where
    known = data.schema(fetch_if_missing=False)  # of a plan that has not run yet nothing may be known
    if known is not None and isinstance(known.base_schema, pa.Schema):
        require_columns(known.base_schema, where.columns, where.collected_column)
    tally = _Tally()
    run = _Run(ray.put(task.pinned()), where.columns, where.collected_column, tally)
    kept = data.map_batches(
        _kept, batch_format="pyarrow", batch_size=None, zero_copy_batch=True, fn_kwargs={"run": run}
    )
    task.counting(tally)
    task.planned()
    return kept


def masked(task: Task, data: Any) -> Any:
    """See `Engine`: never."""
    raise refuse_mask(data)


def _kept(block: pa.Table, *, run: _Run) -> pa.Table:
    return run.kept(block)


class _Run:
    """What one task does with its blocks. Every run of a task has a fresh copy of its own."""

    def __init__(self, sent: Any, columns: list[str], collected_column: str, tally: _Tally) -> None:
        self._sent, self._columns, self._collected_column = sent, columns, collected_column
        self._tally = tally
        self._rows: Filter | None = None

    def kept(self, block: pa.Table) -> pa.Table:
        if block.num_rows == 0:
            return block  # Ray passes empty blocks without their columns
        require_columns(block.schema, self._columns, self._collected_column)
        if self._rows is None:
            self._rows = Filter(ray.get(self._sent), self._columns, self._collected_column)
        names = [*self._columns, *([self._collected_column] if self._collected_column else [])]
        kept = block.filter(self._rows.mask(batch_of(block.select(list(dict.fromkeys(names))))))
        self._tally.tell(self._rows.counts)
        return kept


class _Tally:
    """Rows of all blocks, as far as they were judged."""

    def __init__(self) -> None:
        self._actor = _counting()
        self._name = secrets.token_hex(8)

    def tell(self, counts: dict[Verdict, int]) -> None:
        """What this task met so far. Raises, and so fails the job, if nobody takes it."""
        told = [(*verdict, rows) for verdict, rows in counts.items()]
        ray.get(self._actor.told.remote(self._name, ray.get_runtime_context().get_task_id(), told))

    @property
    def counts(self) -> dict[Verdict, int]:
        found = ray.get(self._actor.totals.remote(self._name))
        return {Verdict(permit, code, because): rows for permit, code, because, rows in found}


def _counting() -> Any:
    """The actor of this session; another one if that was lost, with the jobs that counted there."""
    context = ray.get_runtime_context()
    session = context.get_job_id(), context.get_node_id()
    try:
        ray.get(_actor_of(session).totals.remote(""))
    except ray.exceptions.RayActorError:
        _actor_of.cache_clear()
    return _actor_of(session)


@cache
def _actor_of(session: tuple[str, str]) -> Any:
    # As soon as all processors are busy with blocks it must answer all the same, so it takes none.
    return ray.remote(num_cpus=0)(_Counting).remote()


class _Counting:
    """Lives in a process of its own. A task that runs again says again what it met, in the same place."""

    def __init__(self) -> None:
        self._tallies: dict[str, dict[str, Counted]] = {}

    def told(self, tally: str, task: str, counts: Counted) -> None:
        self._tallies.setdefault(tally, {})[task] = counts

    def totals(self, tally: str) -> Counted:
        return _added(self._tallies.get(tally, {}).values())


def _added(parts: Iterable[Counted]) -> Counted:
    rows: Counter[tuple[bool, str, str]] = Counter()
    for permit, code, because, count in (one for part in parts for one in part):
        rows[permit, code, because] += count
    return [(*verdict, count) for verdict, count in rows.most_common()]
