"""What the projector's tests share: a ledger to fill, consumers, and the rows that must come of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from consent_domain.batch import Committed, encode_committed
from consent_plumbing.postgres import Pool, open_pool
from consent_projector.clock import MonotonicClock
from consent_projector.consumer import Consumer, State, Step
from consent_projector.hints import Hints
from consent_projector.seams import Row
from consent_projector.store import ROLE, PostgresStore
from consent_projector.stored import Stored
from consent_projector.table import Table
from consent_projector.views import VIEWS
from ledger_events import ORIGIN, Appended, Appender, append_all, history

ORDER = {
    "facts": "kind, id",
    "requests": "id",
    "counts": "day, type",
    "runs": "run",
    "exposure": "container, run",
}


class Projected:
    """A database with both schemas: `ledger` appends to it, `pool` has the projector's role."""

    def __init__(self, url: str, connection: asyncpg.Connection[asyncpg.Record], pool: Pool) -> None:
        self.url = url
        self.connection = connection
        self.pool = pool
        self.ledger = Appender(connection)

    def consumer(
        self,
        view: str = "facts",
        owner: str = "one",
        hints: Hints | None = None,
        batch: int = 100,
        store: Any = None,
    ) -> Consumer:
        """A consumer of a view; `store` may wrap the real one to fail where a test wants it to."""
        store = store or PostgresStore(self.pool)
        hints = hints or Hints(ORIGIN)
        return Consumer(Table(VIEWS[view], store), store, MonotonicClock(), hints, owner, batch)

    async def rows(self, view: str) -> list[Row]:
        """All rows of a view, in the order of their key."""
        return [
            tuple(row) for row in await self.connection.fetch(f"TABLE views.{view} ORDER BY {ORDER[view]}")
        ]

    def expected(self, view: str) -> list[Row]:
        """The rows that the whole log folds to."""
        return folded(view, self.ledger.log)

    async def position(self, view: str) -> int:
        """Where the cursor of a view stands."""
        value = await self.connection.fetchval("SELECT position FROM views.cursors WHERE view = $1", view)
        assert isinstance(value, int), f"there is no cursor {view}"
        return value

    async def expire(self, view: str) -> None:
        """Let time pass until the lease is over."""
        await self.connection.execute(
            "UPDATE views.cursors SET leased_until = '-infinity' WHERE view = $1", view
        )

    async def put_back(self, size: int, seed: int, more: int) -> None:
        """The schema `ledger` as it was at `size` events, and `more` of another history; views stay."""
        kept = [event.body for event in self.ledger.log[:size]]
        await self.connection.execute("SET session_replication_role = replica")
        await self.connection.execute("DELETE FROM ledger.events")
        await self.connection.execute(
            "UPDATE ledger.head SET position = 0, range = '', recorded_at = 'epoch'"
        )
        await self.connection.execute("SET session_replication_role = origin")
        self.ledger = Appender(self.connection)
        await append_all(self.ledger, history(size))
        assert [event.body for event in self.ledger.log] == kept
        self.ledger.reseed(seed)
        await append_all(self.ledger, list(history(size + more))[size:])


@asynccontextmanager
async def projected(url: str) -> AsyncIterator[Projected]:
    """A `Projected` of an empty migrated database."""
    connection = await asyncpg.connect(url, timeout=10, command_timeout=60)
    pool = await open_pool(url, "tests", connections_max=8, role=ROLE)
    try:
        yield Projected(url, connection, pool)
    finally:
        pool.terminate()
        await connection.close(timeout=10)


def folded(view: str, log: Sequence[Appended]) -> list[Row]:
    """The rows of a log folded at once, sorted by key."""
    changes = VIEWS[view].fold((), [Stored(*event) for event in log])
    return sorted(changes.rows, key=lambda row: tuple(map(str, row[:2])))


async def drain(consumer: Consumer, steps_max: int = 10_000) -> list[Step]:
    """Step until there is nothing left; the steps that applied something."""
    done: list[Step] = []
    for _ in range(steps_max):
        step = await consumer.step()
        if step.state is State.IDLE:
            return done
        assert step.state is not State.ELSEWHERE, "another consumer holds the lease"
        done.append(step)
    raise AssertionError(f"not done after {steps_max} steps")


def committed(events: Sequence[Appended]) -> list[bytes]:
    """The messages that the committer sends for events of one commit."""
    batch = Committed(ORIGIN, 1, events[0].position, [event.body for event in events])
    return list(encode_committed(batch))
