"""Five million ids in one batch, jobs and gates by the hundred: nothing breaks, nothing is left behind."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import engine_world
import pyarrow as pa
import pyarrow.compute as pc
from consent_gate.gate import Gate
from consent_gate.replica import Replica

IDS = 5_000_000
JOBS, GATES = 300, 1_000
MAPPED_SHARE_MAX = 1.1


def left_behind() -> tuple[int, int, int]:
    """Open files, threads, and megabytes of address space that this process has.

    Others' rubbish is swept out first: what tests before left, must not go while it is counted.
    """
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return (
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        pages * os.sysconf("SC_PAGE_SIZE") >> 20,
    )


def test_given_five_million_ids_in_one_batch_then_each_is_judged_and_counted(tmp_path: Path) -> None:
    """Half of them known; of the others each is unknown, and one is missing."""
    strangers = pc.binary_join_element_wise(
        "nobody", pa.array(range(IDS // 2 - 1), pa.int64()).cast(pa.string()), "-"
    )
    known = pa.array([f"w{number}" for number in range(8)]).take(
        pa.array([number % 8 for number in range(IDS // 2)], pa.int64())
    )
    batch = pa.record_batch({"w": pa.concat_arrays([strangers, pa.nulls(1, pa.string()), known])})
    with engine_world.permitted(tmp_path).followed() as gate, gate.job() as job:
        job.pinned()
        kept = job.filter(batch, "w")
        counts = {verdict.code: rows for verdict, rows in (job.report().reasons or {}).items()}
    assert kept["w"].equals(known)
    assert counts == {"defaulted_on": IDS // 2, "unknown_workspace": IDS // 2 - 1, "no_workspace": 1}


def test_given_hundreds_of_jobs_one_after_another_then_no_file_thread_or_reader_stays(tmp_path: Path) -> None:
    world = engine_world.permitted(tmp_path)
    rows = pa.table({"w": ["w1", "nobody"]})

    def run() -> None:
        with gate.job() as job:
            assert len(job.filter(rows, "w")) == 1
        stream = gate.filter(iter([{"w": "w1"}, {"w": "w2"}]), "w")
        next(stream.data)
        stream.close()  # given up in the middle

    with world.followed() as gate:
        for _ in range(20):
            run()
        before = left_behind(), readers(world.replica)
        for _ in range(JOBS):
            run()
        assert readers(world.replica) == before[1]
        after = left_behind()
    assert_nothing_stays(before[0], after)


def test_given_a_thousand_gates_opened_and_closed_then_no_file_thread_or_mapping_stays(
    tmp_path: Path,
) -> None:
    engine_world.permitted(tmp_path).gate.close()  # its replica is fresh for a minute

    def run() -> None:
        with Gate(Replica.open(tmp_path), purpose="train", max_staleness=60) as gate:
            assert gate.check("w1")

    for _ in range(20):
        run()
    before = left_behind()
    for _ in range(GATES):
        run()
    after = left_behind()
    assert_nothing_stays(before, after)


def assert_nothing_stays(before: tuple[int, int, int], after: tuple[int, int, int]) -> None:
    """What earlier tests left may still go away meanwhile; nothing may come that stays."""
    assert after[0] <= before[0] and after[1] <= before[1] and after[2] <= before[2] * MAPPED_SHARE_MAX


def readers(replica: Replica) -> int:
    """Slots of transactions that read the replica's environment, in all processes."""
    store = replica.store()
    assert store is not None
    return int(store.environment.lmdb.info()["num_readers"])
