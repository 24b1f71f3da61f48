"""The demo tells its story to the end, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from servers import temporary_folder

SECONDS_MAX = 280


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("consent-local")), "demo", *words],
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )


def using(folder: Path) -> list[str]:
    """The processes that name the folder in their arguments."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or []):
            found.append(" ".join(process.info["cmdline"]))
    return found


@pytest.mark.timeout(300)
def test_the_demo_ends_by_itself_with_every_claim_true_and_nothing_left() -> None:
    with temporary_folder() as folder:
        ran = demo(folder)
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
        assert [f"── {number}. " in ran.stdout for number in range(1, 11)] == [True] * 10
        assert "✗" not in ran.stdout
        assert os.listdir(folder) == []
        assert using(folder) == []


@pytest.mark.timeout(180)
def test_when_the_demo_is_told_to_stop_then_nothing_is_left() -> None:
    with temporary_folder() as folder:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("consent-local")), "demo"],
            env=os.environ | {"TMPDIR": str(folder)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "── 1. " in line:
                process.send_signal(signal.SIGTERM)
                break
        process.stdout.read()
        assert process.wait(60) == 1
        assert os.listdir(folder) == []
        assert using(folder) == []


def test_the_demo_without_its_examples_says_so_and_starts_nothing(tmp_path: Path) -> None:
    ran = demo(tmp_path, "--examples", str(tmp_path))
    assert ran.returncode == 1
    assert "workspaces.csv" in ran.stderr
    assert os.listdir(tmp_path) == []
