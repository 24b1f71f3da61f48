"""Supervision: what dies is started again, what is stopped leaves nothing, however it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from consent_local.services import end_leftovers, leftovers

PROGRAM = Path(__file__).with_name("supervising.py")
SLEEP = "import time; time.sleep(600)"
# Says its number, and at the end its name, in a file of the folder above its log's.
TELL = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["CONSENT_LOCAL_FOLDER"])
(folder / "{name}.pid.new").write_text(str(os.getpid()))
(folder / "{name}.pid.new").rename(folder / "{name}.pid")
def end(*_):
    with open(folder / "ended", "a") as file:
        file.write("{name} ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
{then}
time.sleep(600)
"""


def tell(name: str, then: str = "") -> str:
    return TELL.format(name=name, then=then)


@contextmanager
def supervised(folder: Path, settled_seconds: float = 0.1, **scripts: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PROGRAM), str(folder), json.dumps(scripts), str(settled_seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        end_leftovers(folder)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it said up to the line with the words. The test's own time limit bounds the wait."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it never said {words!r}, but {said!r}")


def pid_of(folder: Path, name: str, other_than: int = 0) -> int:
    file = folder / f"{name}.pid"
    eventually(lambda: file.exists() and int(file.read_text()) != other_than)
    return int(file.read_text())


def eventually(holds: Callable[[], bool], seconds_max: float = 10.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_given_a_child_when_killed_9_then_started_again_and_said_so(tmp_path: Path) -> None:
    with supervised(tmp_path, one=tell("one"), two=tell("two")) as process:
        read_until(process, "ready")
        one, two = pid_of(tmp_path, "one"), pid_of(tmp_path, "two")
        psutil.Process(one).kill()
        assert "one was killed by SIGKILL; starting it again in 0.2 s" in read_until(
            process, "one runs again"
        )
        assert pid_of(tmp_path, "one", other_than=one) != one
        assert pid_of(tmp_path, "two") == two


def test_given_a_child_that_always_dies_when_supervised_then_it_waits_longer_each_time(
    tmp_path: Path,
) -> None:
    with supervised(tmp_path, one="import time; time.sleep(0.3); raise SystemExit(7)") as process:
        said = read_until(process, "0.8 s")
    assert [f"exit code 7; starting it again in {seconds} s" in said for seconds in (0.2, 0.4, 0.8)] == [
        True
    ] * 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_given_children_when_asked_to_stop_then_the_last_started_ends_first_and_none_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    with supervised(tmp_path, one=tell("one"), two=tell("two"), three=tell("three")) as process:
        read_until(process, "ready")
        pids = [pid_of(tmp_path, name) for name in ("one", "two", "three")]
        process.send_signal(number)
        read_until(process, "stopped")
        assert process.wait(10) == 0
        assert (tmp_path / "ended").read_text() == "three two one "
        assert all(is_gone(pid) for pid in pids)


def test_given_a_child_that_will_not_end_when_stopped_then_killed_after_its_time(tmp_path: Path) -> None:
    stubborn = tell("one", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with supervised(tmp_path, one=stubborn) as process:
        read_until(process, "ready")
        pid = pid_of(tmp_path, "one")
        time.sleep(0.2)  # the file comes before the signal is ignored
        process.terminate()
        read_until(process, "stopped")
        assert is_gone(pid)


def test_given_a_stop_under_way_when_asked_again_then_all_are_killed_at_once(tmp_path: Path) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    names = ("one", "two", "three", "four", "five")
    with supervised(tmp_path, **{name: tell(name, stubborn) for name in names}) as process:
        read_until(process, "ready")
        pids = [pid_of(tmp_path, name) for name in names]
        time.sleep(0.2)
        begun = time.monotonic()
        process.terminate()
        time.sleep(0.2)
        process.terminate()
        read_until(process, "stopped")
        assert time.monotonic() - begun < 4  # one after the other they may take 5 s
        assert all(is_gone(pid) for pid in pids)


def test_given_a_supervisor_when_killed_9_then_no_child_outlives_it(tmp_path: Path) -> None:
    with supervised(tmp_path, one=tell("one"), two=SLEEP) as process:
        read_until(process, "ready")
        pid_of(tmp_path, "one")
        process.kill()
        process.wait()
        eventually(lambda: not leftovers(tmp_path))


def test_given_a_child_with_a_worker_when_killed_9_then_the_worker_is_gone_before_it_starts_again(
    tmp_path: Path,
) -> None:
    fork = "if os.fork() == 0:\n    (folder / 'worker').write_text(str(os.getpid())); time.sleep(600)"
    with supervised(tmp_path, one=tell("one", fork)) as process:
        read_until(process, "ready")
        eventually(lambda: (tmp_path / "worker").exists() and (tmp_path / "worker").read_text() != "")
        worker = int((tmp_path / "worker").read_text())
        psutil.Process(pid_of(tmp_path, "one")).kill()
        read_until(process, "starting it again")
        eventually(lambda: is_gone(worker), 1.0)


def test_given_a_worker_in_a_session_of_its_own_when_all_else_is_killed_then_it_is_found_and_ended(
    tmp_path: Path,
) -> None:
    fork = "if os.fork() == 0:\n    os.setsid(); (folder / 'worker').write_text('here'); time.sleep(600)"
    with supervised(tmp_path, one=tell("one", fork)) as process:
        read_until(process, "ready")
        eventually(lambda: (tmp_path / "worker").exists())
        one = psutil.Process(pid_of(tmp_path, "one"))
        process.kill()
        one.kill()
        eventually(lambda: len(leftovers(tmp_path)) == 1)
        assert end_leftovers(tmp_path) == 1
        assert leftovers(tmp_path) == []


def test_given_wrong_settings_when_a_child_ends_with_2_then_refused_at_once_with_its_words(
    tmp_path: Path,
) -> None:
    wrong = "import sys; print('CONSENT_ORIGIN is not set', file=sys.stderr); sys.exit(2)"
    with supervised(tmp_path, settled_seconds=2, one=tell("one"), two=wrong) as process:
        said = read_until(process, "stopped")
        assert "error: two did not start" in said
        assert "CONSENT_ORIGIN is not set" in said
        assert is_gone(pid_of(tmp_path, "one"))
