"""Each engine's filter beside its bare semi-join, which is given the permitted ids and counts nothing.

    python bench/engines.py            1 M rows of 100 k workspaces; a minute
    python bench/engines.py --large    10 M rows

Both join the same rows with the same workspaces, in turns, and the best round of each counts: the cores
are shared with others. `kept and dropped` counts rows only, `reasons` those of each reason too. What a job
does before its first row, working out where all workspaces stand, is a figure of its own. Memory is the
most that the process held while it ran beyond what it held before.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.facts import BOOK_ID, pack
from consent_domain.feed import Row as Fact
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
KEPT_RATIO_MAX, REASONS_RATIO_MAX = 1.3, 2.2
_SAMPLE_SECONDS = 0.002


class Contest(NamedTuple):
    """An engine's data, and three ways to keep its permitted rows; each returns how many."""

    engine: str
    rows: int
    bare: Callable[[], int]
    kept: Callable[[], int]
    reasons: Callable[[], int]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", action="store_true", help=f"{ROWS_LARGE:,} rows instead of {ROWS:,}")
    parser.add_argument("--quick", action="store_true", help=f"{ROWS_QUICK:,} rows: whether it runs")
    given = parser.parse_args()
    rows = ROWS_LARGE if given.large else ROWS_QUICK if given.quick else ROWS
    figures = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, followed(Path(folder)) as gate:
        began = time.perf_counter()
        with gate.job() as job:
            waited = time.perf_counter() - began
            pinned = job.pinned()
            took = time.perf_counter() - began - waited
            figures.append(
                Row(
                    "all standings worked out, once a job",
                    WORKSPACES / took,
                    "workspaces/s",
                    note=f"{took:.2f} s",
                )
            )
            allowed = pinned.permitted_unstated()
            for engine in ENGINES:
                figures += measured(engine(table(rows), allowed, job))
    report(f"Engines, {rows:,} rows of {WORKSPACES:,} workspaces", figures, given.folder, given.json)


def measured(contest: Contest) -> list[Row]:
    """Seconds of all three, and the memory that each took."""
    ways = (contest.bare, contest.kept, contest.reasons)
    held = [megabytes(way) for way in ways]  # first of all: what was freed once is used again
    assert len({way() for way in ways}) == 1, f"all three of {contest.engine} keep the same rows"
    best = [float("inf")] * len(ways)
    for _ in range(ROUNDS):
        for index, way in enumerate(ways):
            began = time.perf_counter()
            way()
            best[index] = min(best[index], time.perf_counter() - began)
    told = zip(
        ("kept and dropped", "reasons"), best[1:], held[1:], (KEPT_RATIO_MAX, REASONS_RATIO_MAX), strict=True
    )
    return [
        Row(
            f"{contest.engine}, {what}",
            took * 1_000,
            "ms",
            "bare semi-join",
            best[0] * 1_000,
            f"≤ {most} ×",
            took <= most * best[0],
            f"{contest.rows / took / 1e6:.1f} M rows/s, +{memory:.0f} MB (bare +{held[0]:.0f} MB)",
        )
        for what, took, memory, most in told
    ]


def megabytes(run: Callable[[], int]) -> float:
    """The most that the process held while it ran, beyond what it held before."""
    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(_SAMPLE_SECONDS):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return (most - before) / 1e6


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
    """Rows of random workspaces, each with a number."""
    chosen = random.Random(1)
    names = pa.array([f"ws-{number:08}" for number in range(WORKSPACES)])
    numbers = pa.array(chosen.choices(range(WORKSPACES), k=rows))
    return pa.table({"workspace_id": names.take(numbers), "value": numbers})


# -- the engines ---------------------------------------------------------------------------------------------


def arrow(rows: pa.Table, allowed: Any, job: Job) -> Contest:
    def bare() -> int:
        return len(rows.filter(pc.is_in(rows["workspace_id"], value_set=allowed)))

    def ours() -> int:
        return len(job.filter(rows, "workspace_id"))

    return Contest("pyarrow", len(rows), bare, ours, ours)


def polars(rows: pa.Table, allowed: Any, job: Job) -> Contest:
    import polars as pl

    frame, permitted = pl.DataFrame(rows), pl.DataFrame({"workspace_id": allowed})
    return Contest(
        "polars",
        len(rows),
        lambda: len(frame.join(permitted, on="workspace_id", how="semi")),
        lambda: len(job.filter(frame, "workspace_id", reasons=False)),
        lambda: len(job.filter(frame, "workspace_id")),
    )


def polars_lazy(rows: pa.Table, allowed: Any, job: Job) -> Contest:
    import polars as pl

    plan, permitted = pl.LazyFrame(rows), pl.LazyFrame({"workspace_id": allowed})
    return Contest(
        "polars, lazy",
        len(rows),
        lambda: len(plan.join(permitted, on="workspace_id", how="semi").collect()),
        lambda: len(plan.pipe(job.filter, "workspace_id", reasons=False).collect()),
        lambda: len(plan.pipe(job.filter, "workspace_id").collect()),
    )


def pandas(rows: pa.Table, allowed: Any, job: Job) -> Contest:
    frame, permitted = rows.to_pandas(), allowed.to_pandas()

    def ours() -> int:
        return len(job.filter(frame, "workspace_id"))

    return Contest("pandas", len(rows), lambda: len(frame[frame["workspace_id"].isin(permitted)]), ours, ours)


def duckdb(rows: pa.Table, allowed: Any, job: Job) -> Contest:
    import duckdb

    connection = duckdb.connect()
    connection.register("data", rows)
    connection.register("permitted", pa.table({"workspace_id": allowed}))
    data, permitted = connection.table("data"), connection.table("permitted")

    def ours(reasons: bool) -> int:
        return len(job.filter(data, "workspace_id", reasons=reasons).to_arrow_table())

    return Contest(
        "DuckDB",
        len(rows),
        lambda: len(data.join(permitted, "workspace_id", how="semi").to_arrow_table()),
        lambda: ours(False),
        lambda: ours(True),
    )


def iterables(rows: pa.Table, allowed: Any, job: Job) -> Contest:
    items = rows.slice(0, len(rows) // ITEMS_SHARE).to_pylist()
    permitted = set(allowed.to_pylist())

    def ours() -> int:
        return len(job.filter(items, "workspace_id"))

    return Contest(
        "plain items",
        len(items),
        lambda: len([item for item in items if item["workspace_id"] in permitted]),
        ours,
        ours,
    )


ENGINES = (arrow, polars, polars_lazy, pandas, duckdb, iterables)


if __name__ == "__main__":
    main()
