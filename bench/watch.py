"""Watching a run's workspaces: what a look costs, and that it does not grow with how many are watched.

    python bench/watch.py                    1,000 and 1,000,000 watched, of 1,000,000 workspaces
    python bench/watch.py --rows 20000       fewer

Where all are judged (the first look, and after a policy), the limit is a bare LMDB read of each in one
transaction. Where one workspace changed, it is the same look at a thousand watched. All by the processor's
time, and of what is done in rounds the best counts: the cores are shared with others.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import table
from check import PURPOSE, all_rows, filled
from consent_domain.facts import BOOK_ID
from consent_domain.feed import Row
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from consent_gate.watch import Watch
from harness import Figure, arguments

FEW = 1_000
CHANGES = 200
ROUNDS = 3
FIRST_SHARE_OF_READS = 0.15
SHARE_OF_READS = 0.2
SHARE_OF_FEW = 0.5


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=1_000_000, help="workspaces, all of them watched")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-watch-", dir=given.folder))
    try:
        figures = measure(given.rows, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.report("Watching", [figure.row() for figure in figures], given.folder, given.json)


def measure(count: int, folder: Path) -> list[Figure]:
    """The figures for so many workspaces."""
    replica, _ = filled(folder, count)
    gate = Gate(replica, purpose=PURPOSE, max_staleness=86_400)
    rows = {row.id: row for row in all_rows(count)}
    names = [name for name, row in rows.items() if row.kind == "workspace"]
    few, many = gate.watch(names[:FEW]), gate.watch(names)
    few.news()
    reads = count / min(seconds_of_reads(replica, names) for _ in range(ROUNDS))
    first = count / min(seconds_of(gate.watch(names)) for _ in range(ROUNDS))
    many.news()
    changes = Changes(replica, rows, names[0])
    idle = CHANGES / sum(seconds_of(many) for _ in range(CHANGES))
    at_few = changes.looks_a_second(few)
    at_many = changes.looks_a_second(many)
    again = count / min(changes.seconds_after_a_policy(many) for _ in range(ROUNDS))
    at = f"{count:,} watched"
    return [
        Figure(f"first look, {at}", first, "workspaces", "bare reads", reads, FIRST_SHARE_OF_READS),
        Figure(f"look after a policy, {at}", again, "workspaces", "bare reads", reads, SHARE_OF_READS),
        Figure(f"look after one changed, {at}", at_many, "looks", f"{FEW:,} watched", at_few, SHARE_OF_FEW),
        Figure(f"look when nothing happened, {at}", idle, "looks"),
    ]


def seconds_of_reads(replica: Replica, names: list[str]) -> float:
    """How long bare reads of all take."""
    store = replica.store()
    assert store is not None
    with store.environment.lmdb.begin() as transaction:
        get, began = transaction.get, time.process_time()
        for name in names:
            get(name.encode())
        return time.process_time() - began


def seconds_of(watch: Watch) -> float:
    """How long a look takes that finds nothing to tell."""
    began = time.process_time()
    news = watch.news()
    took = time.process_time() - began
    assert news == [], news[:1]
    return took


class Changes:
    """What happens to the replica: a row at a time."""

    def __init__(self, replica: Replica, rows: dict[str, Row], changed: str) -> None:
        self._replica = replica
        self._book = rows[BOOK_ID]
        self._workspace = rows[changed]

    def looks_a_second(self, watch: Watch) -> float:
        """Looks of which each finds one workspace changed."""
        watch.news()
        took = 0.0
        for _ in range(CHANGES):
            self._apply(self._workspace)
            took += seconds_of(watch)
        return CHANGES / took

    def seconds_after_a_policy(self, watch: Watch) -> float:
        """How long a look takes when the book was replaced, by itself."""
        self._apply(self._book)
        return seconds_of(watch)

    def _apply(self, row: Row) -> None:
        meta = self._replica.meta
        assert meta is not None
        position, now = meta.position + 1, meta.time + 1
        mark = Mark(meta.epoch, position, now, boot_nanoseconds())
        self._replica.apply_rows([row._replace(position=position)], position, now, mark)


if __name__ == "__main__":
    main()
