"""Clocks that are wrong or jump, machines that sleep: decisions stand on ledger time, ages on boot time."""

from __future__ import annotations

import shutil
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from consent_domain.decide import AHEAD_MAX
from consent_gate.boot import boot_id
from faulty import KEY, TOKEN, connect, halves, process, ran, serving, until
from gate_ledger import gate_of, mark, recorded, replica_of
from scenario import opt_out, scope

HOUR = 3_600


def can_shift() -> bool:
    """Whether a process can be given a boot clock of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-T", "--boottime", "1", "true"], capture_output=True).returncode == 0


shifts = pytest.mark.skipif(not can_shift(), reason="the kernel gives no time namespaces here")

WALL_CLOCK = """
import datetime, time
SHIFT = [0.0]
real_time, real_ns, real_get, real_get_ns = time.time, time.time_ns, time.clock_gettime, time.clock_gettime_ns
time.time = lambda: real_time() + SHIFT[0]
time.time_ns = lambda: real_ns() + int(SHIFT[0] * 1e9)
time.clock_gettime = lambda clock: real_get(clock) + (SHIFT[0] if clock == time.CLOCK_REALTIME else 0)
time.clock_gettime_ns = (
    lambda clock: real_get_ns(clock) + (int(SHIFT[0] * 1e9) if clock == time.CLOCK_REALTIME else 0)
)
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Shifted
"""
ASKING = """
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4])
SHIFT[0] = float(sys.argv[5])
assert gate.wait_until_live(20), gate.status()
def asked():
    answers = [gate.check(name) for name in ("w000", "w001", "nobody")]
    return [(answer.decision, answer.reasons[0].code) for answer in answers]
print(asked())
SHIFT[0] = -SHIFT[0]
deadline = time.monotonic() + 1.5
told = set()
while time.monotonic() < deadline:
    told.add(str(asked()))
print(*told)
print(gate.status().state)
gate.close()
"""


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_given_a_wall_clock_off_by_an_hour_that_steps_while_the_gate_is_open_then_nothing_changes(
    tmp_path: Path, seconds: int
) -> None:
    ledger, _, _ = halves()
    with serving(ledger) as feed:
        first, then, state = ran(ASKING, tmp_path, feed.url, TOKEN, KEY, seconds, first=WALL_CLOCK)
    assert first == then
    assert first.startswith("[('permit', ")
    assert first.endswith("('deny', 'opt_out_requested'), ('deny', 'unknown_workspace')]")
    assert state == "live"


@pytest.mark.parametrize("seconds", [HOUR, 24 * HOUR])
def test_given_data_collected_by_a_clock_that_is_ahead_then_it_is_denied_and_not_taken_for_new(
    tmp_path: Path, seconds: int
) -> None:
    ledger, permits, denials = halves()
    gate = gate_of(ledger, tmp_path, max_staleness=3600)
    now = gate.check(permits[0]).ledger_time
    assert now is not None
    edge = now + timedelta(microseconds=AHEAD_MAX)
    assert gate.check(permits[0], collected=edge)
    assert not gate.check(denials[0], collected=edge)
    for ahead in (timedelta(microseconds=1), timedelta(seconds=seconds)):
        for collected in (edge + ahead, (now, edge + ahead)):
            assert not gate.check(permits[0], collected=collected)
            assert not gate.check(denials[0], collected=collected)
            assert gate.check_many(permits, collected=collected).permitted == [False] * len(permits)


BOOT_CLOCK = """
import time
JUMP = [0]
real = time.clock_gettime_ns
time.clock_gettime_ns = lambda clock: real(clock) + JUMP[0]
"""
ASLEEP = """
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4])
assert gate.wait_until_live(20), gate.status()
assert gate.check("w000") and gate.check_many(["w000"]).permitted == [True]
JUMP[0] += int(float(sys.argv[5]) * 1e9)
answer, many = gate.check("w000"), gate.check_many(["w000"])
print(answer.decision, answer.reasons[0].code, many.permitted, gate.status().state)
if JUMP[0] > 0:
    assert gate.wait_until_live(20), gate.status()
    print(gate.check("w000").decision, gate.check("w001").decision)
else:
    print("permit deny")
gate.close()
"""


@pytest.mark.parametrize("seconds", [5.5, HOUR, -2.0, -HOUR])
def test_given_a_machine_that_slept_or_a_boot_clock_that_jumps_then_the_first_check_permits_nothing(
    tmp_path: Path, seconds: float
) -> None:
    ledger, _, _ = halves()
    with serving(ledger) as feed:
        first, then = ran(ASLEEP, tmp_path, feed.url, TOKEN, KEY, seconds, first=BOOT_CLOCK)
    assert first == "undecided stale [False] stale"
    assert then == "permit deny"


FOLLOWER = """
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4])
assert gate.wait_until_live(20), gate.status()
print("live", flush=True)
time.sleep(600)
"""
READER = """
gate = Gate(Replica.open(folder), purpose="train", max_staleness=1.0)
while not gate.check("w000"):
    time.sleep(0.01)
print("permits", flush=True)
while True:
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    answer = gate.check("w000")
    print(began, answer.decision, flush=True)
    time.sleep(0.005)
"""


def test_given_all_processes_stopped_for_longer_than_the_staleness_then_the_first_check_permits_nothing(
    tmp_path: Path,
) -> None:
    ledger, _, _ = halves()
    with (
        serving(ledger) as feed,
        process(FOLLOWER, tmp_path, feed.url, TOKEN, KEY) as follower,
        process(READER, tmp_path) as reader,
    ):
        assert reader.stdout is not None
        told = [reader.stdout.readline().split()]
        for stopped in (follower, reader):
            stopped.send_signal(signal.SIGSTOP)
        feed.given(opt_out(scope=scope("w000")))
        with pytest.raises(subprocess.TimeoutExpired):
            follower.wait(1.6)
        reader.send_signal(signal.SIGCONT)
        told += [reader.stdout.readline().split() for _ in range(400)]
        asked = [int(began) for began, _ in told]
        gap = max(range(1, len(told)), key=lambda index: asked[index] - asked[index - 1])
        assert asked[gap] - asked[gap - 1] > 1_000_000_000
        # The check in which it was stopped may have looked before; the next one has not.
        assert {decision for _, decision in told[gap:]} == {"undecided"}
        follower.send_signal(signal.SIGCONT)
        while reader.stdout.readline().split()[1] != "deny":
            pass
        assert {reader.stdout.readline().split()[1] for _ in range(50)} == {"deny"}


def test_given_a_follower_that_hangs_then_readers_are_undecided_and_go_on_when_it_does(
    tmp_path: Path,
) -> None:
    ledger, permits, _ = halves()
    with (
        serving(ledger) as feed,
        process(FOLLOWER, tmp_path, feed.url, TOKEN, KEY) as follower,
        connect(feed, tmp_path, max_staleness=1.0) as gate,
    ):
        until(lambda: gate.check(permits[0]))
        follower.send_signal(signal.SIGSTOP)
        feed.given(opt_out(scope=scope(permits[0])))
        until(lambda: not gate.check(permits[0]))
        assert gate.check(permits[0]).reasons[0].code == "stale"
        assert gate.status().state == "stale"
        follower.send_signal(signal.SIGCONT)
        until(lambda: gate.check(permits[0]).decision == "deny")


@shifts
@pytest.mark.parametrize("seconds", ["3", "-3", "3600", "-3600"])
def test_given_a_process_whose_boot_clock_is_shifted_then_it_reads_nothing_of_what_others_wrote(
    tmp_path: Path, seconds: str
) -> None:
    ledger, permits, _ = halves()
    assert gate_of(ledger, tmp_path, max_staleness=3600).check(permits[0])
    code = """
from consent_gate.boot import boot_id
gate = Gate(Replica.open(folder), purpose="train", max_staleness=7200)
print(boot_id(), gate.check("w000").decision, gate.check("w000").reasons[0].code)
"""
    prefix = ("unshare", "-T", "--boottime", seconds)
    (told,) = ran(code, tmp_path, prefix=prefix)
    named, decision, reason = told.split()
    assert (decision, reason) == ("undecided", "catching_up")
    assert named != boot_id() and named.startswith(boot_id())
    (same,) = ran(code, tmp_path)
    assert same.split()[:2] == [boot_id(), "permit"]


def test_given_a_watermark_replayed_after_a_jump_back_of_the_ledgers_clock_then_it_keeps_nothing_fresh(
    tmp_path: Path,
) -> None:
    ledger, _, _ = halves()
    replica = replica_of(ledger, tmp_path)
    before = replica.meta
    assert before is not None
    ledger.now -= HOUR * 1_000_000
    replica.note_watermark(mark(ledger))
    after = replica.meta
    assert after is not None
    assert (after.time, after.watermark_asked) == (before.time, before.watermark_asked)
    assert recorded(ledger, len(ledger.log)) == []
