"""The check in the process beside the checkers that others use, on the same workspaces, one after the other.

    python bench/compare.py                    10,000 and 1,000,000 workspaces
    python bench/compare.py --rows 10000000

Each peer runs in a process of its own, in an environment with what bench/environments/peers.txt pins, and
says what it took to hold the workspaces (`bench/peers.py`). A figure is the processor's time of one core.
Our memory is the whole replica, which all processes of the host share; a peer's is for each process.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import check
import table
from harness import arguments

HERE = Path(__file__).resolve().parent
HOME = HERE.parent / ".venv-peers"
WANTED = HERE / "environments" / "peers.txt"
PEERS = {
    "openfeature": "OpenFeature, in memory",
    "growthbook": "GrowthBook",
    "launchdarkly": "LaunchDarkly, offline",
    "cedar": "cedarpy",
}
ROWS = (10_000, 1_000_000)
PEER_BYTES_MAX = 8 << 30
PEER_SECONDS_MAX = 120


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, action="append", help="workspaces; may be given again")
    parser.add_argument("--uv", default=found_uv(), help="the uv to install the peers with")
    given = parser.parse_args()
    python = installed(given.uv)
    rows: list[table.Row] = []
    for count in given.rows or ROWS:
        folder = Path(tempfile.mkdtemp(prefix="bench-compare-", dir=given.folder))
        try:
            rows += compared(count, folder, python)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    table.report("Checks beside other checkers", rows, given.folder, given.json)


def found_uv() -> str:
    """The machine's uv, or the one that `make setup` installed."""
    return shutil.which("uv") or str(HERE.parent / ".uv" / "bin" / "uv")


def installed(uv: str) -> Path:
    """The Python of the peers' environment, made if what is wanted has changed."""
    python, done = HOME / "bin" / "python", HOME / "installed"
    if not (done.is_file() and done.read_text() == WANTED.read_text()):
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(HOME)], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(python), "--requirements", str(WANTED)],
            check=True,
        )
        done.write_text(WANTED.read_text())
    return python


def compared(count: int, folder: Path, python: Path) -> list[table.Row]:
    """One row for each peer: our checks a second, beside the peer's."""
    replica, megabytes = check.filled(folder, count)
    ours = check.rates(count, replica)[0].a_second
    rows = []
    for peer, title in PEERS.items():
        told = asked(python, peer, count)
        what = f"check, {count:,} workspaces, beside {title}"
        note = f"we hold {megabytes:,.0f} MB for the host"
        if isinstance(told, str):
            rows.append(table.Row(what, ours, "checks/s", note=f"{note}; {told}"))
            continue
        note += f", it {told['megabytes']:,.0f} MB a process, loaded in {told['seconds']:.1f} s"
        rows.append(
            table.Row(
                what, ours, "checks/s", title, told["a_second"], "≥ 1 ×", ours >= told["a_second"], note
            )
        )
    return rows


def asked(python: Path, peer: str, count: int) -> dict[str, Any] | str:
    """What a peer says of itself, or why it says nothing."""
    try:
        done = subprocess.run(
            [str(python), str(HERE / "peers.py"), peer, str(count)],
            capture_output=True,
            text=True,
            timeout=PEER_SECONDS_MAX,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (PEER_BYTES_MAX, PEER_BYTES_MAX)),
        )
    except subprocess.TimeoutExpired:
        return f"it was not ready in {PEER_SECONDS_MAX} s"
    if done.returncode == 0:
        told: dict[str, Any] = json.loads(done.stdout)
        return told
    if "MemoryError" in done.stderr or "memory allocation" in done.stderr or done.returncode < 0:
        return f"it does not fit into {PEER_BYTES_MAX >> 30} GB"
    raise SystemExit(done.stderr)


if __name__ == "__main__":
    main()
