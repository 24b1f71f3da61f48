"""Gates beside the ledger: over the feed, in a forked process, and as readers of its replica, killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consent_gate.gate import Gate
from consent_gate.replica import Replica
from http_service import Caller, enrol
from stack import Stack, until
from steady_load import OPT_OUT, PURPOSE

DENIED_SECONDS_MAX = 5.0
"""Generous: the figure is bench/opt_out.py's, and this host may be busy."""


async def opt_out(call: Caller, workspace: str) -> int:
    """The position of an opt-out that was acknowledged."""
    told = await call.done("POST", f"/v1/workspaces/{workspace}/opt-outs", json=OPT_OUT)
    return int(told["position"])


async def test_given_a_remote_gate_when_a_workspace_opts_out_then_it_denies_by_that_event(
    stack: Stack, call: Caller, tmp_path: Path
) -> None:
    await enrol(call, "remote")
    gate = Gate.connect(
        stack.url,
        stack.keys["pipeline"],
        purpose=PURPOSE,
        replica_dir=tmp_path,
        verifier_key=stack.credentials["feedKey"],
    )
    with gate:
        until(lambda: gate.check("remote"), "the gate permits")
        assert not gate.check("nobody")
        position = await opt_out(call, "remote")
        until(lambda: not gate.check("remote"), "the gate denies", DENIED_SECONDS_MAX)
        (reason, *_) = gate.check("remote").reasons
        assert (reason.code, reason.position) == ("opt_out_requested", position)
        assert gate.check("remote", at_least=position).decision == "deny"


async def test_given_a_gate_with_another_key_pinned_when_it_follows_then_it_never_permits(
    stack: Stack, call: Caller, tmp_path: Path
) -> None:
    await enrol(call, "pinned")
    origin, _, encoded = stack.credentials["feedKey"].partition("+")
    other = f"{origin}+{encoded[:12]}{'A' if encoded[12] != 'A' else 'B'}{encoded[13:]}"
    try:
        gate = Gate.connect(
            stack.url, stack.keys["pipeline"], purpose=PURPOSE, replica_dir=tmp_path, verifier_key=other
        )
    except Exception as error:  # a key whose hash does not fit is refused at once
        assert "key" in str(error)
        return
    with gate:
        until(lambda: gate.status().why, "it says why")
        assert not gate.check("pinned")


FORKING = """
import os, sys
from consent_gate.gate import Gate
url, token, purpose, folder, key, workspace = sys.argv[1:]
gate = Gate.connect(url, token, purpose=purpose, max_staleness=3.0, replica_dir=folder, verifier_key=key)
assert gate.wait_until_live(20), gate.status()
assert gate.check(workspace), gate.check(workspace).sentence
child = os.fork()
if child:
    gate.close()
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for line in sys.stdin:
    print(gate.check(line.strip()).decision, flush=True)
gate.close()
os._exit(0)
"""


class Asked:
    """A process that answers a workspace on a line with a decision on a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, workspace: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(workspace + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def forking(arguments: list[str]) -> Iterator[Asked]:
    """The child that outlives its parent's gate; at the end both must have ended well."""
    command = [sys.executable, "-c", FORKING, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Asked(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()


async def test_given_a_process_that_forked_with_a_gate_when_the_parent_stops_following_then_the_child_follows(
    stack: Stack, call: Caller, tmp_path: Path
) -> None:
    await enrol(call, "forked")
    arguments = [
        stack.url,
        stack.keys["pipeline"],
        PURPOSE,
        str(tmp_path),
        stack.credentials["feedKey"],
        "forked",
    ]
    with forking(arguments) as asked:
        assert asked("forked") in ("permit", "undecided")
        await asyncio.sleep(3.2)  # by now what the parent followed is stale
        until(lambda: asked("forked") == "permit", "the child follows by itself")
        await opt_out(call, "forked")
        until(lambda: asked("forked") == "deny", "the child denies", DENIED_SECONDS_MAX)


READING = """
import sys, time
from pathlib import Path
from consent_gate.replica import Replica
with Replica.open(Path(sys.argv[1])).store().snapshot() as snapshot:
    snapshot.workspace("anybody")
    print("reading", flush=True)
    time.sleep(600)
"""


@contextmanager
def reading(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", READING, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "reading\n"
            yield process
        finally:
            process.kill()


def slots(replica: Replica) -> set[int]:
    """The processes that hold a reader's slot."""
    store = replica.store()
    assert store is not None
    lines = str(store.environment.lmdb.readers()).strip().splitlines()[1:]
    return {int(line.split()[0]) for line in lines}


async def test_given_readers_of_the_hosts_replica_when_they_are_killed_9_then_the_follower_frees_their_slots(
    stack: Stack, call: Caller
) -> None:
    folder = stack.folder / "replica"
    replica = Replica.open(folder)
    with reading(folder) as one, reading(folder) as other:
        dead = {one.pid, other.pid}
        assert dead <= slots(replica)
        for process in (one, other):
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        until(lambda: not dead & slots(replica), "their slots are free")
    await enrol(call, "after-the-readers")
    until_permitted = {"workspace": "after-the-readers", "purpose": PURPOSE}
    assert (await call.done("POST", "/v1/check", json=until_permitted))["decision"] in ("permit", "undecided")
