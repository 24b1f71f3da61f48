"""Servers for the HTTP benches: durable PostgreSQL, NATS, the ledger, and a bare ASGI application."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import httpx  # noqa: E402
from consent_ledger.opening import migrate_database  # noqa: E402
from consent_ledger.settings import LedgerSettings  # noqa: E402
from consent_local.nats import Nats  # noqa: E402
from consent_local.postgres import Postgres  # noqa: E402
from http_service import (  # noqa: E402
    Caller,
    free_port,
    make_keys,
    publish_first_policy,
    publisher,
    server,
    settings_for,
    until_ready,
)
from servers import temporary_folder  # noqa: E402

BATCH = 100
BARE_OPTIONS = ("--interface", "asginl", "--loop", "uvloop", "--no-log", "--no-ws")


class Ledger(NamedTuple):
    """A ledger that serves on `port` of loopback."""

    port: int
    keys: dict[str, str]
    folder: Path
    settings: LedgerSettings


@contextmanager
def ledger(publishing: bool = False) -> Iterator[Ledger]:
    """One worker on a durable PostgreSQL, ready, with a policy in force; and a publisher, if asked for."""
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        postgres, nats = Postgres(folder), Nats(folder)
        try:
            url = postgres.start()
            settings = settings_for(folder / "ledger", url, nats.start())
            asyncio.run(migrate_database(url))
            keys = asyncio.run(make_keys(url))
            port = free_port()
            if publishing:
                stack.enter_context(publisher(settings))
            with server(settings, port, folder / "ledger.log"):
                asyncio.run(_prepare(port, keys))
                yield Ledger(port, keys, folder, settings)
        finally:
            nats.stop()
            postgres.stop()


async def _prepare(port: int, keys: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        await until_ready(client)
        await publish_first_policy(Caller(client, keys))


def enrol_many(ledger: Ledger, names: list[str]) -> None:
    """Enrol workspaces, 100 a request, and wait until the replica knows them."""

    async def enrol() -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ledger.port}", timeout=60) as client:
            call = Caller(client, ledger.keys)
            one = {"command": "enrol-workspace", "plan": "business", "region": "eu"}
            for start in range(0, len(names), BATCH):
                batch = [{**one, "workspace": name} for name in names[start : start + BATCH]]
                told = await call.done("POST", "/v1/commands", json={"commands": batch})
                assert all(verdict["status"] == "applied" for verdict in told["verdicts"]), told
            token = told["verdicts"][-1]["token"]
            asked = {"workspace": names[-1], "purpose": "ranking.train", "atLeast": token}
            answer = await call.done("POST", "/v1/check", json=asked)
            assert answer["decision"] == "permit", answer

    asyncio.run(enrol())


@contextmanager
def bare() -> Iterator[int]:
    """The port of granian with the bare application, one worker, as the ledger is served."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "granian", "bare_asgi:application", "--port", str(port), *BARE_OPTIONS],
        cwd=ROOT / "bench",
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the bare application does not answer"
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)
