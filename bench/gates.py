"""From an opt-out's acceptance to denial by a hundred gates, beside the same with one gate in the same run.

.venv/bin/python bench/gates.py [--gates 100] [--opt-outs 40] [--folder .] [--json figures.json]

Each gate is a `Gate` with a replica of its own that follows the feed over HTTP and verifies every page; 25
share a process, and all share the cores with the ledger. An opt-out counts as accepted from its `recordedAt`:
before its commit even. All clocks are this host's.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx
import msgspec
from harness import arguments
from http_service import Caller, publish_first_policy
from opt_out import enrol_all
from stack import Stack, running_stack
from steady_load import OPT_OUT, PURPOSE
from table import Row, report

GATES_A_PROCESS = 25
PAUSE_SECONDS = 0.1
REACH_MS = 250.0

GATES = """
import sys, time, json
from pathlib import Path
from consent_gate.gate import Gate
url, token, purpose, folder, key, count = sys.argv[1:]
how = {"purpose": purpose, "verifier_key": key, "max_staleness": 30}
folders = [Path(folder) / str(number) for number in range(int(count))]
gates = [Gate.connect(url, token, replica_dir=one, **how) for one in folders]
for line in sys.stdin:
    workspace = line.strip()
    for gate in gates:
        while not gate.check(workspace):
            time.sleep(0.005)
    print("permit", flush=True)
    left, denied = list(gates), []
    while left:
        time.sleep(0.005)
        for gate in list(left):
            answer = gate.check(workspace)
            if not answer:
                assert answer.decision == "deny", answer.decision
                denied.append(time.time())
                left.remove(gate)
    print(json.dumps(denied), flush=True)
"""


class Gates:
    """Gates in other processes: told a workspace, they say when all permit it, and when each denied."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def watch(self, workspace: str) -> None:
        """Returns once all of them permit the workspace."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(workspace + "\n")
            process.stdin.flush()
        assert all(self._line(process) == "permit" for process in self._processes)

    def denied_at(self) -> list[float]:
        """When each of them denied."""
        return [at for process in self._processes for at in msgspec.json.decode(self._line(process))]

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line, "the gates ended"
        return line


@contextmanager
def running_gates(stack: Stack, folder: Path, count: int) -> Iterator[Gates]:
    """So many gates that follow the feed of the stack."""
    with ExitStack() as ends:
        processes = []
        for first in range(0, count, GATES_A_PROCESS):
            here = min(GATES_A_PROCESS, count - first)
            where = [stack.url, stack.keys["pipeline"], PURPOSE, str(folder / str(first))]
            process = subprocess.Popen(
                [sys.executable, "-c", GATES, *where, stack.credentials["feedKey"], str(here)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ends.callback(process.wait, 20)
            ends.callback(process.kill)
            processes.append(process)
        yield Gates(processes)


async def opted_out(call: Caller, gates: Gates, workspace: str) -> list[float]:
    """Opt a workspace out; seconds from when that was accepted to each gate's denial."""
    await asyncio.to_thread(gates.watch, workspace)
    denied = asyncio.create_task(asyncio.to_thread(gates.denied_at))
    await asyncio.sleep(PAUSE_SECONDS)
    answer = await call.done("POST", f"/v1/workspaces/{workspace}/opt-outs", json=OPT_OUT)
    accepted = datetime.fromisoformat(answer["recordedAt"]).timestamp()
    return [at - accepted for at in await denied]


async def measure(stack: Stack, folder: Path, gates: int, opt_outs: int) -> tuple[list[float], list[float]]:
    """So many opt-outs with one gate, and as many with all; the seconds of each gate."""
    names = [f"leaves-{number}" for number in range(2 * opt_outs)]
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        call = Caller(client, stack.keys)
        await publish_first_policy(call)
        await enrol_all(call, names)
        found: tuple[list[float], list[float]] = ([], [])
        for which, count in enumerate((1, gates)):
            with running_gates(stack, folder / str(count), count) as running:
                for name in names[which * opt_outs : (which + 1) * opt_outs]:
                    found[which].extend(await opted_out(call, running, name))
        return found


def p(share: int, seconds: list[float]) -> float:
    """A percentile in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1000


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, default=100)
    parser.add_argument("--opt-outs", type=int, default=40)
    given = parser.parse_args()
    began = time.monotonic()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with running_stack(folder, 1) as stack:
            one, many = asyncio.run(measure(stack, folder / "gates", given.gates, given.opt_outs))
        rows = [
            Row(
                f"opt-out accepted → denied by each of {given.gates} gates",
                p(99, many),
                "ms p99",
                "by one gate",
                p(99, one),
                f"< {REACH_MS:.0f} ms",
                p(99, many) < REACH_MS,
                f"p50 {p(50, many):.1f} ms, worst {p(100, many):.1f} ms; one gate: p50 {p(50, one):.1f} ms",
            )
        ]
        title = f"{given.opt_outs} opt-outs, one after the other, each heard by {given.gates} gates"
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
        report(title, rows, folder, given.json)


if __name__ == "__main__":
    main()
