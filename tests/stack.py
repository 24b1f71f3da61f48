"""The whole ledger as `consent-local up` runs it, in processes of its own, for those who kill them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from consent_local.services import end_leftovers

PROGRAM = str(Path(sys.executable).with_name("consent-local"))
START_SECONDS_MAX = 90.0


class Stack:
    """A running `up` on a folder: what it says of itself, and how to hurt it."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.credentials: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """Where the ledger answers."""
        return str(self.credentials["url"])

    @property
    def keys(self) -> dict[str, str]:
        """An API key for each role."""
        return dict(self.credentials["keys"])

    def pid(self, name: str) -> int:
        """The process of a child now: postgres, nats, projector or ledger. 0 while there is none."""
        for child in json.loads((self.folder / "status.json").read_text()):
            if child["name"] == name:
                return int(child["pid"] or 0)
        return 0

    def restarts(self, name: str) -> int:
        """How often the supervisor started a child again."""
        found = json.loads((self.folder / "status.json").read_text())
        return next(int(child["restarts"]) for child in found if child["name"] == name)

    def workers(self) -> list[int]:
        """The processes that answer requests, oldest first."""
        children = psutil.Process(self.pid("ledger")).children()
        return [child.pid for child in children if "serve" in child.cmdline()]

    def kill(self, name: str) -> None:
        """SIGKILL a child, or one `worker` of the ledger."""
        os.kill(self.workers()[0] if name == "worker" else self.pid(name), signal.SIGKILL)

    @contextmanager
    def unsupervised(self) -> Iterator[None]:
        """What is killed inside stays dead until the end."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """What `up` printed so far."""
        return (self.folder.parent / "said").read_text()


@contextmanager
def running_stack(folder: Path, workers: int) -> Iterator[Stack]:
    """`consent-local up` on any free port, its data in a new folder below `folder`; nothing is left of it."""
    data, said = folder / "data", folder / "said"
    command = [PROGRAM, "up", "--data-dir", str(data), "--port", "0", "--workers", str(workers)]
    with said.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    stack = Stack(data, process)
    try:
        until(
            lambda: "ready\n" in stack.said() or process.poll() is not None, "it is ready", START_SECONDS_MAX
        )
        assert process.poll() is None, stack.said()
        stack.credentials = json.loads((data / "credentials.json").read_text())
        yield stack
    finally:
        _stop(process)
        end_leftovers(data)


def until(holds: Callable[[], Any], what: str, seconds_max: float = 20.0) -> None:
    """Wait until it holds. Raises AssertionError naming `what`."""
    deadline = time.monotonic() + seconds_max
    while not holds():
        assert time.monotonic() < deadline, f"never within {seconds_max:.0f} s: {what}"
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
