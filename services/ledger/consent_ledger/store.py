"""The store in PostgreSQL. asyncpg's errors end here and become those of the seams.

One connection is kept over transactions: giving it back to the pool and taking it again would
cost a round trip each. It is thrown away after any failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
from consent_domain.instants import Micros, micros, moment_of
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.log.seams import Entry
from consent_ledger.seams import (
    Answered,
    CommitUnknown,
    Head,
    Key,
    Known,
    Row,
    Stored,
    StoreRefused,
    StoreUnavailable,
)

ROLE = "consent_ledger"
"""The role of every connection of the service: it may insert events, and never change or delete one."""
COMMIT_WAIT_SECONDS_MAX = 20.0
"""How long a caller waits for COMMIT. It goes on after that, for as long as the connection lives."""
_NEVER_SECONDS = 1e8
"""asyncpg cancels what takes longer than its timeout, and a COMMIT must never be cancelled."""
_ROLLBACK_SECONDS_MAX = 2.0
_COPY_SECONDS_MAX = 120.0
_EVENT_COLUMNS = ("position", "stream", "version", "id", "type", "recorded_at", "body", "leaf_hash")
_BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
_ROLLED_BACK = (asyncpg.TransactionRollbackError, asyncpg.IntegrityConstraintViolationError)
"""With these the server says of a COMMIT that it did not happen."""


_FAILED = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_LOST = (
    *_FAILED,
    # The driver and the loop's transport say it so when the connection went away in the middle of a call.
    asyncpg.InternalClientError,
    RuntimeError,
    AttributeError,
)


@contextmanager
def _translated(lost: tuple[type[Exception], ...] = _LOST) -> Iterator[None]:
    try:
        yield
    except _BAD_DATA as error:
        raise StoreRefused(str(error)) from error
    except lost as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


class PostgresTransaction:
    """See seams.Transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.committing: asyncio.Task[None] | None = None

    async def lock_head(self) -> Head:
        """See seams.Transaction."""
        with _translated():
            await self._connection.execute(STATEMENTS["begin"])
            row = await self._connection.fetchrow(STATEMENTS["lock_head"])
        return _head(row)

    async def known(self, keys: Sequence[Key]) -> dict[Key, Known]:
        """See seams.Transaction."""
        with _translated():
            rows = await self._connection.fetch(
                STATEMENTS["outcomes_by_key"], [key.key for key in keys], [key.principal for key in keys]
            )
        return {Key(row["principal"], row["key"]): Known(row["body_hash"], row["outcome"]) for row in rows}

    async def streams(self, names: Sequence[str]) -> list[Stored]:
        """See seams.Transaction."""
        with _translated():
            return _stored(await self._connection.fetch(STATEMENTS["events_of_streams"], names))

    async def book(self) -> list[Stored]:
        """See seams.Transaction."""
        with _translated():
            return _stored(await self._connection.fetch(STATEMENTS["events_of_book"]))

    async def events_after(self, after: int, rows_max: int) -> list[Stored]:
        """See seams.Transaction."""
        with _translated():
            return _stored(await self._connection.fetch(STATEMENTS["events_after"], after, rows_max))

    async def append(
        self,
        head: Head,
        rows: Sequence[Row],
        answered: Sequence[Answered],
        recorded_at: Micros,
        merkle_range: bytes,
    ) -> None:
        """See seams.Transaction."""
        streams, versions, ids, types, times, bodies, hashes = zip(*rows, strict=True)
        with _translated():
            position = await self._connection.fetchval(
                STATEMENTS["append"],
                head.position,
                streams,
                versions,
                ids,
                types,
                times,
                bodies,
                hashes,
                [one.key.key for one in answered],
                [one.key.principal for one in answered],
                [one.known.body_hash for one in answered],
                [one.first for one in answered],
                [one.last for one in answered],
                [one.known.outcome for one in answered],
                moment_of(recorded_at),
                merkle_range,
            )
        if position != head.position + len(rows):
            raise StoreRefused(f"the head is at {position}, although it was locked at {head.position}")

    async def append_many(self, head: Head, rows: AsyncIterable[Row]) -> int:
        """See seams.Transaction. COPY: the server inserts while the iterator computes the next rows."""
        position = head.position

        async def numbered() -> AsyncIterator[tuple[Any, ...]]:
            nonlocal position
            async for row in rows:
                position += 1
                yield (position, *row)

        with _translated(_FAILED):  # what the iterator raises is its caller's
            await self._connection.copy_records_to_table(
                "events",
                schema_name="ledger",
                columns=_EVENT_COLUMNS,
                records=numbered(),
                timeout=_COPY_SECONDS_MAX,
            )
        return position - head.position

    async def move_head(self, head: Head, position: int, recorded_at: Micros, merkle_range: bytes) -> None:
        """See seams.Transaction."""
        with _translated():
            moved = await self._connection.fetchval(
                STATEMENTS["move_head"], head.position, position, moment_of(recorded_at), merkle_range
            )
        if moved is None:
            raise StoreRefused(f"the head cannot move from {head.position} to {position}")

    async def commit(self) -> None:
        """See seams.Transaction. The task that waits for COMMIT is nobody's to cancel."""
        if self._is_lost():
            raise StoreUnavailable("the connection was lost before COMMIT was sent")
        self.committing = asyncio.create_task(self._commit())
        done, _ = await asyncio.wait([self.committing], timeout=COMMIT_WAIT_SECONDS_MAX)
        if not done:
            raise CommitUnknown(f"COMMIT was not answered within {COMMIT_WAIT_SECONDS_MAX:.0f} s")
        self.committing.result()

    async def _commit(self) -> None:
        try:
            said = await self._connection.execute(STATEMENTS["commit"], timeout=_NEVER_SECONDS)
        except _ROLLED_BACK as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            raise CommitUnknown(f"{type(error).__name__}: {error}") from error
        if said != "COMMIT":
            # To a transaction that failed before, the server says ROLLBACK, and calls that no error.
            raise StoreUnavailable(f"the server answered COMMIT with {said}")

    def _is_lost(self) -> bool:
        try:
            return self._connection.is_closed()
        except asyncpg.InterfaceError:  # the pool took it back when the server closed it
            return True

    async def give_up(self) -> bool:
        """Roll back what was not committed; whether the connection still works.

        Raises what asyncpg raises.
        """
        if self._is_lost():
            return False
        if self._connection.is_in_transaction():
            await self._connection.execute(STATEMENTS["rollback"], timeout=_ROLLBACK_SECONDS_MAX)
        return True


class PostgresStore:
    """See seams.Store. The pool's connections need the privileges of ROLE."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: AsyncExitStack | None = None
        self._connection: Connection | None = None
        self._abandoned: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """See seams.Store."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._connection is None:
            await self._take()
        assert self._connection is not None, "taking a connection sets it or raises"
        transaction = PostgresTransaction(self._connection)
        usable = False
        try:
            try:
                yield transaction
            finally:
                # Whatever comes of this says nothing about the commit, so nothing is raised from it.
                usable = await self._as_good_as_new(transaction)
        finally:
            if not usable:
                self._throw_away(transaction.committing)

    async def _take(self) -> None:
        stack = AsyncExitStack()
        with _translated():
            self._connection = await stack.enter_async_context(acquire(self._pool))
        self._kept = stack

    async def _as_good_as_new(self, transaction: PostgresTransaction) -> bool:
        """Whether the connection can be kept: an orderly failure must not cost a new one."""
        committing = transaction.committing
        if committing is not None and (not committing.done() or committing.exception() is not None):
            return False
        try:
            return await transaction.give_up()
        except _LOST:
            return False

    def _throw_away(self, committing: asyncio.Task[None] | None) -> None:
        """Close the connection, once a COMMIT that still runs on it has ended."""
        connection, stack = self._connection, self._kept
        self._connection = self._kept = None
        if connection is None or stack is None:
            return

        async def end() -> None:
            if committing is not None:
                await asyncio.wait([committing])
            # The pool takes back by itself what the server has closed.
            with suppress(*_LOST):
                connection.terminate()
            with suppress(*_LOST):
                await stack.aclose()

        task = asyncio.create_task(end())
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def read_head(self) -> Head:
        """See seams.Store."""
        with _translated():
            async with acquire(self._pool) as connection:
                return _head(await connection.fetchrow(STATEMENTS["read_head"]))

    async def events_after(self, after: int, rows_max: int) -> list[Stored]:
        """See seams.Store."""
        with _translated():
            async with acquire(self._pool) as connection:
                return _stored(await connection.fetch(STATEMENTS["events_after"], after, rows_max))

    async def entries_after(self, after: int, rows_max: int) -> list[Entry]:
        """See log.seams.LogStore."""
        with _translated():
            async with acquire(self._pool) as connection:
                rows = await connection.fetch(STATEMENTS["entries_after"], after, rows_max)
        return [Entry(row["position"], row["stream"], row["body"], row["leaf_hash"]) for row in rows]

    async def events_of_stream(self, stream: str) -> list[Stored]:
        """See log.seams.LogStore."""
        with _translated():
            async with acquire(self._pool) as connection:
                return _stored(await connection.fetch(STATEMENTS["events_of_streams"], [stream]))

    async def stream_of_request(self, request: UUID) -> str | None:
        """See seams.Store."""
        with _translated():
            async with acquire(self._pool) as connection:
                stream: str | None = await connection.fetchval(STATEMENTS["stream_of_request"], request)
                return stream

    async def analyze(self) -> None:
        """See seams.Store."""
        with _translated():
            async with acquire(self._pool) as connection:
                await connection.execute(STATEMENTS["analyze_events"], timeout=_COPY_SECONDS_MAX)

    async def close(self) -> None:
        """See seams.Store. A COMMIT that still runs is left to the pool's own end."""
        self._closed = True
        stack, self._kept, self._connection = self._kept, None, None
        if stack is not None:
            await stack.aclose()


def _head(row: asyncpg.Record | None) -> Head:
    if row is None:
        raise StoreUnavailable("the ledger has no head: run `consent-ledger migrate`")
    return Head(
        row["origin"],
        row["epoch"],
        row["position"],
        micros(row["recorded_at"]),
        row["range"],
        micros(row["now"]),
    )


def _stored(rows: Sequence[asyncpg.Record]) -> list[Stored]:
    return [Stored(row["position"], row["stream"], row["version"], row["body"]) for row in rows]
