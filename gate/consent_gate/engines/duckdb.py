"""DuckDB: a relation comes back as one, semi-joined with the permitted workspaces, times and all.

    kept = job.filter(connection.table("messages"), "workspace_id", collected="sent_at")

For SQL there are macros, as of the job's moment, on one connection:

    register(job, connection)
    connection.sql("SELECT * FROM messages WHERE consent_permits_at(workspace_id, sent_at)")

The join is DuckDB's and decides whenever the relation is read; counts are of the owners' columns as they
are when it is made. A relation is in no order, and neither is what comes back.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, is_list, require_columns

if TYPE_CHECKING:
    from consent_gate.engines.job import Job

BATCH_ROWS = 1 << 20
_OURS = ("consent_owner", "consent_collected", "consent_instant", "consent_row")
_ROWS = "consent_rows"


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if not isinstance(data, duckdb.DuckDBPyRelation):
        raise refuse_mask(data)
    where = task.where
    schema = data.limit(0).to_arrow_table().schema
    require_columns(schema, where.columns, where.collected_column)
    _require_free_names(data)
    pinned = task.pinned()
    if task.reasons:
        _count(task, data)
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
    text = "VARCHAR[]" if of_lists else "VARCHAR"
    chosen = [duckdb.StarExpression(), duckdb.ColumnExpression(column).cast(text).alias("consent_owner")]
    if collected_column:
        chosen.append(duckdb.ColumnExpression(collected_column).alias("consent_collected"))
    rows = rows.select(*chosen)
    if collected_column:
        nanoseconds = schema.field(collected_column).type.unit == "ns"
        rows = _query(rows, "instants_ns" if nanoseconds else "instants", consent_gate_allowed)
    name = f"keep{'_lists' if of_lists else ''}{'_at' if collected_column else ''}"
    return _query(rows, name, consent_gate_allowed)


def _query(rows: Any, statement: str, consent_gate_allowed: pa.Table | None = None) -> Any:
    """A statement of ours on a relation. DuckDB finds the last argument by its name.

    Some versions keep the relation as a view, and look it up again whenever the result is read: so no other
    ever has its name.
    """
    view = f"{_ROWS}_{secrets.token_hex(8)}"
    return rows.query(view, _statement(statement).replace(_ROWS, view))


def _count(task: Task, data: Any) -> None:
    """By the filter itself, over the columns that it needs."""
    names = list(dict.fromkeys([*task.where.columns, task.where.collected_column]))
    columns = [duckdb.ColumnExpression(name) for name in names if name]
    rows = Filter(task.judge(), task.where.columns, task.where.collected_column)
    done = 0
    for batch in data.select(*columns).to_arrow_reader(BATCH_ROWS):
        rows.verdicts(batch)
        done += len(batch)
        task.progress(done, None)
    task.counting(rows)


def _require_free_names(data: Any) -> None:
    taken = [name for name in data.columns if name.lower() in _OURS]
    if taken or _query(data, "taken_names").fetchall() != [(0,)]:
        raise ConsentError(
            "invalid_value",
            f"names are taken that only the gate should use: {', '.join(taken) or 'consent_gate_allowed'}",
        )


@cache
def _statement(name: str) -> str:
    return (files("consent_gate.engines") / "statements" / "duckdb" / f"{name}.sql").read_text()
