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

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.errors import ConsentError

from consent_gate.verdicts import BEFORE_ENROLMENT, NO_WORKSPACE, Standing, Step, Verdict, Verdicts

_NEVER = (1 << 63) - 1


class Filter:
    """Masks batches of one file by verdicts of one moment, and counts what it met."""

    def __init__(self, verdicts: Verdicts, columns: Sequence[str], collected_column: str = "") -> None:
        """`columns` hold the owners' ids. Raises ConsentError `invalid_value` if there is none."""
        if not columns:
            raise ConsentError("invalid_value", "name at least one column that holds workspace ids")
        self._verdicts = verdicts
        self._standings = _Standings(verdicts)
        self._columns = list(columns)
        self._collected_column = collected_column
        self._rows: Counter[int] = Counter()

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
        collected = None
        if self._collected_column:
            collected = _micros(batch.column(self._collected_column))
        numbers: Any = None
        for column in self._columns:
            found = self._of_column(batch.column(column), collected)
            numbers = found if numbers is None else self._first_denial(numbers, found)
        assert isinstance(numbers, pa.Int32Array), "there is at least one column"
        assert len(numbers) == batch.num_rows and numbers.null_count == 0, "every row has a verdict"
        for count in pc.value_counts(numbers):
            self._rows[count["values"].as_py()] += count["counts"].as_py()
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

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._names: Any = pa.array([], pa.string())
        self._steps: list[tuple[Any, Any]] = []
        self._keep([])

    def _keep(self, standings: list[Standing]) -> None:
        self._standings = standings
        self.unstated: Any = pa.array([one.unstated for one in standings], pa.int32())
        self._lines: Any = pa.array([one.line for one in standings], pa.int32())
        self._since: Any = pa.array([one.since for one in standings], pa.int64())
        lines = self._verdicts.lines
        self._steps = [
            (_column(lines, index, "start"), _column(lines, index, "verdict"))
            for index in range(max(map(len, lines), default=0))
        ]

    def places(self, owners: Any) -> Any:
        """The place of each owner, null for one that is null. Raises as `verdicts.standing` does."""
        places = pc.index_in(owners, value_set=self._names)
        new = pc.unique(owners.filter(pc.is_null(places)).drop_null())
        if len(new) == 0:
            return places
        self._keep([*self._standings, *map(self._verdicts.standing, new.to_pylist())])
        self._names = pa.concat_arrays([self._names, new])
        return pc.index_in(owners, value_set=self._names)

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


def _permits(verdicts: Verdicts, numbers: Any) -> Any:
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
