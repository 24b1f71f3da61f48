"""The code in a how-to, by the name that its first line gives, and a folder in which it runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import engine_world
import pyarrow as pa
import pyarrow.parquet as pq
from engine_world import World, customer, opted_out

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```\w+\n(?:#|--) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONNECTED = """
import os

import consent_gate.gate
from consent_gate.replica import Replica


def connect(url, token, *, purpose):
    return consent_gate.gate.Gate(Replica.open(os.environ["REPLICA"]), purpose=purpose, max_staleness=60)


consent_gate.gate.Gate.connect = connect
"""
"""What makes a gate of the test's replica out of `Gate.connect`, in every Python that is started there."""


class HowTo:
    """A page's code in a folder, beside `messages.parquet`: two rows of each of `w1` to `w3`."""

    def __init__(self, page: str, folder: Path) -> None:
        self._blocks = dict(_BLOCK.findall((ROOT / "docs" / "how-to" / page).read_text()))
        self.folder = folder / "work"
        self.world: World = engine_world.permitted(folder / "replica")
        self._environment = os.environ | {
            "DO_NOT_TRACK": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ["PYTHONPATH"]]),
            "REPLICA": str(folder / "replica"),
        }
        for made in (self.folder, folder / "site"):
            made.mkdir()
        (folder / "site" / "sitecustomize.py").write_text(CONNECTED)
        self.messages(range(6))

    def messages(self, ids: range) -> None:
        """The rows are these."""
        sent = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=50)
        rows = {"id": list(ids), "workspace_id": [f"w{number % 3 + 1}" for number in ids]}
        times = pa.array([sent] * len(ids), pa.timestamp("us", "UTC"))
        pq.write_table(pa.table({**rows, "sent_at": times}), self.folder / "messages.parquet")

    def write(self, name: str, to: str = "") -> None:
        """The block of that name, into a file."""
        file = self.folder / (to or name)
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(self._blocks[name])

    def run(self, *command: str, **environment: str) -> str:
        """What a command prints, in a process of its own. Fails unless it succeeds."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
        return done.stdout

    def withdraw(self, *names: str) -> None:
        """They opt out of everything, as the ledger records now."""
        self.world.changed({name: customer(200, choices=opted_out(60)) for name in names})

    def back(self, *names: str) -> None:
        """They opt in again: their opt-out is over, as the ledger records now."""
        self.world.changed({name: customer(300) for name in names})
