"""Several processes share a replica: they fork, they are killed in the middle, and the others go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from consent_gate.boot import boot_nanoseconds
from consent_gate.election import Election
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from gate_ledger import EPOCH, gate_of, mark, recorded, replica_of
from scenario import enrolled, opt_out, workspace

TESTS = [path for path in sys.path if path.rstrip("/").endswith("tests")]
SECONDS_MAX = 20.0


def until(condition: Callable[[], Any], seconds_max: float = SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Child:
    """A forked process that does `first`, says so, waits for `go`, and does `then`."""

    def __init__(self, first: Callable[[], bool], then: Callable[[], bool] = lambda: True) -> None:
        read_ready, write_ready = os.pipe()
        read_go, self._go = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            passed = False
            try:
                os.close(self._go)
                passed = first()
                os.write(write_ready, b"x")
                os.read(read_go, 1)  # or the parent's end
                passed = then() and passed
            finally:
                os._exit(0 if passed else 1)
        os.close(write_ready)
        os.close(read_go)
        os.read(read_ready, 1)  # or the child's end
        os.close(read_ready)

    def go(self) -> bool:
        """Let it go on; whether it found everything as it should be."""
        os.close(self._go)
        return os.waitpid(self._pid, 0)[1] == 0


def in_child(work: Callable[[], bool]) -> bool:
    """What `work` says in a forked process."""
    return Child(work).go()


@contextmanager
def process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another Python, which says a line when it is ready; killed at the end."""
    head = f"import sys; sys.path[:0] = {TESTS!r}\n"
    started = subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None and started.stdout.readline(), "it did not start"
        yield started
    finally:
        started.kill()
        started.wait(SECONDS_MAX)
        if started.stdout is not None:
            started.stdout.close()


def readers(replica: Replica) -> int:
    store = replica.store()
    assert store is not None
    return len(str(store.environment.lmdb.readers()).strip().splitlines()) - 1


def test_given_a_fork_then_parent_and_child_read_by_themselves(tmp_path: Path) -> None:
    ledger = enrolled()
    gate = gate_of(ledger, tmp_path, max_staleness=60)
    first = gate.check("acme")
    assert first
    position = len(ledger.log)
    ledger.given(opt_out())
    child = Child(
        lambda: bool(gate.check("acme")) and gate.check("acme").decision_id[:16] != first.decision_id[:16],
        lambda: not gate.check("acme"),
    )
    gate.replica.apply_events(recorded(ledger, position), mark(ledger))
    assert child.go()
    assert not gate.check("acme")


def test_given_a_fork_while_the_parent_reads_then_the_parent_keeps_its_reader_slot(tmp_path: Path) -> None:
    gate = gate_of(enrolled(), tmp_path, max_staleness=60)
    with gate.replica.snapshot() as snapshot:
        before = readers(gate.replica)
        reading = ExitStack()

        def child_reads() -> bool:
            reading.enter_context(gate.replica.snapshot())
            return bool(gate.check("acme"))

        child = Child(child_reads)
        assert readers(gate.replica) == before + 1
        assert gate.replica.reader_check() == 0
        assert child.go()
        assert gate.replica.reader_check() == 1
        assert readers(gate.replica) == before == 1
        assert snapshot.workspace("acme") is not None


def test_given_a_fork_while_the_parent_writes_then_both_go_on(tmp_path: Path) -> None:
    ledger = enrolled().given(workspace("w2"))
    gate = gate_of(ledger, tmp_path, max_staleness=60)
    store = gate.replica.store()
    assert store is not None and gate.check("acme")
    with store.change() as change:
        assert in_child(lambda: bool(gate.check("acme")) and bool(gate.check("w2")))
        change.put("workspace", "w2", ledger.workspace("acme"))
    assert gate.check("w2")
    gate.replica.note_watermark(Mark(EPOCH, len(ledger.log), ledger.now + 1, boot_nanoseconds()))
    assert in_child(lambda: bool(gate.check("w2")))


def test_given_a_fork_of_a_fork_then_every_generation_answers(tmp_path: Path) -> None:
    gate = gate_of(enrolled(), tmp_path, max_staleness=60)
    assert gate.check("acme")
    assert in_child(lambda: in_child(lambda: bool(gate.check("acme"))) and bool(gate.check("acme")))
    assert gate.check("acme")


READER = """
import time
from pathlib import Path
from consent_gate.replica import Replica
store = Replica.open(Path(sys.argv[1])).store()
with store.snapshot() as snapshot:
    snapshot.workspace("acme")
    print("reading", flush=True)
    time.sleep(600)
"""


def test_given_readers_killed_within_a_transaction_then_their_slots_are_free_again(tmp_path: Path) -> None:
    ledger = enrolled()
    replica = replica_of(ledger, tmp_path)
    for _ in range(3):
        with process(READER, tmp_path) as reader:
            before = readers(replica)
            reader.send_signal(signal.SIGKILL)
            reader.wait(SECONDS_MAX)
            assert readers(replica) == before
        assert replica.reader_check() == 1
        assert readers(replica) == before - 1
    for tick in range(200):  # and no page is held back for the dead
        replica.note_watermark(Mark(EPOCH, len(ledger.log), ledger.now + 1 + tick, boot_nanoseconds()))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/data.mdb")) < 1_000_000


FOLLOWER = """
import asyncio, time
from pathlib import Path
from consent_gate.following import ThreadFollowing
from consent_gate.boot import boot_nanoseconds
from consent_gate.sources import Pages
from consent_gate.replica import Replica
from gate_ledger import page
from scenario import enrolled
class Source:
    ledger = enrolled()
    async def ask(self, after):
        asked = boot_nanoseconds()
        await asyncio.sleep(0.02)
        self.ledger.now = time.time_ns() // 1000
        return Pages(page(self.ledger, 0 if after is None else after.position), asked)
    async def close(self):
        pass
following = ThreadFollowing(Replica.open(Path(sys.argv[1])), Source)
following.start()
while not following.leads and len(sys.argv) < 3:
    time.sleep(0.01)
print("following", flush=True)
time.sleep(600)
"""


def test_given_a_leader_that_is_killed_then_a_standby_keeps_the_replica_fresh(tmp_path: Path) -> None:
    gate = Gate(Replica.open(tmp_path), purpose="train", max_staleness=2.0)
    with process(FOLLOWER, tmp_path) as leader, process(FOLLOWER, tmp_path, "standby"):
        until(lambda: gate.check("acme"))
        leader.send_signal(signal.SIGKILL)
        leader.wait(SECONDS_MAX)
        killed = boot_nanoseconds()
        until(lambda: gate.replica.meta is not None and gate.replica.meta.watermark_asked > killed)
        assert gate.check("acme")


def test_given_everybody_who_follows_is_killed_then_undecided_within_the_staleness(tmp_path: Path) -> None:
    gate = Gate(Replica.open(tmp_path), purpose="train", max_staleness=0.5)
    with process(FOLLOWER, tmp_path):
        until(lambda: gate.check("acme"))
    killed = boot_nanoseconds()
    until(lambda: not gate.check("acme"), 2.0)
    assert boot_nanoseconds() - killed < 1_500_000_000
    assert gate.check("acme").reasons[0].code == "stale"


def test_given_a_leader_that_forked_when_it_dies_then_its_child_keeps_no_lock(tmp_path: Path) -> None:
    election = Election(tmp_path)
    assert election.lead()
    child = Child(lambda: True)
    election.resign()
    other = Election(tmp_path)
    led = other.lead()
    other.resign()
    assert child.go()
    assert led, "the child holds the lock"
