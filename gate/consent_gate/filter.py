"""Rows that may be used, out of batches of Arrow: an allow list, never a deny list.

A row stays if and only if every workspace that owns it permits its use. Owners stand in one or
more columns, each of text or of lists of text; a missing owner, or one inside a list, permits
nothing. A collection time that is missing is one that nobody stated.

    filtering = Filter(Verdicts(snapshot, at, "train.search_ranking"), ["workspace_id"], "collected_at")
    kept = filtering.apply(batch)

Needs the extra `filter` (pyarrow). Cost: a look-up a row and a few kernels a batch, and what
`Verdicts` costs for each workspace that was not met before.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.errors import ConsentError

from consent_gate.verdicts import BEFORE_ENROLMENT, NO_WORKSPACE, Judge, Standing, Step, Verdict

_NEVER = (1 << 63) - 1
_NAMES_A_ROW = 4
"""`index_in` hashes all names on every call. A table of ours is faster once there are so many a row."""


class Filter:
    """Masks batches by verdicts of one moment, and counts what it met. May be shared by threads."""

    def __init__(self, verdicts: Judge, columns: Sequence[str], collected_column: str = "") -> None:
        """`columns` hold the owners' ids. Raises ConsentError `invalid_value` if there is none."""
        if not columns:
            raise ConsentError("invalid_value", "name at least one column that holds workspace ids")
        self._verdicts = verdicts
        self._standings = _Standings(verdicts)
        self._columns = list(columns)
        self._collected_column = collected_column
        self._rows: Counter[int] = Counter()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """A filter that goes to another process begins to count there."""
        return Filter, (self._verdicts, self._columns, self._collected_column)

    @property
    def counts(self) -> dict[Verdict, int]:
        """Rows met so far, by verdict, most rows first."""
        return {self._verdicts.table[number]: rows for number, rows in self._rows.most_common()}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of `batch` that may be used, in order. Raises as `verdicts` does."""
        return batch.filter(self.mask(batch))

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Whether each row may be used; never null. Raises as `verdicts` does."""
        numbers = self.verdicts(batch)
        permits: pa.BooleanArray = _permits(self._verdicts, numbers)
        return permits

    def verdicts(self, batch: pa.RecordBatch) -> pa.Int32Array:
        """The number of each row's verdict in the verdicts' table: that of the first owner that denies.

        Raises ConsentError `invalid_value` if a column is not there or holds something else, and
        pyarrow.ArrowInvalid for values that no computer should have written.
        """
        require_columns(batch.schema, self._columns, self._collected_column)
        with self._lock:
            return self._judged(batch)

    def _judged(self, batch: pa.RecordBatch) -> pa.Int32Array:
        collected = None
        if self._collected_column:
            collected = _micros(batch.column(self._collected_column))
        numbers: Any = None
        for column in self._columns:
            found = self._of_column(batch.column(column), collected)
            numbers = found if numbers is None else self._first_denial(numbers, found)
        assert isinstance(numbers, pa.Int32Array), "there is at least one column"
        assert len(numbers) == batch.num_rows and numbers.null_count == 0, "every row has a verdict"
        for one in pc.value_counts(numbers):
            self._rows[one["values"].as_py()] += one["counts"].as_py()
        return numbers

    def _of_column(self, column: Any, collected: Any) -> Any:
        if not is_list(column.type):
            return self._of_owners(column, collected)
        owners, rows = _flattened(column)
        found = self._of_owners(owners, None if collected is None else collected.take(rows))
        return self._gathered(found, rows, len(column))

    def _gathered(self, found: Any, rows: Any, count: int) -> Any:
        """One verdict a row, from those of its owners, which lie in the order of rows."""
        numbers = _scattered(_repeated(NO_WORKSPACE, count, pa.int32()), *_first_of_each(found, rows))
        denied = pc.invert(_permits(self._verdicts, found))
        return _scattered(numbers, *_first_of_each(found.filter(denied), rows.filter(denied)))

    def _first_denial(self, some: Any, others: Any) -> Any:
        return pc.if_else(_permits(self._verdicts, some), others, some)

    def _of_owners(self, owners: Any, collected: Any) -> Any:
        """The verdict on each owner's share of its row."""
        places = self._standings.places(owners.cast(pa.string()))
        numbers: Any = self._standings.unstated.take(places)
        if collected is not None:
            stated = self._standings.at_times(places, collected)
            numbers = pc.if_else(pc.is_valid(collected), stated, numbers)
        return pc.fill_null(numbers, NO_WORKSPACE)


class _Standings:
    """The standings of all workspaces met so far, in columns. A workspace's place is its index in them."""

    def __init__(self, verdicts: Judge) -> None:
        self._verdicts = verdicts
        self._names: Any = pa.array([], pa.string())
        self._places: dict[str | None, int] = {}
        """Of the names that a small batch was looked up among; none as long as batches are large."""
        self.unstated: Any = pa.array([], pa.int32())
        self._lines: Any = pa.array([], pa.int32())
        self._since: Any = pa.array([], pa.int64())
        self._steps: list[tuple[Any, Any]] = []
        self._steps_of = 0

    def places(self, owners: Any) -> Any:
        """The place of each owner, null for one that is null. Raises as `verdicts.standings` does."""
        if len(self._names) == 0 and self._verdicts.everybody is not None:
            self._begin_with_everybody(len(owners))
        places = self._found(owners)
        new = pc.unique(owners.filter(pc.is_null(places)).drop_null())
        if len(new) == 0:
            return places
        self._add(new, self._verdicts.standings(new.to_pylist()))
        return self._found(owners)

    def _begin_with_everybody(self, rows: int) -> None:
        """Unless batches are so small that finding those that are met is cheaper."""
        everybody = self._verdicts.everybody
        if rows * _NAMES_A_ROW >= len(everybody):
            self._names, self._lines, self._since, self.unstated = everybody.columns
            self._keep_steps()

    def _found(self, owners: Any) -> Any:
        if len(owners) * _NAMES_A_ROW >= len(self._names):
            return pc.index_in(owners, value_set=self._names)
        known = len(self._places)
        if known < len(self._names):
            self._places.update(zip(self._names[known:].to_pylist(), itertools.count(known), strict=False))
        return pa.array(map(self._places.get, owners.to_pylist()), pa.int32(), size=len(owners))

    def _add(self, names: Any, standings: list[Standing]) -> None:
        lines, since, unstated = zip(*standings, strict=True)
        self._names = pa.concat_arrays([self._names, names])
        self._lines = pa.concat_arrays([self._lines, pa.array(lines, pa.int32())])
        self._since = pa.concat_arrays([self._since, pa.array(since, pa.int64())])
        self.unstated = pa.concat_arrays([self.unstated, pa.array(unstated, pa.int32())])
        self._keep_steps()

    def _keep_steps(self) -> None:
        known = self._verdicts.lines
        if len(known) > self._steps_of:
            self._steps_of = len(known)
            self._steps = [
                (_column(known, index, "start"), _column(known, index, "verdict"))
                for index in range(max(map(len, known)))
            ]

    def at_times(self, places: Any, collected: Any) -> Any:
        """The verdict at each time: the lines' steps are gone through side by side."""
        lines = self._lines.take(places)
        used = pc.unique(lines.drop_null()).to_pylist()
        count = max((len(self._verdicts.lines[line]) for line in used), default=0)
        numbers = pa.nulls(len(places), pa.int32())
        for starts, verdicts in self._steps[:count]:
            begun = pc.greater_equal(collected, starts.take(lines))
            numbers = pc.if_else(begun, verdicts.take(lines), numbers)
        early = pc.less(collected, self._since.take(places))
        return pc.if_else(early, pa.scalar(BEFORE_ENROLMENT, pa.int32()), numbers)


def _column(lines: Sequence[Sequence[Step]], index: int, field: str) -> Any:
    """The field of each line's step; a step that a line does not have never begins."""
    absent = _NEVER if field == "start" else NO_WORKSPACE
    values = [getattr(line[index], field) if index < len(line) else absent for line in lines]
    return pa.array(values, pa.int64() if field == "start" else pa.int32())


def _flattened(column: Any) -> tuple[Any, Any]:
    """The values of all lists, and the row of each. A list that is null has none, whatever lies behind it."""
    owners = column.flatten()
    lengths = pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    assert offsets[-1].as_py() == len(owners), "every value belongs to one list"
    return owners, pc.list_parent_indices(pa.LargeListArray.from_arrays(offsets, owners))


def _permits(verdicts: Judge, numbers: Any) -> Any:
    return pa.array([verdict.permit for verdict in verdicts.table], pa.bool_()).take(numbers)


def _first_of_each(values: Any, rows: Any) -> tuple[Any, Any]:
    """The first value of each row, and the rows; `rows` rise."""
    if len(rows) == 0:
        return values, rows
    first = pa.concat_arrays([pa.array([True]), pc.not_equal(rows[1:], rows[:-1])])
    return values.filter(first), rows.filter(first)


def _scattered(target: Any, values: Any, rows: Any) -> Any:
    """`target` with `values` put at `rows`, which rise and do not repeat."""
    everywhere = pa.array(range(len(target)), rows.type)
    return pc.replace_with_mask(target, pc.is_in(everywhere, value_set=rows), values)


def _repeated(value: int, count: int, kind: Any) -> Any:
    return pa.repeat(pa.scalar(value, kind), count)


# -- columns -------------------------------------------------------------------------------------------------


def require_columns(schema: pa.Schema, columns: Sequence[str], collected_column: str = "") -> None:
    """Raises ConsentError `invalid_value` unless the schema has each column once, of a type that will do."""
    for name in (*columns, *([collected_column] if collected_column else [])):
        if len(schema.get_all_field_indices(name)) != 1:
            has = ", ".join(dict.fromkeys(schema.names)) or "none"
            how = "twice" if name in schema.names else "not there"
            raise ConsentError("invalid_value", f"column {name!r} is {how}; the columns are {has}")
    for name in columns:
        kind = schema.field(name).type
        if not _is_text(kind.value_type if is_list(kind) else kind):
            raise ConsentError(
                "invalid_value",
                f"column {name!r} holds {kind}; workspace ids are text, or lists of text",
            )
    if collected_column:
        kind = schema.field(collected_column).type
        if not pa.types.is_timestamp(kind) or kind.tz is None:
            raise ConsentError(
                "invalid_value",
                f"column {collected_column!r} holds {kind}; a collection time is a timestamp with a time "
                "zone, such as timestamp[us, tz=UTC]: without one it names no instant, so cast it first",
            )


def is_list(kind: Any) -> bool:
    """Whether a column of this type may hold several workspaces a row."""
    tests = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(test(kind) for test in tests)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _micros(column: Any) -> Any:
    """Microseconds since 1970. Digits past the microsecond are cut, never rounded into the future."""
    if column.type.unit == "ns":
        column = pc.floor_temporal(column, unit="microsecond")
    return column.cast(pa.timestamp("us", "UTC"), safe=column.type.unit != "ns").cast(pa.int64())
