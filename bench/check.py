"""Checks in the process: how many a second and core, how large the shared replica is, how fast it opens.

    python bench/check.py                    10,000 and 1,000,000 workspaces
    python bench/check.py --rows 10000000    as many as a large vendor has; about 10 minutes, mostly filling

The limit is a bare LMDB read of the same key: begin, get, abort. Both are asked for the same random
ids in turns, in rounds, and the best round of each counts: the cores are shared with others.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import table
from consent_domain.facts import BOOK_ID, Attributes, Book, Published, WorkspaceFacts, pack
from consent_domain.feed import Row
from consent_domain.instants import DAY
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from harness import Figure, arguments

ROWS = (10_000, 1_000_000)
ASKED = 100_000
ROUNDS = 7
CHUNK_ROWS = 50_000
CHECKS_A_SECOND = 300_000
BATCH_ROWS_A_SECOND = 500_000
MEGABYTES_MAX = 400
OPEN_MILLISECONDS_MAX = 50
NOW = 20_000 * DAY
PURPOSE = "train"
STALENESS_SECONDS = 86_400.0

OPEN = """
import sys, time
from consent_gate.gate import Gate
from consent_gate.replica import Replica
began = time.perf_counter()
gate = Gate(Replica.open(sys.argv[1]), purpose="train", max_staleness=86400.0)
assert gate.check("ws-00000001")
print((time.perf_counter() - began) * 1000)
"""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, action="append", help="workspaces; may be given again")
    given = parser.parse_args()
    figures: list[table.Row] = []
    for count in given.rows or ROWS:
        folder = Path(tempfile.mkdtemp(prefix="bench-check-", dir=given.folder))
        try:
            figures += measure(count, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    table.report("Checks in the process", figures, given.folder, given.json)


def measure(count: int, folder: Path) -> list[table.Row]:
    """The figures for so many workspaces without a history."""
    replica, size = filled(folder, count)
    opened = min(open_milliseconds(folder) for _ in range(5))
    at = f"{count:,} workspaces"
    return [
        *(figure.row() for figure in rates(count, replica)),
        at_most(f"replica's size, {at}", size, "MB", MEGABYTES_MAX),
        at_most(f"opened and asked once, {at}", opened, "ms", OPEN_MILLISECONDS_MAX),
    ]


def filled(folder: Path, count: int) -> tuple[Replica, float]:
    """A replica of so many workspaces, and how many megabytes it takes."""
    replica = Replica.open(folder)
    build = replica.build("consent.bench/ledger", 1)
    rows = all_rows(count)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        build.add(chunk)
    build.finish(count + 1, NOW, Mark(1, count + 1, NOW, boot_nanoseconds()))
    return replica, sum(path.stat().st_blocks * 512 for path in folder.glob("*/data.mdb")) / 1e6


def at_most(what: str, measured: float, unit: str, maximum: float) -> table.Row:
    """A figure that should be small."""
    return table.Row(what, measured, unit, target=f"≤ {maximum:,} {unit}", reached=measured <= maximum)


def all_rows(count: int) -> Iterator[Row]:
    """A policy and workspaces of 12 classes, as the feed brings them: ids in the order of enrolment."""
    purpose = Purpose(
        key=PURPOSE,
        processing="train",
        reach="global",
        model_class="generative",
        recipient="first_party",
        categories=["messages"],
        legal_basis="legitimate_interest",
        justification="to measure",
    )
    rules = PolicyRules(purposes=[purpose], rules=[Rule(selector=Selector(all=True), regime="opt_out")])
    yield Row("book", BOOK_ID, 1, pack(Book((Published("1", 1, 0, "looser", rules),))))
    plans, regions = ("free", "pro", "business", "enterprise"), ("eu", "us", "apac")
    for number in range(count):
        since, position = NOW - DAY - number, number + 2
        attributes = Attributes(since, position, plans[number % 4], regions[number % 3], "", "")
        facts = WorkspaceFacts("production", position, since, (attributes,))
        yield Row("workspace", name(number), position, pack(facts))


def name(number: int) -> str:
    return f"ws-{number:08d}"


def open_milliseconds(folder: Path) -> float:
    """From nothing to the first answer, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def rates(count: int, replica: Replica) -> list[Figure]:
    gate = Gate(replica, purpose=PURPOSE, max_staleness=STALENESS_SECONDS)
    store = replica.store()
    assert store is not None, "it was just built"
    begin = store.environment.lmdb.begin
    source = random.Random(count)
    asked = [name(source.randrange(count)) for _ in range(ASKED)]
    assert all(gate.check(one) for one in asked)

    def bare() -> None:
        for one in asked:
            transaction = begin()
            transaction.get(one.encode())
            transaction.abort()

    def check() -> None:
        for one in asked:
            gate.check(one)

    def batch() -> None:
        gate.check_many(asked)

    limit, checks, rows = best_rates((bare, check, batch))
    at = f"{count:,} workspaces"
    return [
        Figure(f"check, {at}", checks, "checks", reach=CHECKS_A_SECOND),
        Figure(f"check beside its limit, {at}", checks, "checks", "a bare read of LMDB", limit),
        Figure(f"check_many, {at}", rows, "rows", reach=BATCH_ROWS_A_SECOND),
    ]


def best_rates(works: Sequence[Callable[[], None]]) -> list[float]:
    """How often a second each does its work of `ASKED`, by the processor's time: the best of all rounds."""
    best = [0.0] * len(works)
    for _ in range(ROUNDS):
        for index, work in enumerate(works):
            began = time.process_time()
            work()
            best[index] = max(best[index], ASKED / (time.process_time() - began))
    return best


if __name__ == "__main__":
    main()
