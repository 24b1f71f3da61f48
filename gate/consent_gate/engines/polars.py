"""polars: a DataFrame comes back as one; a LazyFrame as a plan that decides when it is collected.

    plan = pl.scan_parquet("messages/*.parquet").pipe(job.filter, "workspace_id", collected="sent_at")

A plan's rows are judged block by block, in the streaming engine too, and counted whenever it is collected.
With `reasons=False` and neither collection times nor lists, polars' own look-up is used: faster, and a
plan of it counts nothing.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from consent_gate.engines.arrow import batch_of, mask_of
from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, require_columns

_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if isinstance(data, pl.LazyFrame):
        return _planned(task, data)
    if not isinstance(data, pl.DataFrame):
        raise refuse_mask(data)
    if not _has_look_up(task, data.schema):
        return data.filter(masked(task, data))
    kept = data.filter(_look_up(task))
    task.counted(lambda: (len(data), len(kept)))
    task.end()
    return kept


def masked(task: Task, data: Any) -> Any:
    """See `Engine`. A Series of Boolean."""
    if not isinstance(data, pl.DataFrame):
        raise refuse_mask(data)
    _require(task, data.schema)
    rows = Filter(task.judge(), task.where.columns, task.where.collected_column)
    task.counting(rows)
    mask = pl.Series(mask_of(task, rows, _table(data, _names(task))), dtype=pl.Boolean)
    task.end()
    return mask


def _planned(task: Task, plan: pl.LazyFrame) -> pl.LazyFrame:
    schema = plan.collect_schema()
    expression = _look_up(task) if _has_look_up(task, schema) else _judging(task, schema)
    task.planned()
    return plan.filter(expression)


def _judging(task: Task, schema: pl.Schema) -> pl.Expr:
    """Rows judged by the filter itself, a block at a time. It keeps only what another process can take."""
    _require(task, schema)
    rows = Filter(task.pinned(), task.where.columns, task.where.collected_column)
    task.counting(rows)
    names = _names(task)

    def permitted(block: pl.Series) -> pl.Series:
        return pl.Series(rows.mask(batch_of(_table(block.struct.unnest(), names))), dtype=pl.Boolean)

    return pl.struct(names).map_batches(permitted, return_dtype=pl.Boolean, is_elementwise=True)


def _has_look_up(task: Task, schema: pl.Schema) -> bool:
    """Whether the semi-join says it all: nobody wants reasons, there are no times and no lists."""
    if task.reasons or task.where.collected is not None:
        return False
    _require(task, schema)
    return all(schema[name].base_type() in _TEXTS for name in task.where.columns)


def _look_up(task: Task) -> pl.Expr:
    """A missing id is in no set: `is_in` says null of it, and null does not pass."""
    allowed = pl.Series(task.pinned().permitted_unstated(), dtype=pl.String).implode()
    return pl.all_horizontal(pl.col(name).cast(pl.String).is_in(allowed) for name in task.where.columns)


def _require(task: Task, schema: pl.Schema) -> None:
    where = task.where
    names = [name for name in _names(task) if name in schema]
    empty = pl.DataFrame(schema={name: schema[name] for name in names})
    require_columns(_table(empty, names).schema, where.columns, where.collected_column)


def _names(task: Task) -> list[str]:
    where = task.where
    return list(dict.fromkeys([*where.columns, *([where.collected_column] if where.collected else [])]))


def _table(frame: pl.DataFrame, names: list[str]) -> pa.Table:
    plain: Any = pl.col(pl.Categorical, pl.Enum).cast(pl.String) if _has_categories(frame) else []
    return frame.select(names).with_columns(plain).to_arrow(compat_level=pl.CompatLevel.oldest())


def _has_categories(frame: pl.DataFrame) -> bool:
    return any(kind.base_type() in (pl.Categorical, pl.Enum) for kind in frame.schema.values())
