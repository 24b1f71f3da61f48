"""Each engine's filter beside its bare semi-join, which is given the permitted ids and counts nothing.

    python bench/engines.py            1 M rows of 100 k workspaces; a minute
    python bench/engines.py --large    10 M rows; four minutes on a quiet host

Both join the same rows with the same workspaces, in turns, and the best round of each counts: the cores
are shared with others. `kept and dropped` counts rows only, `reasons` those of each reason too. What a job
does before its first row, working out where all workspaces stand, is a figure of its own. Memory is the
most that the process held during the first round, beyond the rows: what its allocators kept of a way that
ran before counts too, and the bare join is the first. Every engine runs in a fork of this process, which has
the rows and the job and no engine.
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
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from engine_ways import BARE, ENGINES, KEPT, REASONS, WARM_UP_ROWS, Engine, Shared
from filter import NOW, PURPOSE, Customers
from harness import arguments
from table import Row, report

WORKSPACES = 100_000
ROUNDS, ROUNDS_SECONDS_MAX = 3, 8.0
"""An engine is given no third round when so much time has gone by; the first one meets the workspaces."""
ROWS, ROWS_LARGE, ROWS_QUICK = 1_000_000, 10_000_000, 100_000
KEPT_RATIO_MAX, REASONS_RATIO_MAX = 1.3, 2.2
SECONDS_MAX = 120.0
"""An engine that takes longer is given up, and said so."""

LIMITS = {KEPT: KEPT_RATIO_MAX, REASONS: REASONS_RATIO_MAX}
"""What is counted beyond this, by collection time or of two owners, is told beside the same bare join."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", action="store_true", help=f"{ROWS_LARGE:,} rows instead of {ROWS:,}")
    parser.add_argument("--quick", action="store_true", help=f"{ROWS_QUICK:,} rows: whether it runs")
    parser.add_argument("--only", action="append", help="an engine of engine_ways; may be given again")
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


class Taken(NamedTuple):
    """What a way took: seconds of its best round, and megabytes of the first one."""

    seconds: float
    megabytes: float


def measured(engine: Engine, shared: Shared) -> list[Row]:
    """Rows of the table, one a way."""
    name = engine.__name__.replace("_", " ")
    taken: dict[str, Taken] = forked(partial(taken_by, engine, shared))
    bare = taken.pop(BARE)
    return [
        Row(
            f"{name}, {way}",
            one.seconds * 1_000,
            "ms",
            "bare semi-join",
            bare.seconds * 1_000,
            f"≤ {LIMITS[way]} ×" if way in LIMITS else "",
            one.seconds <= LIMITS[way] * bare.seconds if way in LIMITS else None,
            f"+{one.megabytes:.0f} MB (bare +{bare.megabytes:.0f} MB)",
        )
        for way, one in taken.items()
    ]


def taken_by(engine: Engine, shared: Shared) -> dict[str, Taken]:
    """What each way takes, in turns; the bare one is the first."""
    few = shared._replace(rows=shared.rows.slice(0, WARM_UP_ROWS))
    for run in engine(few).values():
        run()  # imports, and thread pools
    ways = engine(shared)
    before, end = _held("VmRSS"), time.monotonic() + ROUNDS_SECONDS_MAX
    best, held = dict.fromkeys(ways, float("inf")), {}
    for number in range(ROUNDS):
        kept = {}
        for way, run in ways.items():
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            began = time.perf_counter()
            kept[way] = run()
            best[way] = min(best[way], time.perf_counter() - began)
            held.setdefault(way, (_held("VmHWM") - before) / 1e3)
        assert len(set(kept.values())) == 1, f"all ways keep as many rows: {kept}"
        if number and time.monotonic() > end:
            break
    return {way: Taken(best[way], held[way]) for way in ways}


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


if __name__ == "__main__":
    main()
