"""What the committer costs: events a second through it, beside the same rows inserted without deciding.

.venv/bin/python bench/append.py [--events 20000] [--folder .] [--json figures.json]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

import asyncpg
import msgspec
import uvloop
from consent_domain import merkle
from consent_domain.commands import ImportWorkspace, RegisterOrganisation
from consent_domain.instants import micros, moment_of
from consent_ledger.committer import Committer
from consent_ledger.database import STATEMENTS
from consent_ledger.erasures import Erasures
from consent_ledger.floors import Floors
from consent_ledger.identity import SystemIds
from consent_ledger.importer import Importer
from consent_ledger.key_ring import Principal
from consent_ledger.keystore import SqliteKeyStore
from consent_ledger.master_key import LocalMasterKey
from consent_ledger.opening import claim_origin, migrate_database
from consent_ledger.outcome import Outcome
from consent_ledger.sealing import Sealer
from consent_ledger.seams import Answered, Key, Known, Row
from consent_ledger.store import ROLE, PostgresStore
from consent_ledger.writer import Writer
from consent_plumbing.postgres import Pool, open_pool
from harness import Figure, arguments, durable_postgres, report

ORIGIN = "bench.local/ledger"
ADMIN = Principal("bench", "admin", None, None, "bench")
SUBMITTERS = 64
BATCHES = (1, 64, 100)
BATCH_EVENTS = 100


class Nobody:
    """Nobody hears of the commits: what a message costs is measured elsewhere."""

    async def publish(self, subject: str, payload: bytes) -> bool:
        """Dropped."""
        return False


class Databases:
    """Fresh ledgers on one server, each with a pool of its own."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._made = 0

    async def fresh(self) -> Pool:
        """A pool on a new ledger."""
        self._made += 1
        name = f"bench{self._made}"
        server = await asyncpg.connect(self._server_url)
        await server.execute(f"CREATE DATABASE {name}")
        await server.close()
        url = urlsplit(self._server_url)._replace(path=f"/{name}").geturl()
        await migrate_database(url)
        pool = await open_pool(url, "bench", role=ROLE, command_seconds_max=120.0)
        await claim_origin(pool, ORIGIN)
        return pool


async def through_the_committer(pool: Pool, keys: SqliteKeyStore, events: int, batch: int) -> float:
    """Events a second: SUBMITTERS at once, each giving `batch` commands, every command with a key."""
    store = PostgresStore(pool)
    committer = Committer(store, ORIGIN, Floors(lambda: 1 << 60), Nobody(), lambda batch: None)
    ids = SystemIds()
    writer = Writer(
        committer, store, Sealer(keys), Erasures(pool, keys, committer, ids), ids, lambda: 1 << 60
    )
    running = asyncio.create_task(committer.run())
    rounds = max(1, events // (SUBMITTERS * batch))
    commands = {
        (submitter, number): [
            RegisterOrganisation(organisation=f"o-{submitter}-{number}-{index}") for index in range(batch)
        ]
        for submitter in range(SUBMITTERS)
        for number in range(rounds)
    }

    async def submit(submitter: int) -> None:
        for number in range(rounds):
            names = [f"{submitter}-{number}/{index}" for index in range(batch)]
            for outcome in await give(commands[submitter, number], names):
                assert outcome.status == "applied", outcome

    async def give(many: Sequence[RegisterOrganisation], names: list[str]) -> list[Outcome]:
        if batch == 1:
            one = await writer.write(
                many[0], ADMIN, idempotency_key=names[0], expected_version=None, dry_run=False
            )
            return [one]
        return await writer.write_many(many, ADMIN, idempotency_keys=names, dry_run=False)

    started = time.perf_counter()
    await asyncio.gather(*(submit(submitter) for submitter in range(SUBMITTERS)))
    took = time.perf_counter() - started
    running.cancel()
    await asyncio.wait([running])
    await store.close()
    return rounds * SUBMITTERS * batch / took


async def recorded_rows(pool: Pool) -> tuple[list[Row], list[Answered]]:
    """What the committer recorded: the same rows for the limits."""
    async with pool.acquire() as connection:
        events = await connection.fetch("SELECT * FROM ledger.events ORDER BY position")
        kept = await connection.fetch("SELECT * FROM ledger.idempotency ORDER BY first_position")
    rows = [
        Row(e["stream"], e["version"], e["id"], e["type"], e["recorded_at"], e["body"], e["leaf_hash"])
        for e in events
    ]
    answered = [
        Answered(
            Key(k["principal"], k["key"]),
            Known(k["body_hash"], k["outcome"]),
            k["first_position"],
            k["last_position"],
        )
        for k in kept
    ]
    return rows, answered


async def inserted_without_deciding(
    pool: Pool, rows: list[Row], answered: list[Answered], batch: int
) -> float:
    """Events a second: the committer's own statements with rows that were made before."""
    store = PostgresStore(pool)
    size, hashes = 0, list[bytes]()
    ranges = []
    for start in range(0, len(rows), batch):
        for row in rows[start : start + batch]:
            size = merkle.append(size, hashes, row.leaf_hash)
        ranges.append(merkle.join(hashes))
    started = time.perf_counter()
    for number, start in enumerate(range(0, len(rows), batch)):
        some = rows[start : start + batch]
        keys = answered[start : start + batch]
        async with store.transaction() as transaction:
            head = await transaction.lock_head()
            await transaction.known([one.key for one in keys])
            await transaction.append(head, some, keys, micros(some[-1].recorded_at), ranges[number])
            await transaction.commit()
    took = time.perf_counter() - started
    await store.close()
    return len(rows) / took


def import_lines(count: int) -> list[bytes]:
    """Workspaces to import, a line each."""
    encode = msgspec.json.Encoder().encode
    since = moment_of(1_600_000_000_000_000)
    return [
        encode(ImportWorkspace(workspace=f"w-{n}", plan="free", region="eu", customer_since=since)) + b"\n"
        for n in range(count)
    ]


async def imported(pool: Pool, lines: list[bytes]) -> float:
    """Events a second through the importer, bytes to durable."""
    store = PostgresStore(pool)
    importer = Importer(store, ORIGIN, SystemIds(), Floors(lambda: 1 << 60), lambda batch: None)

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(lines), 500):
            yield b"".join(lines[start : start + 500])

    started = time.perf_counter()
    summary = await importer.run(parts(), ADMIN)
    took = time.perf_counter() - started
    assert summary.applied == len(lines), summary
    await store.close()
    return summary.events / took


async def copied(pool: Pool, rows: list[Row]) -> float:
    """Events a second: COPY of rows that were made before, with the indexes, in transactions as large."""
    columns = ("position", "stream", "version", "id", "type", "recorded_at", "body", "leaf_hash")
    started = time.perf_counter()
    async with pool.acquire() as connection:
        for start in range(0, len(rows), 4_000):
            await connection.copy_records_to_table(
                "events",
                schema_name="ledger",
                columns=columns,
                records=[(n, *row) for n, row in enumerate(rows[start : start + 4_000], start + 1)],
            )
        await connection.execute(STATEMENTS["analyze_events"])
    return len(rows) / (time.perf_counter() - started)


async def measure(server_url: str, keys: SqliteKeyStore, events: int) -> list[Figure]:
    """All figures, each on a fresh ledger."""
    databases = Databases(server_url)
    limits = {}
    figures = []
    for batch in BATCHES:
        pool = await databases.fresh()
        rate = await through_the_committer(pool, keys, events if batch > 1 else events // 4, batch)
        rows, answered = await recorded_rows(pool)
        await pool.close()
        transaction = 256 if batch > 1 else SUBMITTERS
        limit_pool = await databases.fresh()
        limits[batch] = await inserted_without_deciding(limit_pool, rows, answered, transaction)
        await limit_pool.close()
        figures.append(
            Figure(
                f"committer, {SUBMITTERS} submitters, {batch} a call",
                rate,
                "events",
                f"insert of the same rows, {transaction} a commit",
                limits[batch],
            )
        )
    pool = await databases.fresh()
    rate = await imported(pool, import_lines(events * 2))
    rows, _ = await recorded_rows(pool)
    await pool.close()
    limit_pool = await databases.fresh()
    limit = await copied(limit_pool, rows)
    await limit_pool.close()
    figures.append(Figure("import", rate, "events", "COPY", limit, reach=0.5))
    return figures


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000)
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        Path(name).chmod(0o711)
        keystore = Path(name) / "keys.sqlite"
        keys = SqliteKeyStore(keystore, LocalMasterKey(b"\1" * 32))
        with durable_postgres(Path(name) / "server") as url:
            figures = uvloop.run(measure(url, keys, given.events))
        report("append", figures, Path(name), given.json)


if __name__ == "__main__":
    main()
