"""Cold start: how long from a snapshot file to a gate's first answer, and from a replica that is there.

    python bench/cold_start.py                    1,000,000 workspaces
    python bench/cold_start.py --rows 10000000    as many as a large vendor has; some minutes, mostly writing

Every start is a process of its own, imports included. The limit is a process that reads the same Parquet file
and does nothing with it. What is loaded is verified: signature, SHA-256, and every value.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import table
from check import CHUNK_ROWS, all_rows, at_most
from consent_gate.signatures import Signer
from consent_gate.snapshots.note import SnapshotNote, note_beside, sign_note
from consent_gate.snapshots.writing import SnapshotWriter
from harness import arguments

ROWS = 1_000_000
ROUNDS = 3
SECONDS_MAX = 20.0
"""For ten million workspaces."""
OPEN_MILLISECONDS_MAX = 50
SIGNER = Signer("consent.bench/ledger", bytes(32))
_STARTED = "import sys, time; began = time.perf_counter()\n"
READ = (
    _STARTED
    + """
import pyarrow.parquet
pyarrow.parquet.read_table(sys.argv[1], use_threads=False)
print(time.perf_counter() - began)
"""
)
OFFLINE = (
    _STARTED
    + """
from consent_gate.gate import Gate
with Gate.offline(sys.argv[1], verifier_key=sys.argv[2], purpose="train", max_age=86400.0) as gate:
    assert gate.check("ws-00000001")
    print(time.perf_counter() - began)
"""
)
FOLLOWED = """
import sys, time
from consent_gate.gate import Gate
from consent_gate.replica import Replica
began = time.perf_counter()
gate = Gate(Replica.open(sys.argv[1]), purpose="train", max_staleness=86400.0)
assert gate.check("ws-00000001")
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=ROWS, help="workspaces")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-cold-start-", dir=given.folder))
    try:
        figures = measure(given.rows, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table.report("Cold start", figures, given.folder, given.json)


def measure(count: int, folder: Path) -> list[table.Row]:
    """The figures for a snapshot of so many workspaces without a history."""
    path = folder / "facts.parquet"
    written = write(path, count)
    at = f"{count:,} workspaces"
    cache = folder / "cache"
    loaded, read = [], []
    for _ in range(ROUNDS):
        shutil.rmtree(cache, ignore_errors=True)
        loaded.append(seconds(OFFLINE, path, SIGNER.verifier, cache=cache))
        read.append(seconds(READ, path, cache=cache))
    again = min(seconds(OFFLINE, path, SIGNER.verifier, cache=cache) for _ in range(ROUNDS))
    [replica] = (cache / "consent-gate").glob("offline-*")
    opened = min(seconds(FOLLOWED, replica, cache=cache) for _ in range(ROUNDS)) * 1_000
    size = path.stat().st_size / 1e6
    return [
        table.Row(
            f"from the file to the first answer, {at}",
            min(loaded),
            "s",
            "reading the file",
            min(read),
            f"≤ {SECONDS_MAX:.0f} s",
            min(loaded) <= SECONDS_MAX,
        ),
        table.Row(f"the same once it is loaded, {at}", again, "s", "reading the file", min(read)),
        at_most(f"opened and asked once, replica of {at}", opened, "ms", OPEN_MILLISECONDS_MAX),
        table.Row(f"the file, {at}", size, "MB"),
        table.Row(f"written, on one core, {at}", written, "s"),
    ]


def write(path: Path, count: int) -> float:
    """Write the snapshot and its note; in how many seconds of a core."""
    writer = SnapshotWriter(path)
    rows = all_rows(count)
    took = 0.0
    while chunk := list(islice(rows, CHUNK_ROWS)):
        started = time.process_time()
        writer.add(chunk)
        took += time.process_time() - started
    started = time.process_time()
    written = writer.finish()
    took += time.process_time() - started
    now = time.time_ns() // 1_000
    note = SnapshotNote(SIGNER.verifier.name, 1, 1, count + 1, now, *written)
    note_beside(path).write_bytes(sign_note(note, SIGNER))
    return took


def seconds(script: str, *given: object, cache: Path) -> float:
    """What a process of its own says that it took."""
    command = [sys.executable, "-c", script, *map(str, given)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
