"""Whether appending costs more on a large log: opt-outs through the committer, beside those on a small one.

    .venv/bin/python bench/growth.py                         10,000 and 1,000,000 events
    .venv/bin/python bench/growth.py --events 10000000       as design: about half an hour, mostly importing

Both logs are imported: a policy, and workspaces that are on by default. Then workspaces that are
drawn at random opt out, 64 at once, a commit for whoever waits, in turns on the small log and the
large one: each opt-out reads its workspace's stream, wherever in the log that lies.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import asyncpg
import msgspec
import uvloop
from append import ADMIN, ORIGIN, SUBMITTERS, Databases, Nobody
from consent_domain.commands import Applicant, ImportWorkspace, RequestOptOut
from consent_domain.events import Scope
from consent_domain.instants import moment_of
from consent_domain.purposes import Selector
from consent_ledger.committer import Committer
from consent_ledger.database import STATEMENTS
from consent_ledger.erasures import Erasures
from consent_ledger.floors import Floors
from consent_ledger.identity import SystemIds
from consent_ledger.importer import Importer
from consent_ledger.keystore import SqliteKeyStore
from consent_ledger.master_key import LocalMasterKey
from consent_ledger.sealing import Sealer
from consent_ledger.store import PostgresStore
from consent_ledger.writer import Writer
from consent_plumbing.postgres import Pool
from harness import Figure, arguments, durable_postgres, report
from http_service import POLICY

SMALL = 10_000
ROUNDS = 4
ROUND_COMMANDS = 1_024
COMMANDS = ROUNDS * ROUND_COMMANDS
EVENTS_A_WORKSPACE = 2
"""Its enrolment, and that it is on by default."""
PART_LINES = 2_000
SHARE_MIN = 1 / 1.2
"""Appending may cost 1.2 times as much on the large log as on the small one."""


encode = msgspec.json.Encoder().encode


def policy_line() -> bytes:
    """The policy under which everybody is on, as it is imported."""
    times = {"publishedAt": "2020-01-01T00:00:00Z", "effectiveAt": "2020-01-02T00:00:00Z"}
    return encode({"command": "import-policy", **POLICY, **times}) + b"\n"


def workspace_line(number: int) -> bytes:
    """A customer for years, as it is imported."""
    since = moment_of(1_600_000_000_000_000)
    return encode(ImportWorkspace(workspace=f"w-{number}", plan="free", region="eu", customer_since=since))


async def filled(pool: Pool, events: int) -> float:
    """Import a log of about so many events; how many a second that were."""
    store = PostgresStore(pool)
    importer = Importer(store, ORIGIN, SystemIds(), Floors(lambda: 1 << 60), lambda batch: None)
    workspaces = events // EVENTS_A_WORKSPACE

    async def parts() -> AsyncIterator[bytes]:
        yield policy_line()
        for start in range(0, workspaces, PART_LINES):
            lines = map(workspace_line, range(start, min(start + PART_LINES, workspaces)))
            yield b"".join(line + b"\n" for line in lines)

    started = time.perf_counter()
    summary = await importer.run(parts(), ADMIN)
    assert summary.applied == workspaces + 1, summary
    await store.close()
    async with pool.acquire() as connection:
        await connection.execute(STATEMENTS["analyze_events"])
    return summary.events / (time.perf_counter() - started)


class Log:
    """A log of some size with its committer, and workspaces of it that have not opted out yet."""

    def __init__(self, pool: Pool, keys: SqliteKeyStore, events: int) -> None:
        self.events = events
        self.rates: list[float] = []
        self._store = PostgresStore(pool)
        committer = Committer(self._store, ORIGIN, Floors(lambda: 1 << 60), Nobody(), lambda batch: None)
        ids = SystemIds()
        erasures = Erasures(pool, keys, committer, ids)
        self._writer = Writer(committer, self._store, Sealer(keys), erasures, ids, lambda: 1 << 60)
        self._running = asyncio.create_task(committer.run())
        self._left = iter(random.Random(events).sample(range(events // EVENTS_A_WORKSPACE), COMMANDS))

    async def round(self) -> None:
        """Opt-outs, SUBMITTERS at once, each with a key; keeps how many a second they were."""
        numbers = iter([next(self._left) for _ in range(ROUND_COMMANDS)])
        started = time.perf_counter()
        await asyncio.gather(*(self._submit(numbers) for _ in range(SUBMITTERS)))
        self.rates.append(ROUND_COMMANDS / (time.perf_counter() - started))

    async def _submit(self, numbers: Iterator[int]) -> None:
        applicant = Applicant(role="owner", authority="verified")
        for number in numbers:
            scope = Scope(kind="workspace", id=f"w-{number}")
            command = RequestOptOut(scope=scope, selector=Selector(all=True), applicant=applicant)
            outcome = await self._writer.write(
                command, ADMIN, idempotency_key=scope.id, expected_version=None, dry_run=False
            )
            assert outcome.status == "applied", outcome

    async def close(self) -> None:
        """End its committer."""
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._store.close()


async def measure(server_url: str, keys: SqliteKeyStore, events: int) -> list[Figure]:
    """The rates on both logs, the median of rounds in turns; the first round of each warms up."""
    databases = Databases(server_url)
    logs = []
    for size in (SMALL, events):
        pool = await databases.fresh()
        rate = await filled(pool, size)
        print(f"{size:,} events imported, {rate:,.0f} a second", file=sys.stderr, flush=True)
        logs.append(Log(pool, keys, size))
    server = await asyncpg.connect(server_url)
    await server.execute("CHECKPOINT")  # what filling left to be written is not the rounds' to pay
    await server.close()
    for _ in range(ROUNDS):
        for log in logs:
            await log.round()
    for log in logs:
        await log.close()
    small, large = (median(log.rates[1:]) for log in logs)
    what, limit = f"append on a log of {events:,} events", f"on a log of {SMALL:,}"
    return [Figure(what, large, "events", limit, small, reach=SHARE_MIN)]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="how large the large log is")
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        Path(name).chmod(0o711)
        keys = SqliteKeyStore(Path(name) / "keys.sqlite", LocalMasterKey(b"\1" * 32))
        with durable_postgres(Path(name) / "server") as url:
            figures = uvloop.run(measure(url, keys, given.events))
        report("Append cost and the size of the log", figures, Path(name), given.json)


if __name__ == "__main__":
    main()
