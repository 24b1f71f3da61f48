"""The ledger's HTTP API for its tests: in this process over ASGI, or as a server of its own on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx
from consent_gate.seeds import make_seed
from consent_ledger.api_keys import create_key
from consent_ledger.application import application
from consent_ledger.http.dispatcher import Dispatcher
from consent_ledger.log.keys import make_log_key
from consent_ledger.log.signer import SignerState
from consent_ledger.master_key import ensure_master_key
from consent_ledger.settings import LedgerSettings

ORIGIN = "consent.test/ledger"
START_SECONDS_MAX = 30.0
IN_FORCE_SECONDS = 1.2
"""How long publishing the first policy may take: it may not be in force before it is recorded."""
STAFF = {"role": "staff", "authority": "verified"}
RULES: dict[str, Any] = {
    "purposes": [
        {
            "key": "ranking.train",
            "processing": "train",
            "reach": "global",
            "modelClass": "non_generative",
            "recipient": "first_party",
            "categories": ["messages"],
            "legalBasis": "legitimate_interest",
            "justification": "Search results are ordered by what people opened before.",
        },
        {
            "key": "ranking.serve",
            "processing": "serve",
            "reach": "workspace",
            "modelClass": "non_generative",
            "recipient": "first_party",
            "categories": ["messages"],
            "legalBasis": "contract",
            "justification": "Search works in the workspace.",
        },
        {
            "key": "assistant.train",
            "processing": "train",
            "reach": "global",
            "modelClass": "generative",
            "recipient": "first_party",
            "categories": ["messages"],
            "legalBasis": "consent",
            "justification": "An assistant learns to write.",
        },
    ],
    "rules": [
        {"selector": {"keys": ["assistant.train"]}, "regime": "opt_in"},
        {"selector": {"all": True}, "regime": "opt_out"},
    ],
    "deadlines": [{"id": "month", "days": 30, "extensionDays": 60, "law": "GDPR art. 12(3)"}],
    "rejectionReasons": ["duplicate", "no_authority", "manifestly_unfounded"],
}
POLICY: dict[str, Any] = {
    "version": "2025-01",
    "title": "How we use your data",
    "textSha256": "ab" * 32,
    "direction": "looser",
    "why": "the first version",
    "rules": RULES,
}
"""A policy as `POST /v1/policies` takes it, but for `effectiveAt` and `notice`."""


def settings_for(folder: Path, database_url: str, nats_url: str, **more: Any) -> LedgerSettings:
    """Settings for a ledger whose files lie in `folder`, made there if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    make_seed(folder / "feed.key")
    ensure_master_key(folder / "master.key")
    return LedgerSettings(
        database_url=database_url,
        nats_url=nats_url,
        origin=ORIGIN,
        feed_key_file=str(folder / "feed.key"),
        master_key_file=str(folder / "master.key"),
        keystore_file=str(folder / "keystore.sqlite"),
        replica_folder=str(folder / "replica"),
        log_folder=str(folder / "log"),
        **more,
    )


async def make_keys(database_url: str, *owners: tuple[str, str]) -> dict[str, str]:
    """An API key for each role of staff, and one `kind/id` for each owner's scope."""
    connection = await asyncpg.connect(database_url, timeout=10, command_timeout=30)
    try:
        keys = {role: await create_key(connection, role, role) for role in ("admin", "auditor", "pipeline")}
        keys["second admin"] = await create_key(connection, "admin", "second admin")
        keys["admin's other key"] = await create_key(
            connection, "admin", "other", principal=f"key-{keys['admin'][5:13]}"
        )
        keys["unsealing auditor"] = await create_key(connection, "auditor", "unseals", may_unseal=True)
        for owner in owners:
            keys["/".join(owner)] = await create_key(connection, "owner", "/".join(owner), owner)
        return keys
    finally:
        await connection.close(timeout=10)


class Caller:
    """Calls the API with the keys by their names."""

    def __init__(self, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
        self.client = client
        self.keys = keys

    async def __call__(
        self, method: str, path: str, by: str | None = "admin", **given: Any
    ) -> httpx.Response:
        """One call; `json=`, `content=`, `headers=` and `params=` as httpx takes them."""
        headers = dict(given.pop("headers", {}))
        if by is not None:
            headers.setdefault("authorization", f"Bearer {self.keys[by]}")
        return await self.client.request(method, path, headers=headers, **given)

    async def done(self, method: str, path: str, by: str = "admin", **given: Any) -> dict[str, Any]:
        """The answer to a call that must succeed."""
        answer = await self(method, path, by, **given)
        assert answer.status_code < 300, answer.text
        told: dict[str, Any] = answer.json()
        return told


class Service(NamedTuple):
    """The application, callers of it (`call`: as served; `behind`: past the dispatcher), its database."""

    dispatcher: Dispatcher
    call: Caller
    behind: Caller
    database_url: str


@asynccontextmanager
async def in_process(settings: LedgerSettings) -> AsyncIterator[Dispatcher]:
    """The application, started and live, in this process."""
    dispatcher = application(settings)
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:  # in one task from start to end, as a server runs it
        async with dispatcher.behind.lifespan():
            started.set()
            await stop.wait()

    living = asyncio.create_task(live())
    starting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait([living, starting], return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
        async with client_of(dispatcher) as client:
            await until_ready(client)
        yield dispatcher
    finally:
        stop.set()
        starting.cancel()
        await living


def client_of(application: Any) -> httpx.AsyncClient:
    """A client of an ASGI application."""
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://ledger.test", timeout=20)


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait until the service is ready. Raises AssertionError with what it says after 30 s."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            answer = await client.get("/health/ready")
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return
        said = "nothing" if answer is None else answer.text
        assert time.monotonic() < deadline, f"not ready after {START_SECONDS_MAX:.0f} s: {said}"
        await asyncio.sleep(0.05)


async def publish_first_policy(call: Caller) -> None:
    """A policy that is in force at once, under which all but one purpose is on by default."""
    now = (await call.done("GET", "/v1/purposes"))["token"]
    assert now
    effective = datetime.fromtimestamp(time.time() + IN_FORCE_SECONDS, UTC).isoformat()
    notice = {"givenAt": "2025-01-01T00:00:00Z", "channel": "email"}
    await call.done("POST", "/v1/policies", json={**POLICY, "effectiveAt": effective, "notice": notice})
    await asyncio.sleep(IN_FORCE_SECONDS + 0.1)


async def enrol(call: Caller, name: str, **more: str) -> dict[str, object]:
    """Enrol a workspace."""
    return await call.done(
        "POST", "/v1/workspaces", json={"workspace": name, "plan": "business", "region": "eu", **more}
    )


# -- a server of its own -------------------------------------------------------------------------------------


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def environment_of(settings: LedgerSettings) -> dict[str, str]:
    """The environment that a process reads these settings from."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_")}
    ours = {f"CONSENT_{name.upper()}": str(getattr(settings, name)) for name in settings.__struct_fields__}
    return inherited | ours


def command(*arguments: str) -> list[str]:
    """A call of `consent-ledger`."""
    return [sys.executable, "-m", "consent_ledger.main", *arguments]


@contextmanager
def publisher(settings: LedgerSettings, policy: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """`consent-ledger publish` as a process, with a key made beside the log's folder; ended at the end.

    `policy` is the file of its witness policy.
    """
    folder = Path(settings.log_folder).parent
    key, state = folder / "log.key", folder / "signer.sqlite"
    if not key.exists():
        make_log_key(key, SignerState(state), settings.origin)
    environment = environment_of(settings)
    environment |= {"CONSENT_LOG_KEY_FILE": str(key), "CONSENT_SIGNER_STATE_FILE": str(state)}
    environment |= {"CONSENT_WITNESS_POLICY_FILE": str(policy)} if policy else {}
    with (folder / "publisher.log").open("ab") as output:
        process = subprocess.Popen(
            command("publish"), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        _end(process)


@contextmanager
def server(
    settings: LedgerSettings, port: int, log: Path, workers: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """`consent-ledger serve` as a process; ended at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command("serve", "--port", str(port), "--workers", str(workers)),
            env=environment_of(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
