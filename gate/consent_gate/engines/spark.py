"""Spark: `frame.transform(job.filter, "workspace_id", collected="sent_at")`, as joins and nothing else.

The position is pinned on the driver. Where workspaces stand goes out once, as a broadcast; executors run
no Python and ask nobody. Counts come back with the job that the rows are for, by an `Observation`: they
are those of the first action, and not there before it.

Without lists and reasons it is a broadcast left-semi join. Columns of lists are taken apart and put
together again by row, which shuffles the rows.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import pyarrow as pa
from consent_domain.errors import ConsentError
from pyspark.sql import Observation
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, StringType, TimestampType

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.pinned import FIRST, Pinned
from consent_gate.verdicts import BEFORE_ENROLMENT, NO_WORKSPACE, Verdict

ACTION_SECONDS_MAX = 2.0
"""So long a report waits for the counts of an action that has just ended."""
_ID = r"\A[A-Za-z0-9._-]{1,128}\z"
_OURS = "consent_gate_"
_INSTANT, _ROW, _VERDICT = f"{_OURS}instant", f"{_OURS}row", f"{_OURS}verdict"


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`."""
    if not hasattr(data, "sparkSession"):
        raise refuse_mask(data)
    _require(task, data)
    lists = any(isinstance(data.schema[column].dataType, ArrayType) for column in task.where.columns)
    kept = _joined(task, data) if lists or task.reasons else _semi_joined(task, data)
    task.planned()
    return kept


def masked(task: Task, data: Any) -> Any:
    """See `Engine`: never."""
    raise refuse_mask(data)


def _require(task: Task, data: Any) -> None:
    """Raises ConsentError `invalid_value` unless each column is there once and of a type that will do."""
    where = task.where
    taken = [name for name in data.columns if name.lower().startswith(_OURS)]
    if taken:
        raise ConsentError("invalid_value", f"columns are named as only the gate may: {', '.join(taken)}")
    for name in (*where.columns, *([where.collected_column] if where.collected else [])):
        if data.columns.count(name) != 1:
            how = "there twice" if name in data.columns else "not there"
            raise ConsentError("invalid_value", f"column {name!r} is {how}; the columns are {data.columns}")
    for name in where.columns:
        kind = data.schema[name].dataType
        if not isinstance(kind.elementType if isinstance(kind, ArrayType) else kind, StringType):
            raise ConsentError(
                "invalid_value",
                f"column {name!r} holds {kind.simpleString()}; workspace ids are text, or lists of text",
            )
    if where.collected and not isinstance(data.schema[where.collected_column].dataType, TimestampType):
        kind = data.schema[where.collected_column].dataType
        raise ConsentError(
            "invalid_value",
            f"column {where.collected_column!r} holds {kind.simpleString()}; a collection time is a "
            "timestamp, which has a time zone: without one it names no instant, so cast it first",
        )


def _column(name: str) -> Any:
    """A column by its very name, dots and all."""
    return F.col("`" + name.replace("`", "``") + "`")


# -- rows in and out only ------------------------------------------------------------------------------------


def _semi_joined(task: Task, data: Any) -> Any:
    where, pinned = task.where, task.pinned()
    columns = data.columns
    before, after = Observation(), Observation()
    data = data.observe(before, F.count(F.lit(1)).alias("rows"))
    if where.collected is None:
        allowed = pa.table({f"{_OURS}allowed": pinned.permitted_unstated()})
    else:
        times = pinned.allowed_times()
        allowed = times.rename_columns([f"{_OURS}allowed", f"{_OURS}start", f"{_OURS}end"])
        data = data.withColumn(_INSTANT, _instant(where.collected_column))
    sent = F.broadcast(data.sparkSession.createDataFrame(allowed))
    for column in where.columns:
        test = _column(column) == F.col(f"{_OURS}allowed")
        if where.collected is not None:
            instant = F.col(_INSTANT)
            test &= (instant >= F.col(f"{_OURS}start")) & (instant < F.col(f"{_OURS}end"))
        data = data.join(sent, test, "left_semi")
    kept = data.select(*map(_column, columns)).observe(after, F.count(F.lit(1)).alias("rows"))
    met, stayed = _Observed(before), _Observed(after)
    task.counted(lambda: (met.told().get("rows"), stayed.told().get("rows")))
    return kept


def _instant(column: str) -> Any:
    """Microseconds; `FIRST` where nobody stated a time, and never where somebody did."""
    stated = F.greatest(F.unix_micros(_column(column)), F.lit(FIRST + 1))
    return F.when(_column(column).isNull(), F.lit(FIRST)).otherwise(stated)


# -- reasons -------------------------------------------------------------------------------------------------


def _joined(task: Task, data: Any) -> Any:
    where, pinned = task.where, task.pinned()
    columns = data.columns
    if where.collected is None:
        data = data.withColumn(_INSTANT, F.lit(FIRST))
    else:
        data = data.withColumn(_INSTANT, _instant(where.collected_column))
    data = data.withColumn(_VERDICT, F.lit(None).cast("int"))
    standings = _Standings(data.sparkSession, pinned)
    for column in where.columns:
        if isinstance(data.schema[column].dataType, ArrayType):
            data = _of_lists(data, column, standings)
        else:
            data = _first_denial(standings.judged(data, _column(column)), standings)
    seen = Observation()
    numbers = range(len(pinned.table))
    counts = [F.sum((F.col(_VERDICT) == number).cast("long")).alias(str(number)) for number in numbers]
    data = data.observe(seen, *counts)
    task.counting(_Counts(pinned, _Observed(seen)))
    return data.filter(standings.permits(F.col(_VERDICT))).select(*map(_column, columns))


_FOUND = f"{_OURS}found"


def _first_denial(data: Any, standings: _Standings) -> Any:
    """The verdict so far, unless it permits and the one found now does not."""
    so_far, found = F.col(_VERDICT), F.col(_FOUND)
    is_first = so_far.isNull() | (standings.permits(so_far) & ~standings.permits(found))
    kept = F.when(is_first, found).otherwise(so_far)
    return data.withColumn(_VERDICT, kept).drop(_FOUND)


def _of_lists(data: Any, column: str, standings: _Standings) -> Any:
    """The rows, each with the first verdict of its owners that denies. No owner is one that is missing."""
    place, owner = f"{_OURS}place", f"{_OURS}owner"
    columns = data.columns
    data = data.withColumn(_ROW, F.monotonically_increasing_id())
    owned = data.select("*", F.posexplode_outer(_column(column)).alias(place, owner))
    judged = standings.judged(owned, F.col(owner))
    first = F.min(
        F.struct(standings.permits(F.col(_FOUND)), F.coalesce(F.col(place), F.lit(0)), F.col(_FOUND))
    )
    rest = [F.first(_column(name)).alias(name) for name in columns]
    whole = judged.groupBy(_ROW).agg(*rest, first.getField(_FOUND).alias(_FOUND)).drop(_ROW)
    return _first_denial(whole, standings)


class _Standings:
    """Where workspaces stand, as tables that every executor gets."""

    def __init__(self, session: Any, pinned: Pinned) -> None:
        self._pinned = pinned
        self._permitting = [number for number, verdict in enumerate(pinned.table) if verdict.permit]
        columns = [f"{_OURS}{name}" for name in ("workspace", "line", "since", "unstated")]
        self._standings = F.broadcast(session.createDataFrame(_table(pinned.everybody.columns, columns)))
        stretches = [(line, *one) for line in range(len(pinned.lines)) for one in pinned.stretches(line)]
        kinds = (pa.int32(), pa.int64(), pa.int64(), pa.int32())
        told = [
            pa.array(values, kind) for values, kind in zip(zip(*stretches, strict=True), kinds, strict=True)
        ]
        names = [f"{_OURS}{name}" for name in ("of_line", "start", "end", "then")]
        self._stretches = F.broadcast(session.createDataFrame(_table(told, names)))

    def permits(self, number: Any) -> Any:
        """Whether a verdict permits; never null."""
        # With none that permits a constant would do, and Spark would leave out the rows, their counts too.
        return F.coalesce(number.isin(self._permitting or [-1]), F.lit(False))

    def judged(self, data: Any, owner: Any) -> Any:
        """The rows with the number of the verdict on `owner` at the row's instant."""
        ours = {name: F.col(f"{_OURS}{name}") for name in ("workspace", "line", "since", "unstated")}
        line, start, end, then = (F.col(f"{_OURS}{name}") for name in ("of_line", "start", "end", "then"))
        instant = F.col(_INSTANT)
        columns = data.columns
        data = data.withColumn(f"{_OURS}asked", owner)
        asked = F.col(f"{_OURS}asked")
        data = data.join(self._standings, asked == ours["workspace"], "left")
        data = data.join(
            self._stretches, (ours["line"] == line) & (instant >= start) & (instant < end), "left"
        )
        unknown, invalid = (F.lit(one.unstated) for one in self._pinned.strangers)
        found = (
            F.when(asked.isNull(), F.lit(NO_WORKSPACE))
            .when(ours["line"].isNull() & ~asked.rlike(_ID), invalid)
            .when(ours["line"].isNull(), unknown)
            .when(instant == F.lit(FIRST), ours["unstated"])
            .when(instant < ours["since"], F.lit(BEFORE_ENROLMENT))
            .otherwise(F.coalesce(then, F.lit(NO_WORKSPACE)))
        )
        return data.select(*map(_column, columns), found.cast("int").alias(_FOUND))


def _table(columns: Any, names: list[str]) -> pa.Table:
    return pa.table(list(columns), names=names)


class _Counts:
    """Rows by verdict, once the first action is over."""

    def __init__(self, pinned: Pinned, observed: _Observed) -> None:
        self._pinned, self._observed = pinned, observed

    @property
    def counts(self) -> dict[Verdict, int] | None:
        told = self._observed.told()
        if not told:
            return None
        rows = {verdict: told[str(number)] or 0 for number, verdict in enumerate(self._pinned.table)}
        return dict(sorted(((one, count) for one, count in rows.items() if count), key=lambda kv: -kv[1]))


class _Observed:
    """What an observation was told. Asking it waits for an action, so a thread does."""

    def __init__(self, observation: Observation) -> None:
        self._observation = observation
        self._told: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self._told = dict(self._observation.get)
        except Exception as error:  # a plan without rows is not run, and then Spark has nothing to say
            logging.getLogger(__name__).info("Spark did not count: %s", error)

    def told(self) -> dict[str, Any]:
        """Nothing as long as there was no action."""
        self._thread.join(ACTION_SECONDS_MAX)
        return self._told
