"""polars: a DataFrame comes back as one; a LazyFrame as a plan that decides when it is collected.

    plan = pl.scan_parquet("messages/*.parquet").pipe(job.filter, "workspace_id", collected="sent_at")

A plan looks its rows up in an `Enum` of all workspaces, whose table is hashed once and then shared by all
blocks and threads, in the streaming engine too; and counts them whenever it is collected. With
`reasons=False` and neither collection times nor lists, being in one of the permitted ones is all: polars
alone does it, and a plan of it counts nothing.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from consent_gate.engines.arrow import batch_of, filtering, mask_of
from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.pinned import Pinned
from consent_gate.filter import Filter, instants, require_columns
from consent_gate.standings import NAMES_A_ROW, Placed, Steps

IS_IN_MAX = 1 << 17
"""`is_in` hashes all ids again for each block, of some 100,000 rows. With more ids an `Enum` is faster."""
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_ID = r"\A[A-Za-z0-9._-]{1,128}\z"


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if isinstance(data, pl.LazyFrame):
        return _planned(task, data)
    if not isinstance(data, pl.DataFrame):
        raise refuse_mask(data)
    if not _is_looked_up(task, data):
        return data.filter(masked(task, data))
    kept = data.lazy().filter(_look_up(task)).collect()
    task.counted(lambda: (len(data), len(kept)))
    task.end()
    return kept


def masked(task: Task, data: Any) -> Any:
    """See `Engine`. A Series of Boolean."""
    if not isinstance(data, pl.DataFrame):
        raise refuse_mask(data)
    used = _table(data, [name for name in _names(task) if name in data.columns])
    mask = pl.Series(mask_of(task, filtering(task, used.schema), used), dtype=pl.Boolean)
    task.end()
    return mask


def _planned(task: Task, plan: pl.LazyFrame) -> pl.LazyFrame:
    schema = plan.collect_schema()
    _require(task, schema)
    if not _has_texts(task, schema):
        expression = _judged_as_arrow(task)
    elif task.reasons or task.where.collected is not None:
        expression = _judged_by_place(task)
    else:
        expression = _look_up(task)
    task.planned()
    return plan.filter(expression)


def _has_texts(task: Task, schema: pl.Schema) -> bool:
    return all(schema[name].base_type() in _TEXTS for name in task.where.columns)


def _is_looked_up(task: Task, data: pl.DataFrame) -> bool:
    """Whether being permitted is all that anybody wants to know, and of more than a few rows."""
    if task.reasons or task.where.collected is not None:
        return False
    everybody = task.judge().everybody
    if everybody is None or len(data) * NAMES_A_ROW < len(everybody):
        return False
    _require(task, data.schema)
    return _has_texts(task, data.schema)


# -- expressions: they keep only what another process can take ---------------------------------------------


def _place(name: str, names: pl.Enum) -> pl.Expr:
    """Where a column's workspace is among `names`; null for one that is not, or is missing."""
    return pl.col(name).cast(pl.String).cast(names, strict=False).to_physical().cast(pl.UInt32)


def _enum(names: Any) -> pl.Enum:
    return pl.Enum(pl.Series(names, dtype=pl.String))


def _look_up(task: Task) -> pl.Expr:
    """A missing id is in nothing: null does not pass."""
    allowed = pl.Series(task.pinned().permitted_unstated(), dtype=pl.String)
    if len(allowed) <= IS_IN_MAX:
        texts = [pl.col(name).cast(pl.String) for name in task.where.columns]
        return pl.all_horizontal(text.is_in(allowed.implode()) for text in texts)
    names = pl.Enum(allowed)
    return pl.all_horizontal(_place(name, names).is_not_null() for name in task.where.columns)


def _judged_by_place(task: Task) -> pl.Expr:
    pinned, where = task.pinned(), task.where
    rows = Filter(pinned, where.columns, where.collected_column)
    task.counting(rows)
    names, columns = _enum(pinned.everybody["workspace"]), list(dict.fromkeys(where.columns))
    members = [pl.col(name).cast(pl.String).alias(f"owner {name}") for name in columns]
    members += [_place(name, names).alias(f"place {name}") for name in columns]
    members += [pl.col(where.collected_column).alias("collected")] if where.collected else []
    return _mapped(members, _Placing(pinned, rows, where.columns, where.collected is not None))


def _judged_as_arrow(task: Task) -> pl.Expr:
    """By the filter itself, which takes lists too."""
    rows = Filter(task.pinned(), task.where.columns, task.where.collected_column)
    task.counting(rows)
    names = _names(task)

    def permitted(block: pl.Series) -> pl.Series:
        return pl.Series(rows.mask(batch_of(_table(block.struct.unnest(), names))), dtype=pl.Boolean)

    return _mapped([pl.col(name) for name in names], permitted)


def _mapped(members: list[pl.Expr], permitted: Any) -> pl.Expr:
    return pl.struct(members).map_batches(permitted, return_dtype=pl.Boolean, is_elementwise=True)


class _Placing:
    """Judges blocks of rows whose owners were looked up among everybody."""

    def __init__(self, pinned: Pinned, rows: Filter, columns: list[str], is_collected: bool) -> None:
        _, *everybody = pinned.everybody.columns
        self._placed = Placed(Steps(pinned), *everybody).with_more(pinned.strangers)
        self._strangers = len(pinned.everybody)
        self._rows, self._columns, self._is_collected = rows, columns, is_collected

    def __call__(self, block: pl.Series) -> pl.Series:
        """Whether each row stays."""
        fields = block.struct.unnest()
        collected = instants(_arrow(fields["collected"])) if self._is_collected else None
        places = [
            self._with_strangers(fields[f"place {name}"], fields[f"owner {name}"]) for name in self._columns
        ]
        numbers = self._rows.told([self._placed.verdicts(one, collected) for one in places])
        return pl.Series(self._rows.permit(numbers), dtype=pl.Boolean)

    def _with_strangers(self, places: pl.Series, owners: pl.Series) -> Any:
        """The places; whom the ledger does not know is behind everybody, and what is no id after that."""
        found = _arrow(places)
        if places.null_count() == owners.null_count():
            return found
        strange = places.is_null() & owners.is_not_null()
        is_id = owners.filter(strange).str.contains(_ID)
        others = pl.select(pl.when(is_id).then(self._strangers).otherwise(self._strangers + 1)).to_series()
        return pc.replace_with_mask(found, _arrow(strange), _arrow(others.cast(pl.UInt32)))


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


def _arrow(series: pl.Series) -> Any:
    return series.to_arrow(compat_level=pl.CompatLevel.oldest())


def _has_categories(frame: pl.DataFrame) -> bool:
    return any(kind.base_type() in (pl.Categorical, pl.Enum) for kind in frame.schema.values())
