"""The parts of one worker process: what it opens, keeps running, and closes again.

Starting needs neither PostgreSQL nor NATS: until they answer, writes are refused as `unavailable`
and checks are answered from the replica for as long as it is fresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from consent_domain.batch import Committed, encode_committed
from consent_domain.errors import ConsentError
from consent_gate.answers import milliseconds
from consent_gate.gate import Gate
from consent_gate.rendering import Renderer
from consent_gate.replica import Replica
from consent_gate.signatures import Signer
from consent_plumbing.nats import COMMITTED_SUBJECT, Bus
from consent_plumbing.postgres import Pool, open_pool

from consent_ledger.books import Books
from consent_ledger.committer import Committer
from consent_ledger.erasures import Erasures
from consent_ledger.feed import Feed
from consent_ledger.floors import Floors
from consent_ledger.following import LedgerFollowing
from consent_ledger.http.log import witnesses_of
from consent_ledger.http.messages import Health, LogHealth
from consent_ledger.identity import SystemIds
from consent_ledger.importer import Importer
from consent_ledger.key_files import load_signer
from consent_ledger.key_ring import KeyRing
from consent_ledger.keystore import SqliteKeyStore
from consent_ledger.log.condition import Condition, condition_of
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.guard import Guard
from consent_ledger.log.halting import Halting
from consent_ledger.log.proving import Proofs, Prover
from consent_ledger.master_key import load_master_key
from consent_ledger.opening import claim_origin
from consent_ledger.runs.registration import VERIFYING_MAX
from consent_ledger.sealing import Sealer
from consent_ledger.seams import StoreUnavailable
from consent_ledger.settings import LedgerSettings
from consent_ledger.snapshots import Snapshots
from consent_ledger.store import ROLE, PostgresStore
from consent_ledger.unsealing import Unsealer
from consent_ledger.writer import Writer

AGAIN_SECONDS = 1.0
HEALTH_SECONDS_MAX = 2.0
POOL_CLOSE_SECONDS_MAX = 5.0
FILE_THREADS_MAX = 2

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Worker:
    """What answering needs."""

    settings: LedgerSettings
    pool: Pool
    keys: KeyRing
    store: PostgresStore
    committer: Committer
    writer: Writer
    importer: Importer
    floors: Floors
    replica: Replica
    gate: Gate
    renderer: Renderer
    feed: Feed
    snapshots: Snapshots
    keystore: SqliteKeyStore
    erasures: Erasures
    unsealer: Unsealer
    log: LogFolder
    halting: Halting
    prover: Prover
    books: Books
    bus: Bus
    files: ThreadPoolExecutor
    signer: Signer
    verifying: asyncio.Semaphore

    @classmethod
    @asynccontextmanager
    async def running(cls, settings: LedgerSettings) -> AsyncIterator[Worker]:
        """A worker whose tasks run until the context is left.

        Raises ConsentError for key files that are missing or wrong, or a replica folder that others may write
        into, OSError for one that cannot be made; nothing else that is down keeps it from starting.
        """
        signer = load_signer(Path(settings.feed_key_file), settings.origin)
        master = load_master_key(settings.master_key_path)
        keystore = await asyncio.to_thread(SqliteKeyStore, Path(settings.keystore_file), master)
        replica = Replica.open(settings.replica_folder, source=f"log {settings.origin}")
        pool = await open_pool(
            settings.database_url, "consent-ledger", settings.database_connections_max, role=ROLE
        )
        bus = Bus(settings.nats_url, "consent-ledger")
        following = LedgerFollowing(replica, settings.database_url, settings.origin)
        await bus.hint(COMMITTED_SUBJECT, following.wake)
        floors = Floors(lambda: replica.position)
        log = LogFolder(settings.log_folder)
        halting = Halting(log)
        gate = Gate(
            replica,
            max_staleness=settings.max_staleness_ms / 1000,
            floors=floors,
            following=following,
            halted=halting,
        )
        store = PostgresStore(pool)
        guard = Guard(log)
        committer = Committer(
            store,
            settings.origin,
            floors,
            bus,
            _telling(following),
            require_current=guard.require_current,
        )
        # It holds a transaction of its own for as long as a chunk takes.
        importing = PostgresStore(pool)
        ids = SystemIds()
        sealer = Sealer(keystore)
        erasures = Erasures(pool, keystore, committer, ids)
        snapshots = Snapshots(
            settings.snapshots_path,
            settings.database_url,
            pool,
            signer,
            60 * settings.snapshot_minutes,
            halting.require_sound,
        )
        worker = cls(
            settings,
            pool,
            KeyRing(pool),
            store,
            committer,
            Writer(committer, store, sealer, erasures, ids, gate.position),
            Importer(importing, settings.origin, ids, floors, _telling(following), guard.require_current),
            floors,
            replica,
            gate,
            Renderer(),
            Feed(pool, signer, halting.require_sound),
            snapshots,
            keystore,
            erasures,
            Unsealer(pool, sealer, erasures),
            log,
            halting,
            Prover(Proofs(log)),
            Books(),
            bus,
            ThreadPoolExecutor(FILE_THREADS_MAX, "log files"),
            signer,
            asyncio.Semaphore(VERIFYING_MAX),
        )
        tasks = [
            asyncio.create_task(kept_running("api_keys", worker.keys.run)),
            asyncio.create_task(kept_running("committer", committer.run)),
            asyncio.create_task(kept_running("erasures", erasures.run)),
            asyncio.create_task(_claim(pool, settings.origin)),
        ]
        try:
            yield worker
        finally:
            # The committer finishes the batch under way; what waits is told to come again.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(gate.close)
            await snapshots.close()
            worker.files.shutdown(wait=False, cancel_futures=True)
            await importing.close()
            await store.close()
            await bus.close()
            await _close(pool)

    async def health(self) -> Health:
        """Whether checks are answered and writes recorded, as far as can be known without one. Within 2 s."""
        status = self.gate.status()
        failures = []
        condition = None
        if status.state != "live":
            failures.append(f"gate: {status.state}" + (f", {status.why}" if status.why else ""))
        try:
            async with asyncio.timeout(HEALTH_SECONDS_MAX):
                head = await self.store.read_head()
                condition = await condition_of(self.log, self.pool, head)
            if head.origin != self.settings.origin:
                failures.append(f"database: it holds the ledger {head.origin!r}")
        except (StoreUnavailable, TimeoutError):
            failures.append("database: it cannot be reached, or is not migrated")
        halt = self.halting.why()
        if condition is not None:
            failures += condition.failures
        elif halt is not None:
            failures.append(f"log: halted ({halt.reason}): {halt.detail}")
        if not self.keys.is_current:
            failures.append("api keys: they have not been read for 30 s")
        if self.erasures.failure is not None:
            failures.append(self.erasures.failure)
        staleness = 0 if status.staleness is None else milliseconds(status.staleness)
        return Health(
            status="failing" if failures else "ok",
            failures=failures,
            position=str(status.position),
            staleness_ms=staleness,
            log=None if condition is None else _log_health(condition),
        )


def _log_health(condition: Condition) -> LogHealth:
    status = condition.status
    return LogHealth(
        size=str(condition.size),
        behind_ms=milliseconds(condition.behind_seconds),
        published_at="" if status is None else status.published_at,
        witnessed_size="" if status is None else str(status.witnessed_size),
        lacking="" if status is None else status.lacking,
        witnesses=witnesses_of(status),
    )


def _telling(following: LedgerFollowing) -> Callable[[Committed], None]:
    def tell(batch: Committed) -> None:
        for message in encode_committed(batch):
            following.hear(message)

    return tell


async def kept_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a task for ever: one that fails or ends is logged and begun again, a second later."""
    while True:
        try:
            await run()
            _log.error("task_ended", task=name)
        except Exception as error:
            _log.error("task_failed", task=name, exc_info=error)
        await asyncio.sleep(AGAIN_SECONDS)


async def _claim(pool: Pool, origin: str) -> None:
    """Give a new ledger its origin, as soon as the database answers; a wrong one is said every second."""
    while True:
        try:
            return await claim_origin(pool, origin)
        except ConsentError as error:
            _log.error("wrong_ledger", detail=error.detail)
        except Exception as error:
            _log.warning("database_unreachable", error=type(error).__name__)
        await asyncio.sleep(AGAIN_SECONDS)


async def _close(pool: Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), POOL_CLOSE_SECONDS_MAX)
    except (TimeoutError, OSError):
        pool.terminate()
