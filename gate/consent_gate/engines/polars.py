"""polars: a DataFrame comes back as one; a LazyFrame as a plan that decides when it is collected.

    plan = pl.scan_parquet("messages/*.parquet").pipe(job.filter, "workspace_id", collected="sent_at")

A plan is judged block by block, in the streaming engine too, and counts its rows whenever it is collected.
All blocks and threads share one table of all workspaces (`polars_index`). With `reasons=False` and neither
collection times nor lists, being among the permitted ones is all: of not too many, polars alone does it, and
a plan of it counts nothing.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from consent_gate.engines.arrow import batch_of, filtering, mask_of
from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.pinned import Pinned
from consent_gate.engines.polars_index import Index, Indexed
from consent_gate.filter import Filter, require_columns
from consent_gate.standings import NAMES_A_ROW

IS_IN_MAX = 1 << 17
"""`is_in` hashes all ids again for each block, of some 100,000 rows. With more ids an `Index` is faster."""
BLOCK_ROWS = 1 << 17
"""So many rows of a frame lie in the cache of a processor, with what is made of them."""
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if isinstance(data, pl.LazyFrame):
        return _planned(task, data)
    if not isinstance(data, pl.DataFrame):
        raise refuse_mask(data)
    _require(task, data.schema)
    if not (_is_simple(task, data.schema) and _is_worth_it(task, data)):
        return data.filter(masked(task, data))
    kept = data.lazy().filter(_look_up(task)).collect()
    task.counted(lambda: (len(data), len(kept)))
    task.end()
    return kept


def masked(task: Task, data: Any) -> Any:
    """See `Engine`. A Series of Boolean."""
    if not isinstance(data, pl.DataFrame):
        raise refuse_mask(data)
    _require(task, data.schema)
    if _is_worth_it(task, data):
        mask = mask_of(task, _indexed(task), _table(data, _names(task)), BLOCK_ROWS)
    else:
        used = _table(data, _names(task))
        mask = mask_of(task, filtering(task, used.schema), used)
    task.end()
    return pl.Series(mask, dtype=pl.Boolean)


def _planned(task: Task, plan: pl.LazyFrame) -> pl.LazyFrame:
    schema = plan.collect_schema()
    _require(task, schema)
    kept = plan.filter(_look_up(task) if _is_simple(task, schema) else _judged(task))
    task.planned()
    return kept


def _is_simple(task: Task, schema: pl.Schema) -> bool:
    """Whether being permitted is all that anybody wants to know."""
    if task.reasons or task.where.collected is not None:
        return False
    return all(schema[name].base_type() in _TEXTS for name in task.where.columns)


def _is_worth_it(task: Task, data: pl.DataFrame) -> bool:
    """Whether everybody's standing is known, and there are more than a few rows to look up among them."""
    everybody = task.judge().everybody
    return everybody is not None and len(data) * NAMES_A_ROW >= len(everybody)


# -- expressions: they keep only what another process can take ---------------------------------------------


def _look_up(task: Task) -> pl.Expr:
    """A missing id is in nothing: null does not pass."""
    texts = [pl.col(name).cast(pl.String) for name in task.where.columns]
    allowed = task.of_pinned(_allowed)
    if len(allowed) <= IS_IN_MAX:
        return pl.all_horizontal(text.is_in(allowed.implode()) for text in texts)
    index = task.of_pinned(_Allowed)
    return pl.all_horizontal(_mapped(text, index) for text in texts)


def _allowed(pinned: Pinned) -> pl.Series:
    return pl.Series(pinned.permitted_unstated(), dtype=pl.String)


class _Allowed:
    """Whether workspaces are among the permitted ones."""

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned
        self._index = Index(_allowed(pinned))

    def __reduce__(self) -> tuple[Any, ...]:
        return _Allowed, (self._pinned,)

    def __call__(self, owners: pl.Series) -> pl.Series:
        return self._index.places(owners).is_not_null()


def _judged(task: Task) -> pl.Expr:
    names = _names(task)
    return _mapped(pl.struct(pl.col(name) for name in names), _Judged(_indexed(task), names))


class _Judged:
    """Whether rows stay; by the filter, which counts them."""

    def __init__(self, rows: Filter, names: list[str]) -> None:
        self._rows, self._names = rows, names

    def __call__(self, block: pl.Series) -> pl.Series:
        used = batch_of(_table(block.struct.unnest(), self._names))
        return pl.Series(self._rows.mask(used), dtype=pl.Boolean)


def _indexed(task: Task) -> Filter:
    where = task.where
    rows = Filter(task.pinned(), where.columns, where.collected_column, task.of_pinned(Indexed))
    task.counting(rows)
    return rows


def _mapped(rows: pl.Expr, permitted: Any) -> pl.Expr:
    return rows.map_batches(permitted, return_dtype=pl.Boolean, is_elementwise=True)


# -- columns -------------------------------------------------------------------------------------------------


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
