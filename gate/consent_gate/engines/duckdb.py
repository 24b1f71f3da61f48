"""DuckDB: a relation comes back as one, semi-joined with the permitted workspaces, times and all.

    kept = job.filter(connection.table("messages"), "workspace_id", collected="sent_at")

For SQL there are macros, as of the job's moment, on one connection:

    register(job, connection)
    connection.sql("SELECT * FROM messages WHERE consent_permits_at(workspace_id, sent_at)")

The join is DuckDB's and decides whenever the relation is read. Counts are of the owners' columns as they
are when it is made: a join that brings nothing back, on all of DuckDB's threads, or for lists the filter
itself. A relation is in no order, and neither is what comes back.
"""

from __future__ import annotations

import secrets
from collections import Counter
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.pinned import Pinned
from consent_gate.engines.where import Where
from consent_gate.filter import is_list, require_columns
from consent_gate.verdicts import Verdict

if TYPE_CHECKING:
    from consent_gate.engines.job import Job

BATCH_ROWS = 1 << 20
_OURS = (
    "consent_owner",
    "consent_collected",
    "consent_instant",
    "consent_row",
    "consent_unknown",
    "consent_invalid",
    "consent_number",
    "consent_count",
)
_ROWS, _NUMBER = "consent_rows", "consent_number_"


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if not isinstance(data, duckdb.DuckDBPyRelation):
        raise refuse_mask(data)
    where = task.where
    schema = data.limit(0).to_arrow_table().schema
    require_columns(schema, where.columns, where.collected_column)
    _require_free_names(data)
    pinned = task.pinned()
    if task.reasons and any(is_list(schema.field(column).type) for column in where.columns):
        _count_lists(task, data)
    elif task.reasons:
        counts = _counted(data, schema, where, pinned)
        task.counting(_Counted(counts))
        task.progress(sum(counts.values()), None)
    timed = where.collected is not None
    allowed = pinned.allowed_times() if timed else pa.table({"workspace": pinned.permitted_unstated()})
    for column in where.columns:
        data = _kept(data, schema, column, where.collected_column, allowed)
    task.planned()
    return data


def masked(task: Task, data: Any) -> Any:
    """See `Engine`: never."""
    raise refuse_mask(data)


def register(job: Job, connection: duckdb.DuckDBPyConnection) -> None:
    """Give a connection the macros `consent_permits(workspace_id)` and
    `consent_permits_at(workspace_id, collected)`, as of the job's moment; those of an earlier job are gone.
    """
    pinned = job.pinned()
    connection.register("consent_gate_unstated", pa.table({"workspace": pinned.permitted_unstated()}))
    connection.register("consent_gate_times", pinned.allowed_times())
    for name in ("instant", "permits", "permits_at"):
        connection.execute(_statement(name))


def _kept(
    rows: Any, schema: pa.Schema, column: str, collected_column: str, consent_gate_allowed: pa.Table
) -> Any:
    """The rows whose owner, or owners, in `column` permit."""
    of_lists = is_list(schema.field(column).type)
    rows = rows.select(duckdb.StarExpression(), _owner(column, "VARCHAR[]" if of_lists else "VARCHAR"))
    rows = _with_instants(rows, schema, collected_column)
    name = f"keep{'_lists' if of_lists else ''}{'_at' if collected_column else ''}"
    return _query(rows, name, consent_gate_allowed=consent_gate_allowed)


def _owner(column: str, kind: str) -> Any:
    return duckdb.ColumnExpression(column).cast(kind).alias("consent_owner")


def _with_instants(rows: Any, schema: pa.Schema, collected_column: str) -> Any:
    """The rows with their collection times as microseconds, if they have any."""
    if not collected_column:
        return rows
    collected = duckdb.ColumnExpression(collected_column).alias("consent_collected")
    nanoseconds = schema.field(collected_column).type.unit == "ns"
    return _query(
        rows.select(duckdb.StarExpression(), collected), "instants_ns" if nanoseconds else "instants"
    )


def _query(
    rows: Any,
    statement: str,
    *,
    consent_gate_allowed: pa.Table | None = None,
    consent_gate_standings: pa.Table | None = None,
    consent_gate_stretches: pa.Table | None = None,
) -> Any:
    """A statement of ours on a relation. DuckDB finds the other arguments by their names.

    Some versions keep the relation as a view, and look it up again whenever the result is read: so no other
    ever has its name.
    """
    view = f"{_ROWS}_{secrets.token_hex(8)}"
    return rows.query(view, _statement(statement).replace(_ROWS, view))


# -- counts --------------------------------------------------------------------------------------------------


class _Counted(NamedTuple):
    """What a join has counted."""

    counts: dict[Verdict, int]


def _counted(data: Any, schema: pa.Schema, where: Where, pinned: Pinned) -> dict[Verdict, int]:
    """Rows by the number of the verdict of each column, and then by that of the first one that denies."""
    columns = list(dict.fromkeys(where.columns))
    collected = [where.collected_column] if where.collected_column else []
    names = dict.fromkeys([*columns, *collected])
    rows = _with_instants(data.select(*map(duckdb.ColumnExpression, names)), schema, where.collected_column)
    numbers = [f"{_NUMBER}{index}" for index in range(len(columns))]
    for column, number in zip(columns, numbers, strict=True):
        rows = _numbered(rows, column, number, pinned, "number_at" if collected else "number")
    rows = rows.select(*map(duckdb.ColumnExpression, numbers))
    counts: Counter[Verdict] = Counter()
    for *found, count in _query(rows, "count").fetchall():
        verdicts = [pinned.table[number] for number in found]
        counts[next((one for one in verdicts if not one.permit), verdicts[0])] += count
    return dict(counts.most_common())


def _numbered(rows: Any, column: str, number: str, pinned: Pinned, statement: str) -> Any:
    """The rows with the number of the verdict on `column`'s owner."""
    unknown, invalid = (duckdb.ConstantExpression(one.unstated) for one in pinned.strangers)
    rows = rows.select(
        duckdb.StarExpression(),
        _owner(column, "VARCHAR"),
        unknown.alias("consent_unknown"),
        invalid.alias("consent_invalid"),
    )
    rows = _query(
        rows,
        statement,
        consent_gate_standings=pa.Table.from_batches([pinned.everybody]),
        consent_gate_stretches=pinned.all_stretches(),
    )
    found = duckdb.ColumnExpression("consent_number").alias(number)
    return rows.select(duckdb.StarExpression(exclude=["consent_number"]), found)


def _count_lists(task: Task, data: Any) -> None:
    """By the filter itself, over the columns that it needs."""
    names = list(dict.fromkeys([*task.where.columns, *filter(None, [task.where.collected_column])]))
    rows, done = task.filtering(), 0
    for batch in data.select(*map(duckdb.ColumnExpression, names)).to_arrow_reader(BATCH_ROWS):
        rows.verdicts(batch)
        done += len(batch)
        task.progress(done, None)


# -- statements ----------------------------------------------------------------------------------------------


def _require_free_names(data: Any) -> None:
    taken = [name for name in data.columns if name.lower() in _OURS or name.lower().startswith(_NUMBER)]
    if taken or _query(data, "taken_names").fetchall() != [(0,)]:
        raise ConsentError(
            "invalid_value",
            f"names are taken that only the gate should use: {', '.join(taken) or 'consent_gate_…'}",
        )


@cache
def _statement(name: str) -> str:
    return (files("consent_gate.engines") / "statements" / "duckdb" / f"{name}.sql").read_text()
