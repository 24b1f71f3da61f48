"""Restored to a moment ago, under load, with every process real: nothing signed is lost, no gate is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
from consent_domain.envelope import decode
from consent_domain.events import LogContinued
from consent_gate.gate import Gate
from consent_ledger.settings import LedgerSettings
from consent_plumbing.nats import STREAM
from http_service import (
    Caller,
    command,
    enrol,
    environment_of,
    free_port,
    make_keys,
    publish_first_policy,
    publisher,
    server,
    settings_for,
    until_ready,
)
from servers import fresh_database
from steady_load import OPT_OUT, PURPOSE

WORKSPACES = 12
SETTLE_SECONDS = 20.0


def environment(settings: LedgerSettings) -> dict[str, str]:
    folder = Path(settings.log_folder).parent
    keys = {"LOG_KEY_FILE": folder / "log.key", "SIGNER_STATE_FILE": folder / "signer.sqlite"}
    return environment_of(settings) | {f"CONSENT_{name}": str(path) for name, path in keys.items()}


async def run(settings: LedgerSettings, *arguments: str, code: int = 0) -> dict[str, Any]:
    """A command of `consent-ledger` that must end so; what it said."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments, "--json"),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == code, (arguments, out, err)
    said: dict[str, Any] = json.loads(out or err)
    return said


@contextmanager
def projector(settings: LedgerSettings, log: Path) -> Iterator[None]:
    arguments = [sys.executable, "-m", "consent_projector.main", "run"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments, env=environment(settings), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@asynccontextmanager
async def served(settings: LedgerSettings, folder: Path, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Ledger, publisher and projector of one database, until they are killed at the end."""
    with ExitStack() as stack:
        stack.enter_context(server(settings, port, folder / "serve.log"))
        stack.enter_context(projector(settings, folder / "projector.log"))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client


async def bodies(url: str) -> list[bytes]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        rows = await connection.fetch("SELECT body FROM ledger.events ORDER BY position")
        return [row["body"] for row in rows]
    finally:
        await connection.close(timeout=10)


async def until(holds: Any, what: str, seconds_max: float = SETTLE_SECONDS) -> None:
    for _ in range(int(seconds_max / 0.05)):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never within {seconds_max:.0f} s: {what}")


async def until_alive(http: httpx.AsyncClient) -> None:
    """Wait until the server answers at all."""
    for _ in range(400):
        with suppress(httpx.TransportError):
            await http.get("/health/live")
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the server never answered")


class Watch:
    """Asks a gate about every workspace, again and again, and remembers who was permitted in which epoch."""

    def __init__(self, gate: Gate, workspaces: list[str]) -> None:
        self._gate = gate
        self._workspaces = workspaces
        self.phase = "before"
        self.permits: set[tuple[str, str, int]] = set()
        self.denied: set[str] = set()
        """Workspaces whose opt-out was denied once: it was known here."""

    async def run(self) -> None:
        while True:
            for workspace in self._workspaces:
                decision = self._gate.check(workspace)
                if decision:
                    epoch = int(decision.token.split("/")[-2])
                    self.permits.add((self.phase, workspace, epoch))
            await asyncio.sleep(0.01)


async def test_given_a_restore_under_load_when_recovered_then_nothing_signed_is_lost_and_no_gate_is_wrong(
    tmp_path: Path, postgres_url: str, nats_url: str, migrated_database_template: str
) -> None:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(fresh_database(postgres_url, template=migrated_database_template))
            for _ in range(2)
        ]
        client = await nats.connect(nats_url)
        stack.push_async_callback(client.close)
        with suppress(nats.js.errors.NotFoundError):
            await client.jetstream().delete_stream(STREAM)
        settings = settings_for(tmp_path, first, nats_url)
        keys, port = await make_keys(first), free_port()
        names = [f"w{number}" for number in range(WORKSPACES)]
        outs: dict[str, int] = {}

        async with served(settings, tmp_path, port) as http:
            with ExitStack() as publishing:
                publishing.enter_context(publisher(settings))
                await until_ready(http)
                call = Caller(http, keys)
                await publish_first_policy(call)
                for name in names:
                    await enrol(call, name)
                gate = Gate.connect(
                    f"http://127.0.0.1:{port}",
                    keys["pipeline"],
                    purpose=PURPOSE,
                    replica_dir=tmp_path / "remote",
                    max_staleness=2.0,
                )
                stack.callback(gate.close)
                await until(lambda: all(gate.check(name) for name in names), "the gate permits all")
                watch = Watch(gate, names)
                watching = asyncio.create_task(watch.run())

                async def opt_out(name: str) -> None:
                    told = await call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=OPT_OUT)
                    outs[name] = int(told["position"])
                    await until(lambda: not gate.check(name), f"{name} is denied")

                # The backup is taken while others are recorded.
                taking = asyncio.create_task(run(settings, "backup", str(tmp_path / "backup")))
                for name in names[:4]:
                    await opt_out(name)
                backed_up = int((await taking)["position"])
                checking = asyncio.create_task(run(settings, "fsck"))
                for name in names[4:8]:
                    await opt_out(name)
                assert (await checking)["clean"], "nothing is wrong with what goes on meanwhile"
                note = (await call("POST", "/v1/log/checkpoint")).text
                signed = int(note.splitlines()[1])
            # The publisher is gone: what follows is acknowledged, followed by the gate, and never signed.
            for name in names[8:10]:
                await opt_out(name)
            log = await bodies(first)
            assert backed_up < signed < len(log) == outs[names[9]]
            # The relay gave it to JetStream; that is lost too.
        await client.jetstream().delete_stream(STREAM)
        watch.phase = "down"
        await asyncio.sleep(0.2)

        # Everything of the database is lost; the backup comes back, into another one.
        settings = settings_for(tmp_path, second, nats_url)
        restored = await run(settings, "restore", str(tmp_path / "backup"))
        assert restored["position"] == backed_up
        async with served(settings, tmp_path, port) as http:
            await until(
                lambda: gate.status().state in ("stale", "halted"), "the gate is no longer live", 10.0
            )
            watch.phase = "restored"
            await until_alive(http)
            call = Caller(http, keys)
            for _ in range(20):
                answer = await call(
                    "POST", "/v1/check", "pipeline", json={"workspace": "w11", "purpose": PURPOSE}
                )
                assert answer.status_code != 200 or answer.json()["decision"] != "permit", answer.text
                await asyncio.sleep(0.05)
            refused = await call("POST", "/v1/workspaces/w11/opt-outs", json=OPT_OUT)
            assert refused.status_code == 503, refused.text
            await run(settings, "fsck", "--clear", code=1)

            recovered = await run(settings, "recover")
            assert recovered["recoveredTo"] == signed
            assert recovered["knownTo"] == len(log), "the host's replica knows that more was recorded"
            assert recovered["gone"] == len(log) - signed
            assert recovered["lostOptOuts"] == ["workspace/w8", "workspace/w9"]
            assert recovered["epoch"] == 2
            watch.phase = "recovered"
            await asyncio.sleep(1.0)
            # The halt ends inside the command, and gates may be live again before it has ended.
            watch.phase = "after"
            checked = await run(settings, "fsck", "--clear")
            assert checked["clean"] and checked["halt"] is None

            with publisher(settings):
                await until_ready(http)
                await until(lambda: gate.status().state == "live", "the gate is live again")
                assert gate.status().token.split("/")[-2] == "2"
                after = await bodies(second)
                assert after[:signed] == log[:signed]
                continued = decode(after[signed]).body
                assert isinstance(continued, LogContinued)
                assert (continued.epoch, continued.size) == (2, str(signed))
                # It goes on.
                await opt_out("w10")
                await until(lambda: "w11" in _permitted(watch, "after"), "w11 is permitted")
                note = (await call("POST", "/v1/log/checkpoint")).text
                assert note.splitlines()[0].endswith("/2")
                assert int(note.splitlines()[1]) == len(await bodies(second))
            assert (await run(settings, "fsck"))["clean"]
        watching.cancel()

        kept, gone = names[:8], names[8:10]
        for phase in ("restored", "recovered"):
            assert not _permitted(watch, phase), f"nobody is permitted while {phase}"
        assert not _permitted(watch, "after") & set(kept), "an opt-out that was recovered stays"
        # What was lost is permitted again: the ledger does not know it. It was said, and the epoch says it.
        lost_again = {
            (name, epoch) for phase, name, epoch in watch.permits if phase == "after" and name in gone
        }
        assert {epoch for _, epoch in lost_again} <= {2}
        assert {epoch for phase, _, epoch in watch.permits if phase == "after"} == {2}


def _permitted(watch: Watch, phase: str) -> set[str]:
    return {name for at, name, _ in watch.permits if at == phase}
