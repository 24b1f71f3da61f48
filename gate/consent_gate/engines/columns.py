"""The columns of some data that decide, as record batches, whatever engine the data belongs to.

For those who judge data where it is and do not filter it. Lazy data is read, columns that are not asked for
are not; an iterator or reader is read to its end. Needs pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from consent_domain.errors import ConsentError
from consent_domain.instants import micros

from consent_gate.engines.arrow import batch_of
from consent_gate.engines.engine import EXTRAS, engine_of
from consent_gate.engines.iterables import getter
from consent_gate.engines.rows import is_missing
from consent_gate.engines.where import Where

BATCH_ROWS = 1 << 17
_INSTANT = pa.timestamp("us", "UTC")


def batches_of(data: Any, where: Where) -> tuple[Where, Iterator[pa.RecordBatch]]:
    """The columns at the places of `where`, and what they are called there.

    Raises ConsentError `invalid_value` for what holds no rows, `unavailable` without the engine's extra,
    and as the engine does for columns that are not there.
    """
    engine_of(data)
    packages = (kind.__module__.partition(".")[0] for kind in type(data).__mro__)
    engine = next((EXTRAS[package] for package in packages if package in EXTRAS), "")
    read = _READERS.get(engine)
    if read is None:
        columns = tuple(str(index) for index in range(len(where.owners)))
        collected = None if where.collected is None else str(len(columns))
        return Where(columns, collected), _of_items(_items(data), where)
    names = list(dict.fromkeys([*where.columns, *([where.collected_column] if where.collected else [])]))
    return where, read(data, names)


def _of_arrow(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        _require(data.schema.names, names)
        data = data.select(names)
        yield from (batch_of(data.slice(start, BATCH_ROWS)) for start in range(0, len(data), BATCH_ROWS))
        return
    if isinstance(data, ds.Dataset):
        _require(data.schema.names, names)
        data = data.scanner(columns=names)
    for batch in data.to_batches() if isinstance(data, ds.Scanner) else data:
        _require(batch.schema.names, names)
        yield batch.select(names)


def _of_polars(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    chosen = data.select(names)
    frame = chosen.collect() if hasattr(chosen, "collect") else chosen
    yield from _of_arrow(frame.to_arrow(), names)


def _of_pandas(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    from consent_gate.engines.pandas import column_of

    yield from _of_arrow(pa.table({name: column_of(data, name) for name in names}), names)


def _of_duckdb(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    from duckdb import ColumnExpression

    yield from data.select(*map(ColumnExpression, names)).to_arrow_reader(BATCH_ROWS)


def _of_datasets(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    for part in data.values() if isinstance(data, dict) else (data,):
        for table in part.select_columns(names).with_format("arrow").iter(BATCH_ROWS):
            yield from _of_arrow(table, names)


def _of_ray(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    for table in data.select_columns(names).iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from _of_arrow(table, names)


def _of_spark(data: Any, names: list[str]) -> Iterator[pa.RecordBatch]:
    yield from _of_arrow(data.select(*names).toArrow(), names)


_READERS = {
    "arrow": _of_arrow,
    "polars": _of_polars,
    "pandas": _of_pandas,
    "duckdb": _of_duckdb,
    "datasets": _of_datasets,
    "ray": _of_ray,
    "spark": _of_spark,
}


def _require(has: Sequence[Any], names: list[str]) -> None:
    for name in names:
        if list(has).count(name) != 1:
            how = "twice" if name in has else "not there"
            raise ConsentError(
                "invalid_value", f"column {name!r} is {how}; the columns are {', '.join(map(str, has))}"
            )


# -- items ---------------------------------------------------------------------------------------------------


def _items(data: Any) -> Iterable[Any]:
    is_map_style = not hasattr(data, "__iter__") and hasattr(data, "__getitem__")
    return (data[index] for index in range(len(data))) if is_map_style else data


def _of_items(data: Iterable[Any], where: Where) -> Iterator[pa.RecordBatch]:
    places = [getter(place) for place in where.owners]
    when = None if where.collected is None else getter(where.collected)
    items = iter(data)
    while block := list(islice(items, BATCH_ROWS)):
        columns = {str(index): _owners([place(item) for item in block]) for index, place in enumerate(places)}
        if when is not None:
            instants = pa.array([_instant(when(item)) for item in block], pa.int64())
            columns[str(len(places))] = instants.cast(_INSTANT)
        yield pa.record_batch(columns)


def _owners(values: list[Any]) -> Any:
    told = [_owner(value) for value in values]
    if any(isinstance(value, list) for value in told):
        lists = [[value] if isinstance(value, str) else value for value in told]
        return pa.array(lists, pa.list_(pa.string()))
    return pa.array(told, pa.string())


def _owner(value: Any) -> str | list[str | None] | None:
    if isinstance(value, str):
        return str.__str__(value)  # whatever it calls itself
    if is_missing(value):
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        told = [None if is_missing(one) else one for one in value]
        if all(one is None or isinstance(one, str) for one in told):
            return told
    raise ConsentError("invalid_value", f"{value!r:.80} is no workspace id; they are text, or lists of text")


def _instant(value: Any) -> int | None:
    if is_missing(value):
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConsentError(
            "invalid_value", f"{value!r:.80} is no collection time; it is a datetime with a time zone"
        )
    return micros(value)
