"""Columns of text as Arrow: owners are text, whatever they look like, and times are instants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.errors import ConsentError
from consent_domain.instants import parse_rfc3339

INSTANT = pa.timestamp("us", "UTC")

Owners = str | list[str | None] | None
"""One owner, several, or none."""
Fault = Callable[[int, object], Exception]
"""Makes the error of the row at an index."""


def owners(values: Sequence[Owners]) -> Any:
    """Text, or lists of it as soon as one row has a list."""
    if any(isinstance(value, list) for value in values):
        lists = [[value] if isinstance(value, str) else value for value in values]
        return pa.array(lists, pa.list_(pa.string()))
    return pa.array(values, pa.string())


def texts(cells: Sequence[bytes]) -> Any:
    """Cells of UTF-8 as text; empty ones are null."""
    found: Any = pa.array(cells, pa.binary()).cast(pa.string())
    return pc.if_else(pc.equal(found, pa.scalar("")), pa.scalar(None, pa.string()), found)


def instants(found: Any, fault: Fault) -> Any:
    """RFC 3339 texts as instants; null stays null. Digits past the microsecond are cut.

    Raises what `fault` makes for the first that names no instant.
    """
    try:
        return found.cast(INSTANT)
    except pa.ArrowInvalid:  # something is wrong, or finer than a microsecond
        values = [_instant(index, value, fault) for index, value in enumerate(found.to_pylist())]
        return pa.array(values, INSTANT)


def _instant(index: int, value: str | None, fault: Fault) -> int | None:
    if value is None:
        return None
    try:
        return parse_rfc3339(value)
    except ConsentError as error:
        raise fault(
            index,
            f"the collection time {value!r:.60} names no instant; it must say date, time and time zone, such "
            "as 2026-01-31T09:00:00Z or 2026-01-31T10:00:00+01:00",
        ) from error
