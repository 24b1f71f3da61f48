"""The suite of sources on PostgreSQL: by events, and by the view of facts to begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest_asyncio
from consent_gate.sources import ClosableSource
from consent_ledger.following import Heard, PostgresSource
from relay import Relay
from scenario import Command
from source_suite import Side, SourceSuite
from stored_ledger import Stored, stored_ledger

PUT_BACK = "INSERT INTO ledger.events VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
CLOCK = """
CREATE SCHEMA IF NOT EXISTS false_clock;
CREATE OR REPLACE FUNCTION false_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
$$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$;
ALTER DATABASE {database} SET search_path = false_clock, public, pg_catalog;
"""


class PostgresSide(Side):
    """A story in PostgreSQL, followed through a relay; `superuser` is stopped by no trigger."""

    def __init__(
        self, stored: Stored, relay: Relay, superuser: asyncpg.Connection[asyncpg.Record], url: str
    ) -> None:
        self.stored = stored
        self.relay = relay
        self.superuser = superuser
        self._url = url
        self._taken: list[asyncpg.Record] = []
        self._head: asyncpg.Record | None = None
        self._away = False

    def source(self) -> ClosableSource:
        return PostgresSource(self._url, Heard())

    async def happen(self, *commands: Command) -> None:
        self.stored.ledger.given(*commands)
        await self.stored.save()

    async def lie(self, lie: str) -> None:
        self._head = await self.superuser.fetchrow("SELECT origin, epoch, position FROM ledger.head")
        assert self._head is not None
        position = self._head["position"]
        match lie:
            case "a gap":
                await self._take(position - 1, position - 1)
            case "a log that stands before":
                await self._take(2, position)
                await self.superuser.execute("UPDATE ledger.head SET position = 1")
            case "an older epoch":
                await self.superuser.execute("UPDATE ledger.head SET epoch = 0")
            case "another log":
                await self.superuser.execute("UPDATE ledger.head SET origin = 'evil.test/ledger'")

    async def _take(self, first: int, last: int) -> None:
        self._taken = await self.superuser.fetch(
            "DELETE FROM ledger.events WHERE position BETWEEN $1 AND $2 RETURNING *", first, last
        )

    async def mend(self) -> None:
        assert self._head is not None
        for row in self._taken:
            await self.superuser.execute(PUT_BACK, *row)
        await self.superuser.execute(
            "UPDATE ledger.head SET origin = $1, epoch = $2, position = $3", *self._head
        )

    async def begin_epoch(self) -> None:
        await self.superuser.execute("UPDATE ledger.head SET epoch = epoch + 1")

    async def set_clock(self, seconds: float) -> None:
        database = urlsplit(self.stored.url).path[1:]
        await self.superuser.execute(CLOCK.format(seconds=seconds, database=database))
        await self.relay.stop()  # new connections find the other clock
        await self.relay.start()

    async def go_away(self) -> None:
        await self.relay.stop()

    async def come_back(self) -> None:
        await self.relay.start()

    def stall(self) -> None:
        self.relay.stall()

    def flow(self) -> None:
        self.relay.flow()


@pytest_asyncio.fixture
async def stored(migrated_database_url: str) -> AsyncIterator[Stored]:
    async with stored_ledger(migrated_database_url) as made:
        yield made


@pytest_asyncio.fixture
async def side(stored: Stored) -> AsyncIterator[Side]:
    parts = urlsplit(stored.url)
    assert parts.port is not None
    relay = Relay(parts.port)
    await relay.start()
    credentials = parts.netloc.rpartition("@")[0]
    url = urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{relay.port}"))
    superuser = await asyncpg.connect(stored.url, timeout=10, command_timeout=30)
    await superuser.execute("SET session_replication_role = replica")
    for check in ("head_epoch_check", "head_check"):
        await superuser.execute(f"ALTER TABLE ledger.head DROP CONSTRAINT {check}")
    yield PostgresSide(stored, relay, superuser, url)
    await relay.stop()
    await superuser.close(timeout=5)


class TestPostgresByEvents(SourceSuite):
    """Where no projector has begun: events are folded from the first."""


class TestPostgresByFacts(SourceSuite):
    """Where the replica begins with the view of facts, and goes on with events."""

    @pytest_asyncio.fixture(autouse=True)
    async def projected(self, stored: Stored) -> None:
        await stored.project()
