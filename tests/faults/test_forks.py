"""Forks after `connect`, as PyTorch's workers, Ray and Spark make them: every process answers for itself."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import ExitStack
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from faulty import (
    KEY,
    PURPOSE,
    TOKEN,
    asked_of_its_own_gate,
    connect,
    halves,
    in_child,
    permitted,
    process,
    serving,
    until,
)
from gate_ledger import gate_of
from scenario import opt_out, scope

GATE: Gate
"""What forked workers inherit, as a PyTorch data set of a module does."""


def test_given_forks_while_threads_check_and_the_gate_follows_then_no_child_hangs_or_permits_wrongly(
    tmp_path: Path,
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        stop = threading.Event()

        def checking() -> None:
            while not stop.is_set():
                gate.check(permits[0])
                gate.check_many(denials)
                time.sleep(0.001)

        threads = [threading.Thread(target=checking) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                assert in_child(lambda: permitted(gate, denials) == [] and bool(gate.check(permits[0])))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert permitted(gate, permits + denials) == permits


def test_given_a_fork_in_the_middle_of_a_read_then_the_childs_end_frees_nothing_of_the_parents(
    tmp_path: Path,
) -> None:
    ledger, permits, denials = halves()
    gate = gate_of(ledger, tmp_path, max_staleness=3600)
    with gate.replica.snapshot() as snapshot:
        for _ in range(5):
            assert in_child(lambda: permitted(gate, permits + denials) == permits)
        assert snapshot.workspace(permits[0]) == ledger.workspace(permits[0])
        store = gate.replica.store()
        assert store is not None and store.environment.lmdb.reader_check() == 0


def test_given_a_child_that_closes_the_gate_then_the_parents_goes_on_following(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)

        def closes() -> bool:
            before = bool(gate.check(permits[0]))
            gate.close()
            return before

        assert in_child(closes)
        position = feed.given(opt_out(scope=scope(permits[0])))
        until(lambda: gate.position() >= position)
        assert not gate.check(permits[0]) and gate.check(permits[1])


ORPHANS = """
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4],
                    max_staleness=2.0)
assert gate.wait_until_live(20), gate.status()
if os.fork():
    os._exit(0)
if os.fork():
    os._exit(0)
print("orphaned", flush=True)
deadline = time.monotonic() + 30
while gate.check("w002").decision != "deny" and time.monotonic() < deadline:
    time.sleep(0.02)
print(gate.check("w002").decision, gate.check("w000").decision, flush=True)
os._exit(0)
"""


def test_given_a_double_fork_whose_parents_ended_then_the_grandchild_follows_by_itself(
    tmp_path: Path,
) -> None:
    ledger, _, _ = halves()
    with serving(ledger) as feed:
        with process(ORPHANS, tmp_path, feed.url, TOKEN, KEY) as started:
            feed.given(opt_out(scope=scope("w002")))
            assert started.stdout is not None
            assert started.stdout.readline() == "deny permit\n"


def checked(name: str) -> tuple[int, bool]:
    return os.getpid(), bool(GATE.check(name))


def test_given_a_pool_of_8_forked_workers_then_each_checks_and_hears_of_an_opt_out(tmp_path: Path) -> None:
    global GATE
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        GATE = gate
        with multiprocessing.get_context("fork").Pool(8) as pool:
            asked = [*permits, *denials] * 20
            told = pool.map(checked, asked, chunksize=5)
            assert len({pid for pid, _ in told}) > 1
            assert [name for name, (_, permit) in zip(asked, told, strict=True) if permit] == permits * 20
            position = feed.given(opt_out(scope=scope(permits[0])))
            until(lambda: gate.position() >= position)
            assert not any(permit for _, permit in pool.map(checked, [permits[0]] * 80, chunksize=1))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_given_workers_that_inherit_nothing_then_each_connects_for_itself(
    tmp_path: Path, method: str
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        context: BaseContext = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            asked = [(feed.url, str(tmp_path), name) for name in (permits[0], denials[0])]
            told = pool.starmap(asked_of_its_own_gate, asked, chunksize=1)
        assert told == [True, False]


def test_given_a_job_in_a_forked_child_then_it_raises_and_reads_nothing_of_the_parents(
    tmp_path: Path,
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        with gate.job() as job:
            rows = [{"workspace": name} for name in permits[:3] + denials[:3]]
            kept = list(job.filter(rows, "workspace"))
            assert kept == rows[:3]

            def in_the_child() -> bool:
                with pytest.raises(ConsentError, match="belongs to the process that was forked"):
                    list(job.filter([{"workspace": permits[5]}], "workspace"))
                job.close()
                return bool(gate.check(permits[5]))

            assert in_child(in_the_child)
            assert list(job.filter([{"workspace": permits[6]}], "workspace"))


def test_given_a_fork_while_another_thread_writes_then_neither_waits_for_the_other(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    gate = gate_of(ledger, tmp_path, max_staleness=3600)
    store = gate.replica.store()
    assert store is not None
    with ExitStack() as writing:
        writing.enter_context(store.change())
        assert in_child(lambda: bool(gate.check(permits[0])))
        assert in_child(
            lambda: bool(Gate(Replica.open(tmp_path), purpose=PURPOSE, max_staleness=60).check("w000"))
        )
    assert gate.check(permits[0])
