"""Each engine's filter beside its bare semi-join, which is given the permitted ids and counts nothing.

    python bench/engines.py            1 M rows of 100 k workspaces; a minute
    python bench/engines.py --large    10 M rows; four minutes on a quiet host

Both join the same rows with the same workspaces, in turns, and the best round of each counts: the cores
are shared with others. `kept and dropped` counts rows only, `reasons` those of each reason too. What a job
does before its first row, working out where all workspaces stand, is a figure of its own. Memory is the
most that a process of its own held while it ran, beyond what it held before: every engine, and every way
for its memory, runs in a fork of this process, which has the rows and the job and no engine.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.facts import BOOK_ID, pack
from consent_domain.feed import Row as Fact
from consent_domain.instants import DAY
from consent_gate.boot import boot_nanoseconds
from consent_gate.engines.job import Job
from consent_gate.gate import Gate
from consent_gate.replica import Mark, Replica
from filter import NOW, PURPOSE, Customers
from harness import arguments
from table import Row, report

WORKSPACES = 100_000
ROUNDS = 3
ROWS, ROWS_LARGE, ROWS_QUICK = 1_000_000, 10_000_000, 100_000
ITEMS_SHARE = 10
"""Plain items are a tenth of the rows: Python needs a microsecond for each."""
SMALL_ROWS, SMALL_BATCHES = 1_000, 200
KEPT_RATIO_MAX, REASONS_RATIO_MAX = 1.3, 2.2
WARM_UP_ROWS = 2_000
SECONDS_MAX = 120.0
"""An engine that takes longer is given up, and said so."""

Ways = dict[str, Callable[[], int]]
"""How an engine keeps its permitted rows; each returns how many. `bare` is the limit."""
KEPT, REASONS = "kept and dropped", "reasons"
LIMITS = {KEPT: KEPT_RATIO_MAX, REASONS: REASONS_RATIO_MAX}
"""What is counted beyond this, by collection time or of two owners, is told beside the same bare join."""


class Shared(NamedTuple):
    """What every fork has from the beginning."""

    rows: pa.Table
    allowed: Any
    job: Job


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", action="store_true", help=f"{ROWS_LARGE:,} rows instead of {ROWS:,}")
    parser.add_argument("--quick", action="store_true", help=f"{ROWS_QUICK:,} rows: whether it runs")
    parser.add_argument("--only", action="append", help="the name of an engine below; may be given again")
    given = parser.parse_args()
    rows = ROWS_LARGE if given.large else ROWS_QUICK if given.quick else ROWS
    figures = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, followed(Path(folder)) as gate:
        with gate.job() as job:
            pa.array(["what Arrow imports the first time"], pa.string())
            began = time.perf_counter()
            pinned = job.pinned()
            took = time.perf_counter() - began
            what = "all standings worked out, once a job"
            figures.append(Row(what, WORKSPACES / took, "workspaces/s", note=f"{took:.2f} s"))
            shared = Shared(table(rows), pinned.permitted_unstated(), job)
            for engine in ENGINES:
                if not given.only or engine.__name__ in given.only:
                    figures += measured(engine, shared)
    report(f"Engines, {rows:,} rows of {WORKSPACES:,} workspaces", figures, given.folder, given.json)


# -- measuring -----------------------------------------------------------------------------------------------


def measured(engine: Engine, shared: Shared) -> list[Row]:
    """Rows of the table: seconds of all ways, and the memory that each took."""
    name = engine.__name__.replace("_", " ")
    seconds: dict[str, float] = forked(partial(timed, engine, shared))
    held = {way: forked(partial(megabytes, engine, shared, way)) for way in seconds}
    figures = []
    for way, took in list(seconds.items())[1:]:
        most = LIMITS.get(way)
        figures.append(
            Row(
                f"{name}, {way}",
                took * 1_000,
                "ms",
                "bare semi-join",
                seconds["bare"] * 1_000,
                f"≤ {most} ×" if most else "",
                took <= most * seconds["bare"] if most else None,
                f"+{held[way]:.0f} MB (bare +{held['bare']:.0f} MB)",
            )
        )
    return figures


def timed(engine: Engine, shared: Shared) -> dict[str, float]:
    """The seconds of the best round of each way, in turns."""
    ways = engine(shared)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        kept = {}
        for way, run in ways.items():
            began = time.perf_counter()
            kept[way] = run()
            best[way] = min(best[way], time.perf_counter() - began)
        assert len(set(kept.values())) == 1, f"all ways keep as many rows: {kept}"
    return best


def megabytes(engine: Engine, shared: Shared, way: str) -> float:
    """The most that this process held while it ran, beyond what it held before; imports are over then."""
    few = shared._replace(rows=shared.rows.slice(0, WARM_UP_ROWS))
    engine(few)[way]()
    run = engine(shared)[way]
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _held("VmRSS")
    run()
    return (_held("VmHWM") - before) / 1e3


def _held(field: str) -> int:
    """Kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def forked(run: Callable[[], Any]) -> Any:
    """What `run` returns in a fork. Raises if it does not in time."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def send() -> None:
        theirs.send(run())
        os._exit(0)  # what is open belongs to the parent

    child = multiprocessing.get_context("fork").Process(target=send)
    child.start()
    theirs.close()
    try:
        if not ours.poll(SECONDS_MAX):
            raise TimeoutError(f"{run} took longer than {SECONDS_MAX:.0f} s")
        return ours.recv()
    finally:
        child.kill()
        child.join()


# -- the ledger ----------------------------------------------------------------------------------------------


@contextmanager
def followed(folder: Path) -> Iterator[Gate]:
    """A gate over a replica of all workspaces, kept fresh until the end."""
    customers = Customers(WORKSPACES)
    replica = Replica.open(folder)
    build = replica.build("consent.bench/ledger", 1)
    build.add(Fact("workspace", name, facts.position, pack(facts)) for name, facts in customers.all.items())
    build.add([Fact("book", BOOK_ID, 1, pack(customers.book))])
    build.finish(WORKSPACES + 10)
    done = threading.Event()

    def follow() -> None:
        now = NOW
        while not done.wait(0.01):
            now += 1
            replica.note_watermark(Mark(1, WORKSPACES + 10, now, boot_nanoseconds()))

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield Gate(replica, purpose=PURPOSE, max_staleness=60)
    finally:
        done.set()
        thread.join()


def table(rows: int) -> pa.Table:
    """Rows of random workspaces, each a number, a second owner, and a permitted collection time."""
    numbers = _random(rows, WORKSPACES, 1)
    names = pa.array([f"ws-{number:08}" for number in range(WORKSPACES)])
    times = pc.add(_random(rows, NOW - 300 * DAY, 2), 299 * DAY).cast(pa.timestamp("us", "UTC"))
    owners = names.take(numbers)
    return pa.table({"workspace_id": owners, "value": numbers, "guest": owners, "sent_at": times})


def _random(rows: int, below: int, seed: int) -> Any:
    return pc.floor(pc.multiply(pc.random(rows, initializer=seed), below)).cast(pa.int64())


# -- the engines ---------------------------------------------------------------------------------------------


def pyarrow(shared: Shared) -> Ways:
    rows, allowed, job = shared
    return {
        "bare": lambda: len(rows.filter(pc.is_in(rows["workspace_id"], value_set=allowed))),
        REASONS: lambda: len(job.filter(rows, "workspace_id")),
        "reasons by time": lambda: len(job.filter(rows, "workspace_id", "sent_at")),
        "reasons of two owners": lambda: len(job.filter(rows, ["workspace_id", "guest"])),
    }


def pyarrow_dataset(shared: Shared) -> Ways:
    import pyarrow.dataset as ds

    data = ds.dataset(shared.rows)
    test = pc.field("workspace_id").isin(shared.allowed)
    return {
        "bare": lambda: sum(len(batch) for batch in data.to_batches(filter=test)),
        REASONS: lambda: sum(len(batch) for batch in shared.job.filter(data, "workspace_id")),
        "reasons by time": lambda: sum(
            len(one) for one in shared.job.filter(data, "workspace_id", "sent_at")
        ),
    }


def polars(shared: Shared) -> Ways:
    import polars as pl

    frame, permitted = pl.DataFrame(shared.rows), pl.DataFrame({"workspace_id": shared.allowed})
    return {
        "bare": lambda: len(frame.join(permitted, on="workspace_id", how="semi")),
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
        "bare": lambda: len(semi.collect(engine=engine)),
        **_ways(
            lambda *where, **more: len(plan.pipe(shared.job.filter, *where, **more).collect(engine=engine))
        ),
    }


def pandas(shared: Shared) -> Ways:
    frame, permitted = shared.rows.to_pandas(), shared.allowed.to_pandas()
    return {
        "bare": lambda: len(frame[frame["workspace_id"].isin(permitted)]),
        REASONS: lambda: len(shared.job.filter(frame, "workspace_id")),
    }


def duckdb(shared: Shared) -> Ways:
    data, permitted = _relations(shared)
    return {
        "bare": lambda: len(data.join(permitted, "workspace_id", how="semi").to_arrow_table()),
        **_ways(lambda *where, **more: len(shared.job.filter(data, *where, **more).to_arrow_table())),
    }


def duckdb_macro(shared: Shared) -> Ways:
    from consent_gate.engines.duckdb import register

    data, permitted = _relations(shared)

    def macro() -> int:
        return len(data.filter("consent_permits(workspace_id)").to_arrow_table())

    register(shared.job, _connection())
    return {
        "bare": lambda: len(data.join(permitted, "workspace_id", how="semi").to_arrow_table()),
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


def plain_items(shared: Shared) -> Ways:
    items = shared.rows.slice(0, max(WARM_UP_ROWS, len(shared.rows) // ITEMS_SHARE)).to_pylist()
    permitted = set(shared.allowed.to_pylist())
    return {
        "bare": lambda: len([item for item in items if item["workspace_id"] in permitted]),
        REASONS: lambda: len(shared.job.filter(items, "workspace_id")),
        "reasons by time": lambda: len(shared.job.filter(items, "workspace_id", "sent_at")),
    }


def small_batches_of_arrow(shared: Shared) -> Ways:
    batches, allowed = _small(shared), shared.allowed

    def bare() -> int:
        return sum(len(one.filter(pc.is_in(one["workspace_id"], value_set=allowed))) for one in batches)

    return {
        "bare": bare,
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
        "bare": bare,
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
        "reasons by time": lambda: run("workspace_id", "sent_at"),
        "reasons of two owners": lambda: run(["workspace_id", "guest"]),
    }


Engine = Callable[[Shared], Ways]
ENGINES: tuple[Any, ...] = (
    pyarrow,
    pyarrow_dataset,
    polars,
    polars_lazy,
    polars_streaming,
    pandas,
    duckdb,
    duckdb_macro,
    plain_items,
    small_batches_of_arrow,
    small_frames_of_polars,
)


if __name__ == "__main__":
    main()
