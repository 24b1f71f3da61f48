"""The ledger and the projector as children: their programs, found beside this Python, and their settings."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from consent_local.children import Asking, ServerError, launch

MARK = "CONSENT_LOCAL_FOLDER"
"""In the environment of every child and of what those start: by it leftovers of a killed `up` are found."""
PROBE_SECONDS_MAX = 0.5
LEFTOVER_SECONDS_MAX = 10.0


def program(name: str) -> str:
    """The path of one of our commands. Raises ServerError if it is not installed beside this Python."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise ServerError(f"{path} is not there: `make setup` installs it")
    return str(path)


def environment(folder: Path, database_url: str, nats_url: str) -> dict[str, str]:
    """What the services read. Ours alone: no CONSENT_* variable of the caller steers a child."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_")}
    keys = folder / "keys"
    return inherited | {
        MARK: str(folder),
        "CONSENT_DATABASE_URL": database_url,
        "CONSENT_NATS_URL": nats_url,
        "CONSENT_ORIGIN": "consent.local/ledger",
        "CONSENT_LOG_LEVEL": "info",
        "CONSENT_FEED_KEY_FILE": str(keys / "feed.key"),
        "CONSENT_MASTER_KEY_FILE": str(keys / "master.key"),
        "CONSENT_KEYSTORE_FILE": str(keys / "keystore.sqlite"),
        "CONSENT_REPLICA_FOLDER": str(folder / "replica"),
        "CONSENT_LOG_KEY_FILE": str(keys / "log.key"),
        "CONSENT_SIGNER_STATE_FILE": str(keys / "signer.sqlite"),
        "CONSENT_LOG_FOLDER": str(folder / "log"),
    }


class Service:
    """One of our programs. Ready once it ran a second, or, with a port, once `/health/ready` answers 200."""

    askings = (Asking(signal.SIGTERM, 15.0),)
    settled_seconds = 1.0
    """A program that ends because of its settings does so sooner."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], port: int = 0
    ) -> None:
        """Nothing runs yet."""
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._port = port
        self._launched_at = 0.0

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        self._launched_at = time.monotonic()
        return launch(self._command, self.log, self._environment)

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it can be used now."""
        if self._port:
            return answers_ready(self._port)
        return time.monotonic() - self._launched_at > self.settled_seconds


def answers_ready(port: int) -> bool:
    """Whether the ledger on this port of loopback says that it is ready; False if it says nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS_MAX)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def leftovers(folder: Path) -> list[int]:
    """Process ids of services of this folder that still run, their workers too.

    Found by their environment, so no number can be mistaken; none where there is no /proc, and
    without PostgreSQL, which writes over its own and guards its folder itself.
    """
    mark = os.fsencode(f"{MARK}={folder}")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended, or is somebody else's
            continue
        if mark in variables and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def end_leftovers(folder: Path) -> int:
    """End what a killed `up` left behind, workers whose parent was killed too; how many there were.

    Call it with the folder's lock. Raises ServerError if one outlives SIGKILL for 10 s.
    """
    count = len(leftovers(folder))
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + LEFTOVER_SECONDS_MAX
        left = leftovers(folder)
        for pid in left:
            _send(pid, number)
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = leftovers(folder)
        if not left:
            return count
    raise ServerError(f"processes {left} of an earlier run do not end")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
