"""The engines of the bench, each with its bare semi-join, which has the permitted ids and counts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from consent_gate.engines.job import Job

ITEMS_SHARE = 30
"""Plain items are so much fewer than rows: Python needs up to a microsecond for each."""
SMALL_ROWS, SMALL_BATCHES = 1_000, 200
BATCH_ROWS = 1 << 17
WARM_UP_ROWS = 2_000

Ways = dict[str, Callable[[], int]]
"""How an engine keeps its permitted rows; each returns how many. `BARE` is the limit."""
BARE, KEPT, REASONS = "bare", "kept and dropped", "reasons"
BY_TIME, OF_TWO = "reasons by time", "reasons of two owners"


class Shared(NamedTuple):
    """What every fork has from the beginning."""

    rows: pa.Table
    allowed: Any
    job: Job


def pyarrow(shared: Shared) -> Ways:
    rows, allowed, job = shared
    return {
        BARE: lambda: len(rows.filter(pc.is_in(rows["workspace_id"], value_set=allowed))),
        REASONS: lambda: len(job.filter(rows, "workspace_id")),
        BY_TIME: lambda: len(job.filter(rows, "workspace_id", "sent_at")),
        OF_TWO: lambda: len(job.filter(rows, ["workspace_id", "guest"])),
    }


def pyarrow_dataset(shared: Shared) -> Ways:
    import pyarrow.dataset as ds

    data = ds.dataset(shared.rows)
    test = pc.field("workspace_id").isin(shared.allowed)
    return {
        BARE: lambda: sum(len(batch) for batch in data.to_batches(filter=test)),
        REASONS: lambda: sum(len(batch) for batch in shared.job.filter(data, "workspace_id")),
        BY_TIME: lambda: sum(len(one) for one in shared.job.filter(data, "workspace_id", "sent_at")),
    }


def pyarrow_reader(shared: Shared) -> Ways:
    rows, allowed, job = shared
    batches = rows.to_batches(max_chunksize=BATCH_ROWS)

    def reader() -> Any:
        return pa.RecordBatchReader.from_batches(rows.schema, batches)

    def bare() -> int:
        return sum(len(one.filter(pc.is_in(one["workspace_id"], value_set=allowed))) for one in reader())

    return {
        BARE: bare,
        REASONS: lambda: sum(len(one) for one in job.filter(reader(), "workspace_id")),
        BY_TIME: lambda: sum(len(one) for one in job.filter(reader(), "workspace_id", "sent_at")),
    }


def pyarrow_lists(shared: Shared) -> Ways:
    """Of two owners each. The limit has them taken apart, looks both up, and puts nothing together again."""
    rows, allowed, job = shared
    lists = _with_lists(rows)

    firsts = pa.array(np.arange(0, 2 * len(lists), 2))
    seconds = pc.add(firsts, 1)

    def bare() -> int:
        both = pc.is_in(lists["owners"].combine_chunks().flatten(), value_set=allowed)
        return len(lists.filter(pc.and_(both.take(firsts), both.take(seconds))))

    return {BARE: bare, OF_TWO: lambda: len(job.filter(lists, "owners"))}


def _with_lists(rows: pa.Table) -> pa.Table:
    owners = rows["workspace_id"].take(pa.array(np.arange(2 * len(rows)) // 2)).combine_chunks()
    starts = pa.array(np.arange(0, 2 * len(rows) + 1, 2, dtype=np.int32))
    return rows.select(["value"]).append_column("owners", pa.ListArray.from_arrays(starts, owners))


def polars(shared: Shared) -> Ways:
    import polars as pl

    frame, permitted = pl.DataFrame(shared.rows), pl.DataFrame({"workspace_id": shared.allowed})
    return {
        BARE: lambda: len(frame.join(permitted, on="workspace_id", how="semi")),
        **_ways(lambda *where, **more: len(shared.job.filter(frame, *where, **more))),
    }


def polars_lazy(shared: Shared) -> Ways:
    return _plans(shared, "auto")


def polars_streaming(shared: Shared) -> Ways:
    return _plans(shared, "streaming")


def _plans(shared: Shared, engine: Any) -> Ways:
    import polars as pl

    plan, permitted = pl.LazyFrame(shared.rows), pl.LazyFrame({"workspace_id": shared.allowed})
    semi = plan.join(permitted, on="workspace_id", how="semi")
    return {
        BARE: lambda: len(semi.collect(engine=engine)),
        **_ways(
            lambda *where, **more: len(plan.pipe(shared.job.filter, *where, **more).collect(engine=engine))
        ),
    }


def polars_lists(shared: Shared) -> Ways:
    import polars as pl

    frame, allowed = pl.DataFrame(_with_lists(shared.rows)), pl.Series(shared.allowed)
    is_in = pl.col("owners").list.eval(pl.element().is_in(allowed.implode())).list.all()
    return {
        BARE: lambda: len(frame.filter(is_in)),
        OF_TWO: lambda: len(shared.job.filter(frame, "owners")),
    }


def pandas(shared: Shared) -> Ways:
    frame, permitted = shared.rows.to_pandas(), shared.allowed.to_pandas()
    return {
        BARE: lambda: len(frame[frame["workspace_id"].isin(permitted)]),
        REASONS: lambda: len(shared.job.filter(frame, "workspace_id")),
    }


def duckdb(shared: Shared) -> Ways:
    data, permitted = _relations(shared)
    return {
        BARE: lambda: len(data.join(permitted, "workspace_id", how="semi").to_arrow_table()),
        **_ways(lambda *where, **more: len(shared.job.filter(data, *where, **more).to_arrow_table())),
    }


def duckdb_macro(shared: Shared) -> Ways:
    from consent_gate.engines.duckdb import register

    data, permitted = _relations(shared)

    def macro() -> int:
        return len(data.filter("consent_permits(workspace_id)").to_arrow_table())

    register(shared.job, _connection())
    return {
        BARE: lambda: len(data.join(permitted, "workspace_id", how="semi").to_arrow_table()),
        KEPT: macro,
    }


def _relations(shared: Shared) -> tuple[Any, Any]:
    connection = _connection()
    connection.register("data", shared.rows)
    connection.register("permitted", pa.table({"workspace_id": shared.allowed}))
    return connection.table("data"), connection.table("permitted")


def _connection() -> Any:
    import duckdb as module

    return module.default_connection()


def lists_of_items(shared: Shared) -> Ways:
    items, permitted, job = _items(shared), set(shared.allowed.to_pylist()), shared.job
    return {
        BARE: lambda: len([item for item in items if item["workspace_id"] in permitted]),
        REASONS: lambda: len(job.filter(items, "workspace_id")),
        BY_TIME: lambda: len(job.filter(items, "workspace_id", "sent_at")),
        OF_TWO: lambda: len(job.filter(items, ["workspace_id", "guest"])),
    }


def iterators_of_items(shared: Shared) -> Ways:
    items, permitted, job = _items(shared), set(shared.allowed.to_pylist()), shared.job
    return {
        BARE: lambda: _length(item for item in items if item["workspace_id"] in permitted),
        REASONS: lambda: _length(job.filter(iter(items), "workspace_id")),
        BY_TIME: lambda: _length(job.filter(iter(items), "workspace_id", "sent_at")),
        OF_TWO: lambda: _length(job.filter(iter(items), ["workspace_id", "guest"])),
    }


def _items(shared: Shared) -> list[dict[str, Any]]:
    few = shared.rows.slice(0, max(WARM_UP_ROWS, len(shared.rows) // ITEMS_SHARE))
    items: list[dict[str, Any]] = few.to_pylist()
    return items


def _length(items: Iterable[Any]) -> int:
    return sum(1 for _ in items)


def small_batches_of_arrow(shared: Shared) -> Ways:
    batches, allowed = _small(shared), shared.allowed

    def bare() -> int:
        return sum(len(one.filter(pc.is_in(one["workspace_id"], value_set=allowed))) for one in batches)

    return {
        BARE: bare,
        REASONS: lambda: sum(len(shared.job.filter(one, "workspace_id")) for one in batches),
    }


def small_frames_of_polars(shared: Shared) -> Ways:
    import polars as pl

    frames, permitted = [pl.DataFrame(one) for one in _small(shared)], pl.DataFrame({"id": shared.allowed})

    def bare() -> int:
        return sum(
            len(one.join(permitted, left_on="workspace_id", right_on="id", how="semi")) for one in frames
        )

    return {
        BARE: bare,
        REASONS: lambda: sum(len(shared.job.filter(one, "workspace_id")) for one in frames),
    }


def _small(shared: Shared) -> list[pa.RecordBatch]:
    whole = shared.rows.slice(0, SMALL_ROWS * SMALL_BATCHES)
    return whole.to_batches(max_chunksize=SMALL_ROWS)


def _ways(run: Callable[..., int]) -> Ways:
    """Of an engine that has a faster way if nobody wants reasons."""
    return {
        KEPT: lambda: run("workspace_id", reasons=False),
        REASONS: lambda: run("workspace_id"),
        BY_TIME: lambda: run("workspace_id", "sent_at"),
        OF_TWO: lambda: run(["workspace_id", "guest"]),
    }


Engine = Callable[[Shared], Ways]
ENGINES: tuple[Any, ...] = (
    pyarrow,
    pyarrow_dataset,
    pyarrow_reader,
    pyarrow_lists,
    polars,
    polars_lazy,
    polars_streaming,
    polars_lists,
    pandas,
    duckdb,
    duckdb_macro,
    lists_of_items,
    iterators_of_items,
    small_batches_of_arrow,
    small_frames_of_polars,
)
