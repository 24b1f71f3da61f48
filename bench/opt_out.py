"""From an opt-out's acceptance to denial: by every worker of the ledger's host, and by a remote gate.

.venv/bin/python bench/opt_out.py [--opt-outs 200] [--folder .] [--json figures.json]

The whole ledger runs as `consent-local up` starts it, with two workers, beside a light load of
commands and checks. An opt-out counts as accepted from its `recordedAt`: before its commit even,
so every figure holds the commit too. The remote gate is a process of its own that follows the
feed; all clocks are this host's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx
from harness import arguments
from http_service import Caller, publish_first_policy
from stack import Stack, running_stack
from steady_load import OPT_OUT, PURPOSE, Load
from table import Row, report

WORKERS = 2
BATCH = 100
PAUSE_SECONDS = 0.02
DENIED_SECONDS_MAX = 5.0
REACH_MS = 100.0

REMOTE = """
import sys, time
from consent_gate.gate import Gate
url, token, purpose, folder, key = sys.argv[1:]
with Gate.connect(url, token, purpose=purpose, replica_dir=folder, verifier_key=key) as gate:
    for line in sys.stdin:
        workspace = line.strip()
        while not gate.check(workspace):
            time.sleep(0.001)
        print("permit", flush=True)
        while gate.check(workspace):
            time.sleep(0.0005)
        print(time.time(), gate.check(workspace).decision, flush=True)
"""


class Denied(NamedTuple):
    """One opt-out, in seconds since it was accepted: answered; denied by each worker; by the remote gate.

    `at_once`: every worker denied when it was asked for the first time after the answer.
    """

    answered: float
    workers: tuple[float, ...]
    remote: float
    at_once: bool


class Remote:
    """The gate in another process: told a workspace, it says when it permits, and later when it denied."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def watch(self, workspace: str) -> None:
        """Returns once the gate permits the workspace."""
        assert self._process.stdin is not None
        self._process.stdin.write(workspace + "\n")
        self._process.stdin.flush()
        assert self._line() == "permit"

    def denied_at(self) -> float:
        """When it did not permit any more. Raises AssertionError if that was for being stale."""
        at, decision = self._line().split()
        assert decision == "deny", decision
        return float(at)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def remote_gate(stack: Stack, folder: Path) -> Iterator[Remote]:
    """A gate that follows the feed of the stack."""
    command = [sys.executable, "-c", REMOTE, stack.url, stack.keys["pipeline"], PURPOSE, str(folder)]
    with subprocess.Popen(
        [*command, stack.credentials["feedKey"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Remote(process)
        finally:
            process.kill()


@contextmanager
def light_load(stack: Stack) -> Iterator[None]:
    """Customers who come and go, and checks of them, from another process."""
    spawned = multiprocessing.get_context("spawn").Process(
        target=_load, args=(stack.url, stack.keys), daemon=True
    )
    spawned.start()
    try:
        yield
    finally:
        spawned.kill()
        spawned.join()


def _load(url: str, keys: dict[str, str]) -> None:
    async def load() -> None:
        async with Load(url, keys, "background").going():
            await asyncio.Event().wait()

    asyncio.run(load())


async def enrol_all(call: Caller, names: Sequence[str]) -> None:
    """Enrol workspaces, many a request."""
    one = {"command": "enrol-workspace", "plan": "business", "region": "eu"}
    for start in range(0, len(names), BATCH):
        commands = [{**one, "workspace": name} for name in names[start : start + BATCH]]
        told = await call.done("POST", "/v1/commands", json={"commands": commands})
        assert all(verdict["status"] == "applied" for verdict in told["verdicts"]), told


async def one_of_each_worker(stack: Stack, workspace: str) -> list[Caller]:
    """Callers whose connections are kept, each to another worker."""
    found: dict[str, Caller] = {}
    for _ in range(200):
        client = httpx.AsyncClient(base_url=stack.url, timeout=20)
        call = Caller(client, stack.keys)
        worker = str((await check(call, workspace))["decisionId"]).split("-")[0]
        if worker in found:
            await client.aclose()
        found.setdefault(worker, call)
        if len(found) == WORKERS:
            return list(found.values())
    raise AssertionError(f"{len(found)} workers answered")


async def check(call: Caller, workspace: str) -> dict[str, object]:
    """A check's answer."""
    return await call.done(
        "POST", "/v1/check", by="pipeline", json={"workspace": workspace, "purpose": PURPOSE}
    )


async def denied_by(call: Caller, workspace: str) -> tuple[float, int]:
    """When a worker answered deny, asked again and again, and how often it was asked."""
    deadline = time.monotonic() + DENIED_SECONDS_MAX
    asked = 1
    while (await check(call, workspace))["decision"] != "deny":
        assert time.monotonic() < deadline, f"{workspace} is not denied"
        asked += 1
    return time.time(), asked


async def opted_out(call: Caller, workers: Sequence[Caller], remote: Remote, workspace: str) -> Denied:
    """Let a workspace opt out, and watch everybody deny it."""
    await asyncio.to_thread(remote.watch, workspace)
    told = await call.done("POST", f"/v1/workspaces/{workspace}/opt-outs", json=OPT_OUT)
    answered = time.time()
    by_workers = await asyncio.gather(*(denied_by(worker, workspace) for worker in workers))
    by_remote = await asyncio.to_thread(remote.denied_at)
    accepted = datetime.fromisoformat(told["recordedAt"]).timestamp()
    return Denied(
        answered - accepted,
        tuple(at - accepted for at, _ in by_workers),
        by_remote - accepted,
        all(asked == 1 for _, asked in by_workers),
    )


async def measure(stack: Stack, remote: Remote, count: int) -> list[Denied]:
    """So many opt-outs, one after the other."""
    names = [f"leaves-{number}" for number in range(count)]
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        call = Caller(client, stack.keys)
        await publish_first_policy(call)
        await enrol_all(call, names)
        workers = await one_of_each_worker(stack, names[0])
        found = []
        with light_load(stack):
            for name in names:
                found.append(await opted_out(call, workers, remote, name))
                await asyncio.sleep(PAUSE_SECONDS)
        for worker in workers:
            await worker.client.aclose()
        return found


def row(what: str, seconds: list[float], p99_ms_max: float | None = None) -> Row:
    """The 99th percentile of durations, and whether it is below its maximum."""
    ordered = sorted(seconds)
    p50, p99 = (ordered[len(ordered) * share // 100] * 1000 for share in (50, 99))
    note = f"p50 {p50:.1f} ms, worst {ordered[-1] * 1000:.1f} ms"
    if p99_ms_max is None:
        return Row(what, p99, "ms p99", note=note)
    return Row(what, p99, "ms p99", target=f"< {p99_ms_max:.0f} ms", reached=p99 < p99_ms_max, note=note)


def at_once(found: list[bool]) -> Row:
    """How many were denied by the whole host when their opt-out was answered."""
    what = "denied by every worker of the host when the opt-out was answered"
    return Row(what, sum(found), f"of {len(found)}", target="all", reached=all(found))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--opt-outs", type=int, default=200)
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with running_stack(folder, WORKERS) as stack, remote_gate(stack, folder / "remote") as remote:
            found = asyncio.run(measure(stack, remote, given.opt_outs))
        rows = [
            row("opt-out recorded → answered", [one.answered for one in found]),
            *(
                row(
                    f"opt-out recorded → denied by worker {number + 1} of the host",
                    [one.workers[number] for one in found],
                    REACH_MS,
                )
                for number in range(WORKERS)
            ),
            row("opt-out recorded → denied by a remote gate", [one.remote for one in found], REACH_MS),
            at_once([one.at_once for one in found]),
        ]
        title = f"{given.opt_outs} opt-outs, one after the other, beside a light load"
        report(title, rows, folder, given.json)


if __name__ == "__main__":
    main()
