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
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.errors import ConsentError

from consent_gate.standings import Standings
from consent_gate.verdicts import NO_WORKSPACE, Judge, Verdict


class Filter:
    """Masks batches by verdicts of one moment, and counts what it met. May be shared by threads."""

    def __init__(
        self,
        verdicts: Judge,
        columns: Sequence[str],
        collected_column: str = "",
        standings: Standings | None = None,
    ) -> None:
        """`columns` hold the owners' ids; `standings` are those that other filters of `verdicts` met.

        Raises ConsentError `invalid_value` if there is no column.
        """
        if not columns:
            raise ConsentError("invalid_value", "name at least one column that holds workspace ids")
        self._verdicts = verdicts
        self._standings = standings or Standings(verdicts)
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
        with self._lock:
            return {self._verdicts.table[number]: rows for number, rows in self._rows.most_common()}

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of `batch` that may be used, in order. Raises as `verdicts` does."""
        return batch.filter(self.mask(batch))

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Whether each row may be used; never null. Raises as `verdicts` does."""
        permits: pa.BooleanArray = self.permit(self.verdicts(batch))
        return permits

    def verdicts(self, batch: pa.RecordBatch) -> pa.Int32Array:
        """The number of each row's verdict in the verdicts' table: that of the first owner that denies.

        Raises ConsentError `invalid_value` if a column is not there or holds something else, and
        pyarrow.ArrowInvalid for values that no computer should have written.
        """
        require_columns(batch.schema, self._columns, self._collected_column)
        collected = self._instants(batch)
        numbers = self.told([self._of_column(batch.column(column), collected) for column in self._columns])
        assert len(numbers) == batch.num_rows, "every row has a verdict"
        return numbers

    def denying(self, batch: pa.RecordBatch) -> Iterator[tuple[int, str, int]]:
        """Who denies rows of `batch`: the verdict's number, the workspace, and how many shares it has.

        Not counted, and no share that has no owner. Raises as `verdicts` does.
        """
        require_columns(batch.schema, self._columns, self._collected_column)
        collected = self._instants(batch)
        for column in map(batch.column, dict.fromkeys(self._columns)):
            owners, times = column, collected
            if is_list(column.type):
                owners, rows = _flattened(column)
                times = None if collected is None else collected.take(rows)
            found = self._of_owners(owners, times)
            shares = pa.table({"number": found, "owner": owners.cast(pa.string())})
            denied = shares.filter(pc.invert(self.permit(found))).drop_null()
            for one in denied.group_by(["number", "owner"]).aggregate([([], "count_all")]).to_pylist():
                yield one["number"], one["owner"], one["count_all"]

    def _instants(self, batch: pa.RecordBatch) -> Any:
        return instants(batch.column(self._collected_column)) if self._collected_column else None

    def told(self, found: Sequence[Any]) -> pa.Int32Array:
        """The number of each row's verdict, from those on its owners, column by column. Counted."""
        numbers = found[0]
        for others in found[1:]:
            numbers = pc.if_else(self.permit(numbers), others, numbers)
        assert isinstance(numbers, pa.Int32Array) and numbers.null_count == 0, "every row has a verdict"
        counted = [(one["values"].as_py(), one["counts"].as_py()) for one in pc.value_counts(numbers)]
        with self._lock:
            for number, rows in counted:
                self._rows[number] += rows
        return numbers

    def permit(self, numbers: Any) -> Any:
        """Whether each of these verdicts permits."""
        return _permits(self._verdicts, numbers)

    def _of_column(self, column: Any, collected: Any) -> Any:
        if not is_list(column.type):
            return self._of_owners(column, collected)
        owners, rows = _flattened(column)
        found = self._of_owners(owners, None if collected is None else collected.take(rows))
        return self._gathered(found, rows, len(column))

    def _gathered(self, found: Any, rows: Any, count: int) -> Any:
        """One verdict a row, from those of its owners, which lie in the order of rows."""
        numbers = _scattered(_repeated(NO_WORKSPACE, count, pa.int32()), *_first_of_each(found, rows))
        denied = pc.invert(self.permit(found))
        return _scattered(numbers, *_first_of_each(found.filter(denied), rows.filter(denied)))

    def _of_owners(self, owners: Any, collected: Any) -> Any:
        """The verdict on each owner's share of its row."""
        return self._standings.verdicts(owners, collected)


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


def instants(column: Any) -> Any:
    """Microseconds since 1970. Digits past the microsecond are cut, never rounded into the future."""
    if column.type.unit == "ns":
        # In a zone of its own it would be cut by local time, an hour of which comes twice a year.
        column = pc.floor_temporal(column.cast(pa.timestamp("ns", "UTC")), unit="microsecond")
    return column.cast(pa.timestamp("us", "UTC"), safe=column.type.unit != "ns").cast(pa.int64())
