"""The real `Store`: PostgreSQL, each call one statement and so one transaction.

No transaction ever stays open between two calls: a process that is paused holds no lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import structlog
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_projector.database import STATEMENTS
from consent_projector.seams import LEASE_SECONDS, Cursor, Row, Unavailable, View
from consent_projector.stored import Stored

LEASE = timedelta(seconds=LEASE_SECONDS)
ROLE = "consent_projector"
"""The role of every connection: it reads the ledger and writes views, and nothing else."""
NEXT = "_next"
"""What the table and the cursor of a view's next generation are called after its name."""

_log = structlog.get_logger()


class PostgresStore:
    """The live views; with `suffix=NEXT`, their next generations (tables and cursors named so)."""

    def __init__(self, pool: Pool, suffix: str = "") -> None:
        self._pool = pool
        self._suffix = suffix

    async def take_lease(self, view: str, owner: str) -> Cursor | None:
        """As `Store.take_lease`."""
        async with connected(self._pool) as connection:
            row = await connection.fetchrow(STATEMENTS["take_lease"], view + self._suffix, owner, LEASE)
            if row is not None and not row["is_of_ledger"]:
                _log.warning("view_of_another_history", view=view + self._suffix, position=row["position"])
                row = await connection.fetchrow(STATEMENTS["start_over"], view + self._suffix, owner)
        return None if row is None else Cursor(row["position"], row["generation"])

    async def release_lease(self, view: str, owner: str) -> None:
        """As `Store.release_lease`."""
        async with connected(self._pool) as connection:
            await connection.execute(STATEMENTS["release_lease"], view + self._suffix, owner)

    async def events_after(self, position: int, events_max: int) -> list[Stored]:
        """As `Store.events_after`."""
        async with connected(self._pool) as connection:
            rows = await connection.fetch(STATEMENTS["events_after"], position, events_max)
        return [Stored(*row) for row in rows]

    async def load(self, view: View, events: Sequence[Stored]) -> list[Row]:
        """As `Store.load`."""
        keys = () if view.keys is None else view.keys(events)
        if not any(keys):
            return []
        async with connected(self._pool) as connection:
            return [tuple(row) for row in await connection.fetch(self._statement("load", view), *keys)]

    async def save(
        self, view: View, owner: str, cursor: Cursor, upto: int, rows: Sequence[Row], hashes: Sequence[bytes]
    ) -> bool:
        """As `Store.save`."""
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(view.columns)
        name = view.name + self._suffix
        async with connected(self._pool) as connection:
            moved = await connection.fetchval(
                self._statement("save", view),
                name,
                owner,
                cursor.generation,
                cursor.position,
                upto,
                LEASE,
                hashes,
                *columns,
            )
        return moved is not None

    async def move(self, view: str, owner: str, cursor: Cursor, upto: int) -> bool:
        """As `Store.move`."""
        name = view + self._suffix
        async with connected(self._pool) as connection:
            moved = await connection.fetchval(
                STATEMENTS["move_cursor"], name, owner, cursor.generation, cursor.position, upto, LEASE
            )
        return moved is not None

    def _statement(self, verb: str, view: View) -> str:
        text = STATEMENTS[f"{verb}_{view.name}"]
        return text.replace(f"views.{view.name}", f"views.{view.name}{self._suffix}")


@asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool. Whatever says that the server is away or too slow becomes `Unavailable`."""
    try:
        async with acquire(pool) as connection:
            yield connection
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.TransactionRollbackError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as error:
        raise Unavailable(f"PostgreSQL: {type(error).__name__}: {error}") from error
