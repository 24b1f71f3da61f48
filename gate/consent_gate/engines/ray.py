"""Ray Data: a dataset comes back as one, judged block by block, as Arrow, wherever its blocks are.

The permitted set goes out once, through the object store; workers ask nobody. Counts come back by an
actor: a block that Ray runs again is counted again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import ray
import ray.data

from consent_gate.engines.arrow import batch_of
from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, require_columns
from consent_gate.verdicts import Verdict


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if not isinstance(data, ray.data.Dataset):
        raise refuse_mask(data)
    where = task.where
    known = data.schema(fetch_if_missing=False)  # of a plan that has not run yet nothing may be known
    if known is not None and isinstance(known.base_schema, pa.Schema):
        require_columns(known.base_schema, where.columns, where.collected_column)
    tally = _Tally()
    kept = data.map_batches(
        _kept,
        batch_format="pyarrow",
        batch_size=None,
        zero_copy_batch=True,
        fn_kwargs={
            "sent": [ray.put(task.pinned())],  # in a list, or Ray would unpack it once a block
            "columns": where.columns,
            "collected_column": where.collected_column,
            "tally": tally.actor,
        },
    )
    task.counting(tally)
    task.planned()
    return kept


def masked(task: Task, data: Any) -> Any:
    """See `Engine`: never."""
    raise refuse_mask(data)


def _kept(
    block: pa.Table, *, sent: list[Any], columns: list[str], collected_column: str, tally: Any
) -> pa.Table:
    if block.num_rows == 0:
        return block  # Ray passes empty blocks without their columns
    require_columns(block.schema, columns, collected_column)
    rows = Filter(ray.get(sent[0]), columns, collected_column)
    names = list(dict.fromkeys([*columns, *([collected_column] if collected_column else [])]))
    kept = block.filter(rows.mask(batch_of(block.select(names))))
    ray.get(tally.add.remote([(*verdict, count) for verdict, count in rows.counts.items()]))
    return kept


class _Tally:
    """Rows of all blocks, as far as they were judged."""

    def __init__(self) -> None:
        self.actor: Any = ray.remote(num_cpus=0)(_Counting).remote()

    @property
    def counts(self) -> dict[Verdict, int]:
        found = ray.get(self.actor.told.remote())
        return {Verdict(*verdict): rows for verdict, rows in found}


class _Counting:
    """Lives in a process of its own."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[bool, str, str]] = Counter()

    def add(self, counts: list[tuple[bool, str, str, int]]) -> None:
        for permit, code, because, rows in counts:
            self._rows[permit, code, because] += rows

    def told(self) -> list[tuple[tuple[bool, str, str], int]]:
        return self._rows.most_common()
