"""How gates end: closed, forgotten, interrupted, at the end of a program; and what they leave behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from faulty import KEY, TOKEN, connect, halves, permitted, process, ran, serving, until
from gate_ledger import gate_of
from scenario import opt_out, scope

OPEN = """
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4])
"""
LIVE = OPEN + "assert gate.wait_until_live(20), gate.status()\n"


@pytest.mark.parametrize(
    "end",
    [
        "gate.close()",
        "pass",
        "del gate; import gc; gc.collect()",
        "sys.exit()",
        "gate.close(); gate.close(); gate.check('w000')",
        "import threading; threading.Thread(target=lambda: gate.check_many(['w000'] * 9000)).start()",
        "import asyncio; asyncio.run(gate.check_many_async(['w000'] * 5000))",
    ],
)
def test_given_a_program_that_ends_with_a_gate_open_or_not_then_it_ends_at_once_and_says_nothing(
    tmp_path: Path, end: str
) -> None:
    ledger, _, _ = halves(4)
    with serving(ledger) as feed:
        assert ran(LIVE + end, tmp_path, feed.url, TOKEN, KEY) == []
        assert ran(OPEN + end, tmp_path, feed.url, TOKEN, KEY) == []


def test_given_a_ledger_that_nobody_can_reach_then_a_program_ends_all_the_same(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:9", "http://192.0.2.1", "http://no-such-host.invalid"):
        code = OPEN + "time.sleep(0.3); print(gate.check('w000').decision)"
        assert ran(code, tmp_path, url, TOKEN, KEY) == ["undecided"]


INTERRUPTED = (
    LIVE
    + """
names, rounds, armed = ["w000"] * 500 + ["w001"] * 500, 0, False
def interrupt(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt
import signal
signal.signal(signal.SIGINT, interrupt)
print("live", flush=True)  # the first one comes at once
while rounds < 40:
    try:
        armed = True
        while True:
            told = gate.check_many(names).permitted
            assert told == [True] * 500 + [False] * 500, "a slice was cut"
            assert gate.check("w000") and not gate.check("w001")
    except KeyboardInterrupt:
        rounds += 1
assert gate.check("w000") and not gate.check("w001")
lines = str(gate.replica.store().environment.lmdb.readers()).strip().splitlines()
assert len(lines) < 8, lines
gate.close()
print("done", flush=True)
os._exit(0)  # another one may come while the interpreter ends
"""
)


def test_given_interrupts_in_the_middle_of_checks_then_the_gate_goes_on_and_keeps_no_slot(
    tmp_path: Path,
) -> None:
    ledger, _, _ = halves(4)
    with serving(ledger) as feed, process(INTERRUPTED, tmp_path, feed.url, TOKEN, KEY) as started:
        deadline = time.monotonic() + 60
        while started.poll() is None and time.monotonic() < deadline:
            started.send_signal(signal.SIGINT)
            time.sleep(0.013)
        assert started.communicate() == ("done\n", "")
        assert started.returncode == 0


async def test_given_asynchronous_checks_that_are_cancelled_then_the_gate_goes_on(tmp_path: Path) -> None:
    ledger, permits, denials = halves()
    gate = gate_of(ledger, tmp_path, max_staleness=3600)
    for turns in range(20):
        task = asyncio.create_task(gate.check_many_async(permits * 500))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        assert (await asyncio.gather(task, return_exceptions=True)) != [None]
    assert permitted(gate, permits + denials) == permits
    store = gate.replica.store()
    assert store is not None
    assert len(str(store.environment.lmdb.readers()).strip().splitlines()) <= 3


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists what is open")
def test_given_many_gates_opened_and_closed_then_no_file_and_no_thread_is_left(tmp_path: Path) -> None:
    ledger, permits, _ = halves(4)
    with serving(ledger) as feed:
        with connect(feed, tmp_path) as lasting:
            assert lasting.wait_until_live(20)
            with connect(feed, tmp_path) as gate:
                assert gate.check(permits[0])
            gc.collect()
            files, threads = descriptors(), threading.active_count()
            for _ in range(150):
                with connect(feed, tmp_path) as gate:
                    assert gate.check(permits[0])
            gc.collect()
            until(lambda: threading.active_count() <= threads + 2)
            until(lambda: descriptors() <= files + 8)
        for number in range(20):  # each leads a folder of its own
            with connect(feed, tmp_path / str(number)) as gate:
                assert gate.wait_until_live(20)
        del gate
        gc.collect()
        until(lambda: threading.active_count() <= threads + 2)
        until(lambda: descriptors() <= files + 8)


def test_given_a_gate_that_is_forgotten_then_nobody_follows_for_it_any_more(tmp_path: Path) -> None:
    ledger, permits, _ = halves(4)
    with serving(ledger) as feed:
        before = threading.active_count()
        for number in range(5):
            gate = connect(feed, tmp_path / str(number))
            assert gate.wait_until_live(20) and gate.check(permits[0])
        del gate
        until(lambda: (gc.collect(), threading.active_count() <= before + 1)[1])
        with connect(feed, tmp_path / "0") as again:
            position = feed.given(opt_out(scope=scope(permits[0])))
            until(lambda: again.position() >= position)
            assert not again.check(permits[0])


SMALL = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
try:
    gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder)
    deadline = time.monotonic() + 20
    while "address space" not in gate.status().why:
        assert not gate.check("w000")
        assert time.monotonic() < deadline, gate.status()
        time.sleep(0.01)
    print(gate.check("w000").decision, gate.status().why)
    gate.close()
except Exception as error:
    print(repr(error))
"""


@pytest.mark.parametrize("first", [True, False])
def test_given_a_process_with_little_address_space_then_undecided_and_it_says_what_to_raise(
    tmp_path: Path, first: bool
) -> None:
    ledger, _, _ = halves(4)
    with serving(ledger) as feed:
        if not first:
            with connect(feed, tmp_path, verifier_key=None) as gate:
                assert gate.wait_until_live(20)
        (told,) = ran(SMALL, tmp_path, feed.url, TOKEN)
    assert told.startswith("undecided ") and "64 GiB of address space" in told and "ulimit -v" in told


def test_given_too_many_open_files_then_undecided_and_live_again_when_some_are_closed(tmp_path: Path) -> None:
    code = """
import resource
gate = Gate.connect(sys.argv[2], sys.argv[3], purpose="train", replica_dir=folder, verifier_key=sys.argv[4],
                    max_staleness=2.0)
assert gate.wait_until_live(20), gate.status()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
held = []
try:
    while True:
        held.append(open("/dev/null"))
except OSError:
    pass
late = Gate(Replica(folder), purpose="train")
deadline = time.monotonic() + 3
while time.monotonic() < deadline:
    assert not gate.check("w001") and not late.check("w001")
    late.check("w000"), gate.check("w000"), late.status(), gate.status()
    time.sleep(0.01)
for file in held:
    file.close()
assert gate.wait_until_live(30), gate.status()
assert gate.check("w000") and not gate.check("w001")
gate.close()
print("again")
"""
    ledger, _, _ = halves(4)
    with serving(ledger) as feed:
        assert ran(code, tmp_path, feed.url, TOKEN, KEY) == ["again"]
