"""Where the story plays: an `up` in a folder of its own, that can be killed as hard as a power cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from consent_local.children import Asking, ServerError, end, has_ended, how_it_ended, launch, tail
from consent_local.reset import reset
from consent_local.services import leftovers, program
from consent_local.status import status

START_SECONDS_MAX = 100.0
STOP_SECONDS_MAX = 60.0
GONE_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.05


class Stage:
    """One data folder and the `consent-local up` that runs in it."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet. `folder` is made by `start`."""
        self.data = folder / "ledger"
        self._log = folder / "up" / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start everything, or start it again; how many seconds it took until it was ready.

        Raises ServerError, with what `up` said, if it is not ready in time.
        """
        begun = time.monotonic()
        command = [program("consent-local"), "up", "--data-dir", str(self.data), "--port", "0"]
        self._process = launch(command, self._log, os.environ)
        while not self._is_ready():
            if has_ended(self._process) or time.monotonic() - begun > START_SECONDS_MAX:
                ended = how_it_ended(self._process) if has_ended(self._process) else "did not get ready"
                raise ServerError(f"`consent-local up` {ended}; it said:\n{tail(self._log)}")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - begun

    def _is_ready(self) -> bool:
        # `up` writes the address before its services run, so an address alone says nothing.
        with suppress(OSError, ValueError):  # a file that is not there yet
            return bool(status(self.data)["ready"])
        return False

    @property
    def credentials(self) -> dict[str, Any]:
        """`url`, `databaseUrl` and `keys`, as `up` wrote them for this start."""
        found: dict[str, Any] = json.loads((self.data / "credentials.json").read_text())
        return found

    def kill(self) -> int:
        """SIGKILL to `up` and every process below it, at once; how many there were.

        Raises ServerError if one of them is there after 10 s.
        """
        assert self._process is not None, "only what runs can be killed"
        children = [child["pid"] for child in self._children() if child["pid"] is not None]
        # `up` first: it would start the others again.
        processes = list(dict.fromkeys([self._process.pid, *children, *_below(self._process.pid)]))
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(GONE_SECONDS_MAX)
        deadline = time.monotonic() + GONE_SECONDS_MAX
        while any(map(_runs, processes)):
            if time.monotonic() > deadline:
                raise ServerError(f"processes {[pid for pid in processes if _runs(pid)]} outlive SIGKILL")
            time.sleep(_POLL_SECONDS)
        return len(processes)

    def _children(self) -> list[dict[str, Any]]:
        children = status(self.data)["children"]
        assert isinstance(children, list), "a status lists its children"
        return children

    def stop(self) -> str:
        """Stop everything as Ctrl-C does; how `up` ended, in words. Nothing runs afterwards."""
        if self._process is None:
            return "was never started"
        end(self._process, [Asking(signal.SIGTERM, STOP_SECONDS_MAX)])
        return how_it_ended(self._process)

    def left_running(self) -> list[int]:
        """Process ids of what still runs, which should be none."""
        return leftovers(self.data)

    def remove(self) -> None:
        """Remove the data. Raises ServerError if something still uses it."""
        if self.data.exists():
            reset(self.data, lambda _: True)


def _below(pid: int) -> list[int]:
    """All processes that descend from `pid`; none where there is no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            # After the name, which stands in brackets and may hold anything: state and parent.
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.parent.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
