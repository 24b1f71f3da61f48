"""Processes that are killed at any moment: those that read, by the hundred, and the one that follows."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lmdb
import pytest
from consent_gate.environments import READERS_MAX
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from faulty import KEY, PURPOSE, TOKEN, connect, halves, permitted, process, python, serving, until
from gate_ledger import gate_of
from scenario import opt_out, scope


def slots(replica: Replica) -> list[int]:
    """The processes that hold a reader's slot."""
    store = replica.store()
    assert store is not None
    return [int(line.split()[0]) for line in str(store.environment.lmdb.readers()).strip().splitlines()[1:]]


@contextmanager
def readers(folder: Path, count: int) -> Iterator[list[int]]:
    """Forked processes that check, or are in a transaction; killed at the end, whatever they were doing."""
    started: list[int] = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            try:
                gate = Gate(Replica.open(folder), purpose=PURPOSE, max_staleness=3600)
                with gate.replica.snapshot() if number % 2 else ExitStack():
                    while True:
                        gate.check("w000")
                        time.sleep(0.02)
            finally:
                os._exit(1)
        started.append(child)
    try:
        yield started
    finally:
        for child in started:
            os.kill(child, signal.SIGKILL)
        for child in started:
            os.waitpid(child, 0)


def test_given_200_readers_killed_in_the_middle_of_checks_then_their_slots_are_free_and_others_go_on(
    tmp_path: Path,
) -> None:
    ledger, permits, denials = halves()
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        assert gate.wait_until_live(20)
        seen: set[int] = set()
        for _ in range(10):
            with readers(tmp_path, 20) as started:
                until(lambda started=started: len(set(started) & set(slots(gate.replica))) >= 10)
                seen |= set(started)
        assert len(seen) == 200
        position = feed.given(opt_out(scope=scope(permits[1])))
        until(lambda: not seen & set(slots(gate.replica)))
        until(lambda: gate.position() >= position)
        assert gate.wait_until_live(20)
        assert permitted(gate, permits + denials) == [permits[0], *permits[2:]]


def test_given_all_slots_taken_then_checks_are_undecided_and_go_on_when_one_is_free(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    gate = gate_of(ledger, tmp_path, max_staleness=3600)
    late = Gate(Replica.open(tmp_path), purpose=PURPOSE, max_staleness=3600)
    store = gate.replica.store()
    assert store is not None
    with ExitStack() as held:
        with pytest.raises(lmdb.ReadersFullError):
            for _ in range(READERS_MAX * 2):
                held.enter_context(store.environment.lmdb.begin())
        answer = late.check(permits[0])
        assert (answer.decision, answer.reasons[0].code) == ("undecided", "undecided")
        assert late.check_many(permits).permitted == [False] * len(permits)
        assert "READERS_FULL" in late.status().why
    assert late.check(permits[0]) and late.status().state == "live"


DEAD = """
store = Replica.open(folder).store()
held = [store.environment.lmdb.begin() for _ in range(int(sys.argv[2]))]
print("holding", flush=True)
time.sleep(600)
"""


def test_given_slots_that_the_dead_hold_then_the_next_who_follows_frees_them(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    gate_of(ledger, tmp_path, max_staleness=3600)
    with process(DEAD, tmp_path, READERS_MAX - 8):
        pass
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        until(lambda: gate.check(permits[0]))
        until(lambda: len(slots(gate.replica)) < 8)


FOLLOWER = """
import threading
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4])
print("following", flush=True)
while True:
    time.sleep(0.01)
    if sys.argv[5] == "anew":
        try:
            gate.replica.forsake()
        except Exception:
            pass
"""


@pytest.mark.parametrize("how", ["on", "anew"])
def test_given_a_follower_killed_9_at_any_moment_then_the_next_one_goes_on_and_nobody_denied_is_permitted(
    tmp_path: Path, how: str
) -> None:
    ledger, permits, denials = halves(60)
    moments = random.Random(7)
    reader = Gate(Replica.open(tmp_path), purpose=PURPOSE, max_staleness=5.0)
    wrong: list[str] = []
    opted_out: dict[str, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            wrong.extend(permitted(reader, denials))
            for name, position in list(opted_out.items()):
                answer = reader.check(name)
                if answer and answer.position >= position:
                    wrong.append(name)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with serving(ledger) as feed:
            for name in permits[:8]:
                with process(FOLLOWER, tmp_path, feed.url, TOKEN, KEY, how):
                    opted_out[name] = feed.given(opt_out(scope=scope(name)))
                    time.sleep(moments.uniform(0.0, 0.5))  # when it is killed
            with connect(feed, tmp_path) as gate:
                until(lambda: gate.position() >= max(opted_out.values()))
                until(lambda: gate.check(permits[20]))
                assert permitted(gate, list(opted_out)) == []
                until(lambda: reader.check(permits[20]))
    finally:
        stop.set()
        watching.join()
    assert wrong == []


def test_given_a_follower_that_dies_then_one_of_many_that_stand_by_follows(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    with serving(ledger) as feed:
        code = FOLLOWER
        first = python(code, tmp_path, feed.url, TOKEN, KEY, "on")
        gates = [connect(feed, tmp_path, max_staleness=3.0) for _ in range(8)]
        try:
            until(lambda: all(gate.check(permits[0]) for gate in gates))
            first.kill()
            first.communicate()
            position = feed.given(opt_out(scope=scope(permits[0])))
            until(lambda: all(gate.position() >= position for gate in gates))
            assert not any(gate.check(permits[0]) for gate in gates)
        finally:
            first.kill()
            for gate in gates:
                gate.close()


def test_given_a_leader_whose_key_is_revoked_then_a_gate_with_another_key_follows(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    with serving(ledger) as feed:
        feed.tokens = {TOKEN, "ck_p_other"}
        with connect(feed, tmp_path, max_staleness=2.0) as one:
            assert one.wait_until_live(20)
            with connect(feed, tmp_path, token="ck_p_other", max_staleness=2.0) as other:
                feed.tokens = {"ck_p_other"}
                position = feed.given(opt_out(scope=scope(permits[0])))
                until(lambda: other.position() >= position)
                assert not other.check(permits[0]) and not one.check(permits[0])
                until(lambda: other.check(permits[1]))
                until(lambda: "unauthenticated" in one.status().why)
                feed.tokens = set()
                until(lambda: not other.check(permits[1]))
                until(lambda: "unauthenticated" in other.status().why)
