"""What tests of the write path share: a writer on a real database, an audit of it, and ways to crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec
from consent_domain import merkle
from consent_domain.batch import Committed, decode_committed
from consent_domain.commands import (
    Applicant,
    Command,
    EnrolWorkspace,
    OpenLedger,
    PublishPolicy,
    RequestOptOut,
)
from consent_domain.events import Scope
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_ledger.committer import Committer
from consent_ledger.erasures import Erasures
from consent_ledger.floors import Floors
from consent_ledger.identity import SystemIds
from consent_ledger.key_ring import Principal
from consent_ledger.keystore import KeyStore
from consent_ledger.opening import claim_origin
from consent_ledger.outcome import Outcome
from consent_ledger.sealing import Sealer
from consent_ledger.seams import Store
from consent_ledger.store import ROLE, PostgresStore
from consent_ledger.unsealing import Unsealer
from consent_ledger.writer import Writer
from consent_plumbing.postgres import Pool, open_pool

ORIGIN = "test.local/ledger"
ADMIN = Principal("ada", "admin", None, None, "Ada")
OTHER = Principal("bo", "admin", None, None, "Bo")


def enrol(workspace: str, plan: str = "free") -> EnrolWorkspace:
    return EnrolWorkspace(workspace=workspace, plan=plan, region="eu")


def opt_out(workspace: str, subject: str = "") -> RequestOptOut:
    applicant = Applicant(role="owner", authority="verified", subject=subject)
    scope = Scope(kind="workspace", id=workspace)
    return RequestOptOut(scope=scope, selector=Selector(all=True), applicant=applicant)


class Ear:
    """A publisher that keeps what it was given."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def publish(self, subject: str, payload: bytes) -> bool:
        assert subject == "consent.v1.committed"
        self.messages.append(payload)
        return True

    @property
    def batches(self) -> list[Committed]:
        return [decode_committed(message) for message in self.messages]


@dataclass
class Desk:
    """A writer with its committer running, on a pool of its own, as one process has it."""

    pool: Pool
    store: Store
    committer: Committer
    writer: Writer
    floors: Floors
    ear: Ear
    committed: list[Committed]
    erasures: Erasures
    unsealer: Unsealer
    replica: list[int] = field(default_factory=lambda: [1 << 60])

    async def write(
        self,
        command: Command,
        principal: Principal = ADMIN,
        key: str | None = None,
        expected_version: int | None = None,
        dry_run: bool = False,
    ) -> Outcome:
        return await self.writer.write(
            command, principal, idempotency_key=key, expected_version=expected_version, dry_run=dry_run
        )


@asynccontextmanager
async def desk(
    url: str,
    around: Callable[[PostgresStore], Store] = lambda store: store,
    keys: KeyStore | None = None,
    running: bool = True,
    **limits: Any,
) -> AsyncIterator[Desk]:
    pool = await open_pool(url, "desk", role=ROLE)
    await claim_origin(pool, ORIGIN)
    real = PostgresStore(pool)
    store = around(real)
    ear = Ear()
    committed: list[Committed] = []
    replica = [1 << 60]
    floors = Floors(lambda: replica[0])
    committer = Committer(store, ORIGIN, floors, ear, committed.append, **limits)
    # Most tests write nothing that needs keys.
    sealer, ids = Sealer(keys), SystemIds()  # type: ignore[arg-type]
    erasures = Erasures(pool, keys, committer, ids)  # type: ignore[arg-type]
    writer = Writer(committer, store, sealer, erasures, ids, lambda: replica[0])
    task = asyncio.create_task(committer.run()) if running else None
    try:
        yield Desk(
            pool,
            store,
            committer,
            writer,
            floors,
            ear,
            committed,
            erasures,
            Unsealer(pool, sealer, erasures),
            replica,
        )
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await real.close()
        await asyncio.wait_for(pool.close(), 10)


async def fetch(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=20)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close(timeout=10)


async def audit(url: str) -> int:
    """Recompute everything from the stored bytes; the number of events. Any gap or difference fails."""
    rows = await fetch(url, "SELECT * FROM ledger.events ORDER BY position")
    (head,) = await fetch(url, "SELECT * FROM ledger.head")
    size, hashes = 0, list[bytes]()
    versions: dict[str, int] = {}
    last = None
    for number, row in enumerate(rows, 1):
        body = msgspec.json.decode(row["body"])
        assert row["position"] == number, "positions are gapless"
        versions[row["stream"]] = versions.get(row["stream"], 0) + 1
        assert row["version"] == versions[row["stream"]], "versions of a stream are gapless"
        assert (body["sequence"], body["subject"]) == (f"{number:020d}", row["stream"])
        assert (body["id"], body["type"]) == (str(row["id"]), row["type"])
        assert body["source"] == head["origin"]
        assert body["time"] == row["recorded_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert last is None or row["recorded_at"] > last, "time strictly increases"
        last = row["recorded_at"]
        assert merkle.leaf_hash(row["body"]) == row["leaf_hash"]
        size = merkle.append(size, hashes, row["leaf_hash"])
    assert (head["position"], head["range"]) == (size, merkle.join(hashes))
    assert last is None or head["recorded_at"] == last
    return size


async def terminate(url: str, application: str = "desk") -> None:
    """Kill every connection of the desks, as a crash of the server or the network would."""
    await fetch(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = $1 AND datname = current_database()",
        application,
    )


STEPS = ("lock_head", "known", "streams", "append", "commit")


class Interrupted:
    """A store whose transactions do something before or after one of their steps, once."""

    def __init__(
        self, store: PostgresStore, step: str, before: Callable[[], Awaitable[None]], after: bool = False
    ) -> None:
        self._store = store
        self._step = step
        self._act = before
        self._after = after
        self.armed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._store.transaction() as transaction:
            yield _Interrupted(self, transaction)


class _Interrupted:
    def __init__(self, store: Interrupted, transaction: Any) -> None:
        self._store = store
        self._transaction = transaction

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._transaction, name)
        store = self._store
        if name != store._step or not store.armed:
            return method

        async def interrupted(*arguments: Any) -> Any:
            store.armed = False
            if not store._after:
                await store._act()
            result = await method(*arguments)
            if store._after:
                await store._act()
            return result

        return interrupted


PURPOSE = Purpose(
    key="train.generative",
    processing="train",
    reach="global",
    model_class="generative",
    recipient="first_party",
    categories=["messages"],
    legal_basis="legitimate_interest",
    justification="Better answers.",
)
RULES = PolicyRules(purposes=[PURPOSE], rules=[Rule(selector=Selector(all=True), regime="opt_in")])

__all__ = [
    "ADMIN",
    "ORIGIN",
    "OTHER",
    "RULES",
    "STEPS",
    "Desk",
    "Interrupted",
    "OpenLedger",
    "PublishPolicy",
    "audit",
    "desk",
    "enrol",
    "fetch",
    "opt_out",
    "terminate",
]
