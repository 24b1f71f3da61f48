"""`consent-local` as its users run it: the real servers and services, stopped, killed and refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from consent_local.services import end_leftovers, leftovers
from servers import temporary_folder

PROGRAM = str(Path(sys.executable).with_name("consent-local"))
CHILDREN = ("postgres", "nats", "projector", "publisher", "ledger")


class Running:
    """An `up` on a folder, in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [PROGRAM, "up", "--data-dir", str(folder), "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, words: str) -> str:
        """What it said from the last time up to the line with the words. The test's time limit bounds it."""
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if words in line:
                return said
        raise AssertionError(f"it ended without saying {words!r}, but {said!r}")

    def pids(self) -> dict[str, int]:
        return {child["name"]: child["pid"] for child in status(self.folder)["children"]}

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        end_leftovers(self.folder)


def consent_local(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(consent_local("status", "--json", "--data-dir", str(folder)).stdout)
    return found


def credentials(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "credentials.json").read_text())
    return found


def code_of(url: str, key: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as parent:
        yield parent / "data"


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    up = Running(folder)
    try:
        up.until("ready")
        yield up
    finally:
        up.end()


def test_given_up_when_asked_from_elsewhere_then_ready_with_every_child(running: Running) -> None:
    found = status(running.folder)
    assert (found["running"], found["ready"]) == (True, True)
    assert [(child["name"], child["state"]) for child in found["children"]] == [
        (name, "running") for name in CHILDREN
    ]
    assert consent_local("status", "--data-dir", str(running.folder)).returncode == 0


def test_given_up_when_its_keys_are_used_then_each_is_one_and_only_the_owner_reads_them(
    running: Running,
) -> None:
    file = running.folder / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((running.folder / "keys").stat().st_mode) == 0o700
    found = credentials(running.folder)
    assert set(found) == {"url", "databaseUrl", "natsUrl", "feedKey", "verifierKey", "keys"}
    assert set(found["keys"]) == {"admin", "auditor", "pipeline"}
    for key in found["keys"].values():
        assert code_of(f"{found['url']}/v1/purposes", key) == 200
    assert code_of(f"{found['url']}/v1/purposes") == 401


def test_given_up_when_a_second_comes_to_the_folder_or_the_port_then_refused(
    running: Running, tmp_path: Path
) -> None:
    second = consent_local("up", "--data-dir", str(running.folder), "--port", "0")
    assert (second.returncode, "in use" in second.stderr) == (1, True)
    port = credentials(running.folder)["url"].rsplit(":", 1)[1]
    third = consent_local("up", "--data-dir", str(tmp_path / "other"), "--port", port)
    assert (third.returncode, f"port {port} is taken" in third.stderr) == (1, True)
    assert consent_local("reset", "--yes", "--data-dir", str(running.folder)).returncode == 1
    assert status(running.folder)["ready"]


@pytest.mark.parametrize("name", CHILDREN)
def test_given_up_when_a_child_is_killed_9_then_it_runs_again_and_the_others_find_it(
    running: Running, name: str
) -> None:
    before = running.pids()
    os.kill(before[name], signal.SIGKILL)
    said = running.until(f"{name} runs again")
    assert f"{name} was killed by SIGKILL; starting it again" in said
    deadline = time.monotonic() + 30
    while not status(running.folder)["ready"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    after = running.pids()
    assert [other for other in CHILDREN if after[other] != before[other]] == [name]


def test_given_everything_killed_9_when_started_again_then_it_goes_on_where_it_was(
    running: Running, folder: Path
) -> None:
    before = credentials(folder)
    pids = [*running.pids().values(), *leftovers(folder), running.process.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    running.process.wait()
    again = Running(folder)
    try:
        again.until("ready")
        after = credentials(folder)
        for name in ("databaseUrl", "natsUrl", "feedKey", "keys"):
            assert after[name] == before[name]
        assert code_of(f"{after['url']}/v1/purposes", after["keys"]["pipeline"]) == 200
        pids = list(again.pids().values())
        again.process.terminate()
        again.until("stopped")
        assert again.process.wait(30) == 0
        assert_gone(pids)
        assert leftovers(folder) == []
    finally:
        again.end()
    removed = consent_local("reset", "--yes", "--data-dir", str(folder))
    assert (removed.returncode, folder.exists()) == (0, False)


def test_given_nothing_running_when_asked_then_1_and_it_says_so(tmp_path: Path) -> None:
    asked = consent_local("status", "--data-dir", str(tmp_path / "data"))
    assert (asked.returncode, "nothing runs" in asked.stdout) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sideways"],
        ["up", "--port", "65536"],
        ["up", "--port", "-1"],
        ["up", "--port", "http"],
        ["up", "--workers", "0"],
        ["up", "--workers", "65"],
        ["up", "--folder", "x"],
        ["reset", "now"],
    ],
)
def test_given_bad_options_when_run_then_2_and_the_usage(arguments: list[str]) -> None:
    refused = consent_local(*arguments)
    assert (refused.returncode, "usage: consent-local" in refused.stderr) == (2, True)


def test_given_a_port_that_is_taken_when_started_then_nothing_was_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refused = consent_local("up", "--data-dir", str(tmp_path / "data"), "--port", str(port))
    assert (refused.returncode, refused.stderr) == (
        1,
        f"consent-local: port {port} is taken; name another with --port, or 0 for any free one\n",
    )
    assert not (tmp_path / "data" / "postgres").exists()


def test_given_nobody_to_ask_when_reset_then_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("consent-local 1\n")
    refused = consent_local("reset", "--data-dir", str(tmp_path))
    assert (refused.returncode, "say --yes" in refused.stderr) == (1, True)
    assert (tmp_path / "format").exists()


def test_given_a_folder_that_cannot_be_made_when_started_then_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = consent_local("up", "--data-dir", str(tmp_path / "file"), "--port", "0")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert str(tmp_path / "file") in refused.stderr
