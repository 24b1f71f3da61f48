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

from consent_gate.standings import LookUp, Standings
from consent_gate.verdicts import NO_WORKSPACE, Judge, Verdict


class Filter:
    """Masks batches by verdicts of one moment, and counts what it met. May be shared by threads."""

    def __init__(
        self,
        verdicts: Judge,
        columns: Sequence[str],
        collected_column: str = "",
        standings: LookUp | None = None,
        *,
        notes_kept: bool = False,
    ) -> None:
        """`columns` hold the owners' ids; `standings` are shared with other filters of `verdicts`.

        `notes_kept`: note who owns rows that stay, which costs about a third more.
        Raises ConsentError `invalid_value` if there is no column.
        """
        if not columns:
            raise ConsentError("invalid_value", "name at least one column that holds workspace ids")
        self._verdicts = verdicts
        self._standings = standings or Standings(verdicts)
        self._columns = list(columns)
        self._collected_column = collected_column
        self._rows: Counter[int] = Counter()
        self._kept: set[str] | None = set() if notes_kept else None
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """A filter that goes to another process begins to count there, and nobody here hears of it."""
        self._kept = None
        return Filter, (self._verdicts, self._columns, self._collected_column, self._standings)

    @property
    def counts(self) -> dict[Verdict, int]:
        """Rows met so far, by verdict, most rows first."""
        with self._lock:
            return {self._verdicts.table[number]: rows for number, rows in self._rows.most_common()}

    @property
    def kept(self) -> set[str] | None:
        """Who owns a row that stayed, None if nobody noted it."""
        with self._lock:
            return None if self._kept is None else set(self._kept)

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
        numbers = self._told([self._of_column(batch.column(column), collected) for column in self._columns])
        _require(len(numbers) == batch.num_rows, "not every row has a verdict")
        if self._kept is not None:
            self._keep(batch, self.permit(numbers))
        return numbers

    def _keep(self, batch: pa.RecordBatch, stay: Any) -> None:
        """Note whose rows stay: who is met may permit at some time, and have no row of that time."""
        for column in map(batch.column, dict.fromkeys(self._columns)):
            owners, theirs = column, stay
            if is_list(column.type):
                owners, _, rows = _flattened(column)
                theirs = stay.take(rows)
            names = pc.unique(owners.cast(pa.string()).filter(theirs)).to_pylist()
            with self._lock:
                if self._kept is not None:
                    self._kept.update(name for name in names if name is not None)

    def denying(self, batch: pa.RecordBatch) -> Iterator[tuple[int, str, int]]:
        """Who denies rows of `batch`: the verdict's number, the workspace, and how many shares it has.

        Not counted, and no share that has no owner. Raises as `verdicts` does.
        """
        require_columns(batch.schema, self._columns, self._collected_column)
        collected = self._instants(batch)
        for column in map(batch.column, dict.fromkeys(self._columns)):
            owners, times = column, collected
            if is_list(column.type):
                owners, _, rows = _flattened(column)
                times = None if collected is None else collected.take(rows)
            found = self._of_owners(owners, times)
            shares = pa.table({"number": found, "owner": owners.cast(pa.string())})
            denied = shares.filter(pc.invert(self.permit(found))).drop_null()
            for one in denied.group_by(["number", "owner"]).aggregate([([], "count_all")]).to_pylist():
                yield one["number"], one["owner"], one["count_all"]

    def _instants(self, batch: pa.RecordBatch) -> Any:
        return instants(batch.column(self._collected_column)) if self._collected_column else None

    def _told(self, found: Sequence[Any]) -> pa.Int32Array:
        """The number of each row's verdict, from those on its owners, column by column. Counted.

        That of the first column that denies; where none does, that of the first one.
        """
        numbers: pa.Int32Array = found[0]
        for others in found[1:]:
            denied = pc.and_(self.permit(numbers), pc.invert(self.permit(others)))
            numbers = pc.if_else(denied, others, numbers)
        _require(numbers.type == pa.int32() and numbers.null_count == 0, "not every row has a verdict")
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
        owners, offsets, rows = _flattened(column)
        found = self._of_owners(owners, None if collected is None else collected.take(rows))
        return self._gathered(found, offsets)

    def _gathered(self, found: Any, offsets: Any) -> Any:
        """One verdict a row: of its owners the first that denies, else the first; without any, no workspace.

        The verdicts of a row's owners lie from one of `offsets` to before the next.
        """
        denied = pc.invert(self.permit(found))
        denials = pc.indices_nonzero(denied)
        so_many = pa.concat_arrays([_ZERO, pc.cumulative_sum(denied.cast(pa.int64()))])
        starts, ends = offsets[:-1], offsets[1:]
        before = so_many.take(starts)
        is_denied = pc.less(before, so_many.take(ends))
        first_denial = denials.take(_where(is_denied, before)).cast(pa.int64())
        first = _where(pc.less(starts, ends), starts)
        return pc.fill_null(found.take(pc.coalesce(first_denial, first)), NO_WORKSPACE)

    def _of_owners(self, owners: Any, collected: Any) -> Any:
        """The verdict on each owner's share of its row."""
        found = self._standings.verdicts(owners, collected)
        _require(len(found) == len(owners) and found.null_count == 0, "not every owner has a verdict")
        return found


_ZERO = pa.repeat(pa.scalar(0, pa.int64()), 1)


def _flattened(column: Any) -> tuple[Any, Any, Any]:
    """The values of all lists, from where to where they lie list by list, and the row of each.

    A list that is null has none, whatever lies behind it.
    """
    owners = column.flatten()
    lengths = pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())
    offsets = pa.concat_arrays([_ZERO, pc.cumulative_sum(lengths)])
    _require(offsets[-1].as_py() == len(owners), "not every value belongs to one list")
    return owners, offsets, pc.list_parent_indices(pa.LargeListArray.from_arrays(offsets, owners))


def _permits(verdicts: Judge, numbers: Any) -> Any:
    return pa.array([verdict.permit for verdict in verdicts.table], pa.bool_()).take(numbers)


def _where(mask: Any, values: Any) -> Any:
    """The values where the mask is set, null elsewhere."""
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def _require(holds: bool, problem: str) -> None:
    """What can only be wrong through a bug must not decide about rows: under `python -O` neither."""
    if not holds:
        raise ConsentError("internal", problem)


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
