"""Hugging Face datasets: a `Dataset` or `DatasetDict` comes back as one, an `IterableDataset` as one.

What is computed from a dataset is cached on disk under its fingerprint, for ever. So the fingerprint of
what comes back holds the ledger's position and the set that was permitted there: after a withdrawal,
nothing that an earlier job computed is found. The filter itself caches nothing.
"""

from __future__ import annotations

from typing import Any

import datasets
import pyarrow as pa
from datasets.fingerprint import Hasher

from consent_gate.engines.arrow import batch_of
from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, require_columns

BATCH_ROWS = 1 << 17
STREAMED_ROWS = 1_000
"""So many rows of a stream are read before the first comes out."""


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if isinstance(data, datasets.DatasetDict):
        rows = _filter(task)
        kept = {split: _selected(task, rows, part) for split, part in data.items()}
        task.end()
        return datasets.DatasetDict(kept)
    if isinstance(data, datasets.Dataset):
        kept = _selected(task, _filter(task), data)
        task.end()
        return kept
    if isinstance(data, datasets.IterableDataset):
        return _streamed(task, data)
    raise refuse_mask(data)


def masked(task: Task, data: Any) -> list[bool]:
    """See `Engine`. A list, for a `Dataset`."""
    if not isinstance(data, datasets.Dataset):
        raise refuse_mask(data)
    mask = _mask(task, _filter(task), data)
    task.end()
    return mask


def _filter(task: Task) -> Filter:
    rows = Filter(task.pinned(), task.where.columns, task.where.collected_column)
    task.counting(rows)
    return rows


def _selected(task: Task, rows: Filter, data: datasets.Dataset) -> datasets.Dataset:
    mask = _mask(task, rows, data)
    where = task.where
    key = (data._fingerprint, task.pinned().fingerprint(), where.columns, where.collected_column)
    kept = [index for index, permitted in enumerate(mask) if permitted]
    return data.select(kept, new_fingerprint=Hasher.hash(key))


def _mask(task: Task, rows: Filter, data: datasets.Dataset) -> list[bool]:
    where = task.where
    require_columns(data.features.arrow_schema, where.columns, where.collected_column)
    names = list(dict.fromkeys([*where.columns, *([where.collected_column] if where.collected else [])]))
    mask: list[bool] = []
    for table in data.select_columns(names).with_format("arrow").iter(BATCH_ROWS):
        mask += map(bool, rows.mask(batch_of(table)).to_pylist())
        task.progress(len(mask), len(data))
    return mask


def _streamed(task: Task, data: datasets.IterableDataset) -> datasets.IterableDataset:
    """Judged in whatever process reads it, by the set that goes there with it."""
    if data.features is not None:
        require_columns(data.features.arrow_schema, task.where.columns, task.where.collected_column)
    keep = _Keep(_filter(task))
    kept = data.with_format("arrow").map(keep, batched=True, batch_size=STREAMED_ROWS, features=data.features)
    task.planned()
    formatting = data._formatting
    return kept.with_format(formatting.format_type if formatting else None)


class _Keep:
    """The rows of a table that stay."""

    def __init__(self, rows: Filter) -> None:
        self._rows = rows

    def __call__(self, table: pa.Table) -> pa.Table:
        return table.filter(self._rows.mask(batch_of(table)))
