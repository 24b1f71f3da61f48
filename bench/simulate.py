"""`consent simulate`: workspaces a second, beside reading and decoding their cells alone.

    python bench/simulate.py                    1,000,000 workspaces
    python bench/simulate.py --rows 10000000    as many as a large vendor has; minutes, mostly filling

All customers of 12 classes are judged under the policy in force and under one that takes two plans
out; then again with a twentieth of them opted out, each at a time of its own. The limit goes through the same
cells and decodes them. Both in turns, in rounds, and the best round of each counts by the processor's time:
the cores are shared with others.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from check import CHUNK_ROWS, NOW, all_rows
from consent_domain.facts import Choices, OptOut, Published, pack, unpack_workspace
from consent_domain.feed import Row
from consent_domain.policy import Exclusion
from consent_domain.purposes import Selector
from consent_gate.boot import boot_nanoseconds
from consent_gate.cells import PLAIN, decode_plain
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from consent_gate.simulation.census import Census
from consent_gate.simulation.changes import Comparison
from consent_gate.simulation.questions import questions
from consent_gate.store import Snapshot
from harness import Figure, arguments, report
from msgspec.structs import replace

ROWS = 1_000_000
ROUNDS = 4
OUT_EVERY = 20
WORKSPACES_A_SECOND = 1_000_000
ALL = Selector(all=True)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=ROWS, help="workspaces")
    given = parser.parse_args()
    figures = [
        *measure(given.rows, 0, "plain", given.folder),
        *measure(given.rows, OUT_EVERY, "5 % opted out", given.folder),
    ]
    report("A policy simulated", figures, given.folder, given.json)


def measure(count: int, out_every: int, what: str, folder: Path) -> list[Figure]:
    """The figures for so many workspaces, every so many of which opted out."""
    held = Path(tempfile.mkdtemp(prefix="bench-simulate-", dir=folder))
    try:
        replica = filled(count, out_every, held)
        with replica.snapshot() as snapshot:
            limit, rate = best_rates(count, [lambda: decoded(snapshot), lambda: simulated(snapshot, count)])
    finally:
        shutil.rmtree(held, ignore_errors=True)
    reach = WORKSPACES_A_SECOND if not out_every else None
    return [
        Figure(f"simulated, {count:,} workspaces, {what}", rate, "workspaces", reach=reach),
        Figure(f"simulated beside its limit, {what}", rate, "workspaces", "decoding the cells alone", limit),
    ]


def filled(count: int, out_every: int, folder: Path) -> Replica:
    """A replica of so many workspaces."""
    replica = Replica.open(folder / "replica")
    build = replica.build("consent.bench/ledger", 1)
    rows = with_opt_outs(all_rows(count), out_every) if out_every else all_rows(count)
    while chunk := list(islice(rows, CHUNK_ROWS)):
        build.add(chunk)
    build.finish(count + 2, NOW, Mark(1, count + 2, NOW, boot_nanoseconds()))
    return replica


def with_opt_outs(rows: Iterator[Row], every: int) -> Iterator[Row]:
    """The rows, with an opt-out of every so many workspaces, at a time of its own."""
    for number, row in enumerate(rows):
        if row.kind == "workspace" and number % every == 0:
            facts = unpack_workspace(row.facts)
            since = facts.customer_since + number % 1_000
            out = OptOut(f"r{number}", ALL, since, row.position, 2, processed=True)
            row = row._replace(facts=pack(replace(facts, choices=Choices((out,)))))
        yield row


def decoded(snapshot: Snapshot) -> None:
    """The limit: the cells read and decoded, and nothing decided."""
    for _, cell in snapshot.cells():
        if cell[:1] == PLAIN:
            decode_plain(cell)
        else:
            snapshot.workspace_of(cell)


def simulated(snapshot: Snapshot, count: int) -> None:
    """What a version that takes two plans out would change for everybody."""
    book = snapshot.book
    known = book.policies[-1]
    rules = replace(known.rules, exclusions=[Exclusion(selector=ALL, plans=["free", "pro"])])
    candidate = Published("2", count + 3, NOW, "stricter", rules)
    after = replace(book, policies=(*book.policies, candidate))
    census = Census(Comparison(snapshot, after, NOW, questions(book, after, NOW)))
    groups = census.count(snapshot)
    assert census.workspaces == count, "everybody is counted"
    assert any(group.is_changed for group in groups), "somebody is taken out"


def best_rates(count: int, works: list[Callable[[], None]]) -> list[float]:
    """Workspaces a second of each work: the best of all rounds."""
    best = [0.0] * len(works)
    for _ in range(ROUNDS):
        for index, work in enumerate(works):
            began = time.process_time()
            work()
            best[index] = max(best[index], count / (time.process_time() - began))
    return best


if __name__ == "__main__":
    main()
