"""A ledger with its projector, and manifests of runs on it, for tests of what runs claim and owe."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from consent_gate.gate import Gate
from consent_gate.signatures import Verifier
from consent_ledger.settings import LedgerSettings
from consent_plumbing.postgres import open_pool
from consent_projector.clock import MonotonicClock
from consent_projector.consumer import Consumer, State
from consent_projector.hints import Hints
from consent_projector.store import ROLE, PostgresStore
from consent_projector.table import Table
from consent_projector.views import VIEWS
from http_service import (
    ORIGIN,
    Caller,
    client_of,
    enrol,
    in_process,
    make_keys,
    publish_first_policy,
    settings_for,
)
from pyroaring import BitMap64

PURPOSE = "ranking.train"
OWNER = {"role": "owner", "authority": "verified"}
OWNERS = tuple(("workspace", name) for name in ("acme", "other", "elder", "reserved"))


class Registry:
    """The ledger's API, and what a pipeline knows of it."""

    def __init__(self, call: Caller, settings: LedgerSettings, verifier: Verifier, gate: Gate) -> None:
        self.call = call
        self.settings = settings
        self.database_url = settings.database_url
        self.verifier = verifier
        self.gate = gate
        self.ordinals: dict[str, int] = {}

    async def enrol(self, *names: str, **more: str) -> None:
        """Enrol workspaces."""
        for name in names:
            await enrol(self.call, name, **more)
            state = await self.call.done("GET", f"/v1/workspaces/{name}", "admin")
            self.ordinals[name] = int(state["enrolledPosition"])

    async def moment(self) -> dict[str, str]:
        """The token and ledger time of an answer that the ledger gives now."""
        asked = {"workspace": "acme", "purpose": PURPOSE, "knownAt": (await self.token())}
        answer = await self.call.done("POST", "/v1/check", "pipeline", json=asked)
        return {"token": answer["token"], "at": answer["ledgerTime"]}

    async def token(self) -> str:
        """The end of the log."""
        return str((await self.call.done("GET", "/v1/purposes"))["token"])

    async def opt_out(self, name: str, reach: Iterable[str] = ("datasets", "models")) -> dict[str, Any]:
        """An owner's opt-out of everything."""
        body = {"selector": {"all": True}, "applicant": OWNER, "reach": list(reach)}
        return await self.call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=body)

    async def manifest(self, run: str, names: Iterable[str], **more: Any) -> dict[str, Any]:
        """A body for `POST /v1/runs` that claims the permits of `names` as of now."""
        return self.body(run, [self.ordinals[name] for name in names], **(await self.moment()), **more)

    def body(self, run: str, ordinals: Iterable[int], **more: Any) -> dict[str, Any]:
        """A body for `POST /v1/runs`; members of None are left out."""
        bits = BitMap64(ordinals)
        data = more.pop("data", bits.serialize())
        manifest = {
            "format": "consent-manifest.v1",
            "run": run,
            "purpose": PURPOSE,
            "categories": [],
            "policyVersion": "2025-01",
            "mode": "server",
            "collected": "unstated",
            "workspaces": str(len(bits)),
            "setSha256": hashlib.sha256(data).hexdigest(),
            "outputs": [
                {"kind": "dataset", "uri": f"s3://{run}"},
                {"kind": "model", "uri": f"models:/{run}", "version": "1"},
            ],
            **more,
        }
        manifest = {name: value for name, value in manifest.items() if value is not None}
        return {"manifest": manifest, "set": b64encode(data).decode()}

    async def post(self, body: dict[str, Any], by: str = "pipeline", **how: Any) -> httpx.Response:
        """Register."""
        return await self.call("POST", "/v1/runs", by, json=body, **how)

    async def register(self, run: str, names: Iterable[str], **more: Any) -> dict[str, Any]:
        """Register a run that must be taken; its answer."""
        answer = await self.post(await self.manifest(run, names, **more))
        assert answer.status_code == 201, answer.text
        await self.projected()
        told: dict[str, Any] = answer.json()
        return told

    async def refused(self, body: dict[str, Any], code: str = "manifest_refused") -> dict[str, Any]:
        """The problem with which a body must be refused."""
        answer = await self.post(body)
        told: dict[str, Any] = answer.json()
        assert told.get("code") == code, answer.text
        return told

    async def projected(self) -> None:
        """Wait until every view has got to the end of the log."""
        end = int((await self.token()).rpartition("/")[2])
        async with asyncio.timeout(20):
            while True:
                pool = await open_pool(self.database_url, "looking", role=ROLE)
                try:
                    behind = await pool.fetchval(
                        "SELECT count(*) FROM views.cursors WHERE position < $1 AND view <> 'relay'", end
                    )
                finally:
                    await pool.close()
                if not behind:
                    return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def registry(database_url: str, nats_url: str, folder: Path) -> AsyncIterator[Registry]:
    """A ledger under a policy with the workspaces `acme`, `other` and `third`, and its projector at work."""
    keys = await make_keys(database_url, *OWNERS)
    settings = settings_for(folder, database_url, nats_url)
    async with in_process(settings) as dispatcher, client_of(dispatcher) as client:
        pool = await open_pool(database_url, "projector", connections_max=8, role=ROLE)
        projecting = [asyncio.create_task(_project(pool, name)) for name in VIEWS]
        call = Caller(client, keys)
        try:
            await publish_first_policy(call)
            worker = dispatcher.worker
            assert worker is not None, "it is started"
            found = Registry(call, settings, worker.signer.verifier, worker.gate)
            await found.enrol("acme", "other", "third")
            yield found
        finally:
            for task in projecting:
                task.cancel()
            await asyncio.gather(*projecting, return_exceptions=True)
            pool.terminate()


async def _project(pool: Any, name: str) -> None:
    store = PostgresStore(pool)
    consumer = Consumer(Table(VIEWS[name], store), store, MonotonicClock(), Hints(ORIGIN), "one", 100)
    while True:
        if (await consumer.step()).state is not State.APPLIED:
            await asyncio.sleep(0.01)
