"""All benches, one after the other, each bounded in time; their figures as one table and as JSON.

.venv/bin/python bench/run.py                     every figure; about ten minutes on a quiet host
.venv/bin/python bench/run.py --quick             the same on less data: whether they run, not how fast
.venv/bin/python bench/run.py --only http_check   one of them; may be given again
.venv/bin/python bench/run.py --large             ten million workspaces and events; an hour and more

What they measured is kept in bench/results (not in version control); a whole run that is not quick
also writes docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import table

BENCH = Path(__file__).resolve().parent
DOCUMENT = BENCH.parent / "docs" / "benchmarks.md"
RESULTS = BENCH / "results"
CLEAN_UP_SECONDS_MAX = 40.0


class Bench(NamedTuple):
    """A bench of this folder, its arguments, and how long it may take."""

    name: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...]
    large: tuple[str, ...] = ()
    seconds_max: float = 300.0
    large_seconds_max: float = 0.0


BENCHES = (
    Bench("append", ("--events", "20000"), ("--events", "4000")),
    Bench("http_append", ("--seconds", "5"), ("--seconds", "1")),
    Bench("growth", ("--events", "1000000"), ("--events", "40000"), ("--events", "10000000"), 600, 3_600),
    Bench("rebuild", ("--events", "1000000"), ("--events", "50000")),
    Bench("consume", ("--events", "60000"), ("--events", "10000")),
    Bench("opt_out", ("--opt-outs", "200"), ("--opt-outs", "30")),
    Bench("feed", (), ("--followers", "200", "--seconds", "1")),
    Bench("gates", (), ("--gates", "10", "--opt-outs", "5")),
    Bench("http_check", ("--seconds", "5"), ("--seconds", "1")),
    Bench("runs", (), ("--runs", "50", "--workspaces", "20000"), seconds_max=600),
    Bench("proofs", ("--seconds", "5"), ("--seconds", "1", "--workspaces", "1000")),
    Bench("time_travel", ("--others", "20000"), ("--others", "500", "--questions", "50")),
    Bench("log", ("--appends", "60"), ("--appends", "5", "--seconds", "0.5")),
    Bench("audit", ("--events", "100000"), ("--events", "3000")),
    Bench("check", ("--rows", "1000000"), ("--rows", "10000"), ("--rows", "10000000"), 300, 1_800),
    Bench("compare", (), ("--rows", "10000"), ("--rows", "10000000"), 300, 1_800),
    Bench("cold_start", (), ("--rows", "20000"), ("--rows", "10000000"), 300, 1_800),
    Bench("simulate", (), ("--rows", "20000"), ("--rows", "10000000"), 300, 1_800),
    Bench("watch", (), ("--rows", "20000")),
    Bench("filter", (), ()),
    Bench("pipes", (), ("--quick",)),
    Bench("engines", (), ("--quick",), ("--large",), 300, 1_800),
)
"""In the order of the table."""


class Measured(NamedTuple):
    """What one bench said. `failure` says why there are no rows, empty if there are."""

    name: str
    title: str
    machine: str
    rows: list[table.Row]
    failure: str
    seconds: float

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict() | {"rows": [row.told() for row in self.rows]}


def measure(bench: Bench, size: str, output: Path) -> Measured:
    """Run one bench. It is interrupted when its time is over, and killed if it does not clean up then."""
    arguments = {"quick": bench.quick, "large": bench.large or bench.arguments}.get(size, bench.arguments)
    seconds_max = max(bench.seconds_max, bench.large_seconds_max if size == "large" else 0.0)
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(BENCH / f"{bench.name}.py"), *arguments, "--json", str(output)],
        cwd=BENCH.parent,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
    )
    failure = ""
    try:
        code = process.wait(seconds_max)
        failure = f"it ended with exit code {code}" if code else ""
    except subprocess.TimeoutExpired:
        failure = f"it did not end within {seconds_max:.0f} s"
    finally:
        _end(process)
    seconds = time.monotonic() - began
    if failure or not output.exists():
        return Measured(bench.name, bench.name, "", [], failure or "it wrote no figures", seconds)
    told = json.loads(output.read_text())
    rows = [table.row(row) for row in told["rows"]]
    return Measured(bench.name, told["title"], told["machine"], rows, "", seconds)


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, so that it stops its servers; then the hard way, with all that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(CLEAN_UP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def document(measured: Sequence[Measured], at: str, load: float) -> str:
    """The figures as a document. `load` is the host's average of the minute before."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {at}. The load generator and PostgreSQL share the cores with what",
        "they measure, so a figure is a floor. Read it beside its limit in the same run: the same work",
        "without ours.",
        "",
        f"Load average of the minute before it began, which is what others took: {load:.1f}.",
        "",
    ]
    for one in measured:
        lines += [f"## {one.title}", ""]
        if one.failure:
            lines += [f"No figures: {one.failure}.", ""]
        else:
            lines += [f"{one.machine}; took {one.seconds:.0f} s.", "", table.markdown(one.rows)]
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="size", action="store_const", const="quick", default="whole")
    size.add_argument("--large", dest="size", action="store_const", const="large")
    names = [bench.name for bench in BENCHES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", action="store_true", help="print JSON, and no table")
    return parser


def main() -> int:
    """Returns 0 if every bench gave its figures, reached or not; else 1."""
    asked = arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the bench under way is ended too
    chosen = [bench for bench in BENCHES if not asked.only or bench.name in asked.only]
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    load = os.getloadavg()[0]
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for bench in chosen:
            print(f"{bench.name} …", file=sys.stderr, flush=True)
            measured.append(measure(bench, asked.size, Path(folder) / f"{bench.name}.json"))
    text = document(measured, at, load)
    told = {"at": at, "size": asked.size, "load": load, "benches": [one.told() for one in measured]}
    whole = json.dumps(told, indent=1) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{at.replace(':', '')}.json").write_text(whole)
    if asked.size != "quick" and not asked.only:
        DOCUMENT.write_text(text)
    print(whole if asked.json else text)
    return 1 if any(one.failure for one in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
