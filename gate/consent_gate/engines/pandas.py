"""pandas: a DataFrame comes back as one, with its index."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.engines.arrow import filtering, mask_of
from consent_gate.engines.engine import Task, refuse_mask


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    return data.loc[masked(task, data).to_numpy()]


def masked(task: Task, data: Any) -> Any:
    """See `Engine`. A Series of bool with the frame's index."""
    if not isinstance(data, pd.DataFrame):
        raise refuse_mask(data)
    columns, collected = task.where.columns, task.where.collected_column
    names = dict.fromkeys([*columns, *([collected] if collected else [])])
    used = pa.table({name: column_of(data, name) for name in names})
    mask = mask_of(task, filtering(task, used.schema), used)
    task.end()
    return pd.Series(mask.to_numpy(), index=data.index, dtype=bool)


def column_of(data: Any, name: str) -> Any:
    """One column as Arrow. What a column of Python objects holds is looked at value by value.

    Raises ConsentError `invalid_value` for one that is not there, or holds what cannot be judged.
    """
    has = list(data.columns).count(name)
    if has != 1:
        how = "there twice" if has else "not there"
        raise ConsentError("invalid_value", f"column {name!r} is {how}; the columns are {list(data.columns)}")
    series = data[name]
    if series.dtype == object:
        return _of_objects(series, name)
    try:
        found = pa.array(series, from_pandas=True)
    except pa.ArrowException as error:
        raise ConsentError("invalid_value", f"column {name!r}: {error}") from error
    if pa.types.is_dictionary(found.type) and pa.types.is_null(found.type.value_type):
        return pa.nulls(len(found), pa.string())  # no category, so no row has an owner
    return found


def _of_objects(series: Any, name: str) -> Any:
    present = series[series.notna()]
    if any(hasattr(value, "tzinfo") for value in present):
        raise ConsentError(
            "invalid_value",
            f"column {name!r} holds Python datetimes as objects; convert it: pd.to_datetime(…, utc=True)",
        )
    try:
        if all(isinstance(value, str) for value in present):
            return pa.array(series, pa.string(), from_pandas=True)
        if any(isinstance(value, (str, bytes)) or _holds_bytes(value) for value in present):
            raise TypeError("these are neither all text nor all lists of it")
        return pa.array(series, pa.list_(pa.string()), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ConsentError(
            "invalid_value", f"column {name!r}: workspace ids are text, or lists of text; {error}"
        ) from error


def _holds_bytes(value: Any) -> bool:
    """Arrow would take bytes for text. Raises TypeError for what holds nothing at all."""
    return any(isinstance(one, bytes) for one in value)
