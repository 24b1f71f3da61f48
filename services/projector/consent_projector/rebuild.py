"""Rebuilding a view: the next generation beside the live one, compared, and switched in one transaction.

1. An empty table `<view>_next` and its cursor, leased to this process.
2. The log up to the head as it is now, split by hash of the stream, copied out, folded, and copied in;
   not for a view that reads more than the log: that is left to the consumer.
3. Indexes; then the ordinary consumer brings it up to the head.
4. Compared with the live one. A difference means that one of the two is wrong: without
   `accept_differences` the next generation is thrown away.
5. The lease of the live view is taken from its consumer, which is fenced by that; the last events are
   applied, and the tables change names under lock. Its consumer goes on when it asks for the lease again.
   Should this process die in between, the lease runs out, and the live view goes on as it was.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import asyncpg
import structlog
from consent_plumbing.postgres import Pool, open_pool

from consent_projector.build import FAULTS_SHOWN_MAX, LeaseLost, Part, build_part
from consent_projector.clock import MonotonicClock
from consent_projector.consumer import Consumer, Hole, State
from consent_projector.database import STATEMENTS
from consent_projector.hints import Hints
from consent_projector.seams import Cursor, Unavailable, View
from consent_projector.store import LEASE, NEXT, ROLE, PostgresStore, connected
from consent_projector.table import Table

EVENTS_OF_PART_MAX = 4_000_000
"""A part's rows are folded in memory: a larger log is split into more parts than processes."""
BUILD_SECONDS_MAX = 3_600.0
LOCK_SECONDS_MAX = 1.0
SWITCH_ATTEMPTS_MAX = 20
RENEW_SECONDS = 1.0

_log = structlog.get_logger()


class Rebuilt(NamedTuple):
    """What a rebuild came to. `switched` is False if rows differ and that was not accepted."""

    view: str
    position: int
    events: int
    rows: int
    faults: int
    differences: int
    switched: bool


async def rebuild(
    database_url: str, view: View, owner: str, processes: int = 2, accept_differences: bool = False
) -> Rebuilt:
    """Build, compare and switch, for `owner`, a name that nobody else has.

    Raises LeaseLost, Hole, Unavailable or asyncpg.PostgresError: the live view is as it was then.
    """
    pool = await open_pool(
        database_url,
        "consent-projector rebuild",
        connections_max=4,
        command_seconds_max=BUILD_SECONDS_MAX,
        role=ROLE,
    )
    try:
        async with connected(pool) as connection:
            await connection.execute(STATEMENTS["begin_next"], view.name, owner, LEASE)
        try:
            return await _built(pool, database_url, view, owner, processes, accept_differences)
        finally:
            with suppress(asyncpg.PostgresError, OSError):
                async with connected(pool) as connection:
                    await connection.execute(STATEMENTS["drop_next"], view.name, owner)
    finally:
        await pool.close()


async def _built(
    pool: Pool, database_url: str, view: View, owner: str, processes: int, accept_differences: bool
) -> Rebuilt:
    store = PostgresStore(pool, NEXT)
    async with connected(pool) as connection:
        upto = await connection.fetchval(STATEMENTS["read_head_position"])
    async with _renewed(store, view, owner):
        parts = [] if view.reads_beside else await _parts(database_url, view, owner, upto, processes)
        async with connected(pool) as connection:
            await connection.execute(STATEMENTS["index_next"], view.name)
        if not view.reads_beside:
            cursor = await store.take_lease(view.name, owner)
            if cursor is None or not await store.move(view.name, owner, Cursor(0, cursor.generation), upto):
                raise LeaseLost(f"{view.name}{NEXT} is another's")
        consumer = Consumer(Table(view, store), store, MonotonicClock(), Hints(""), owner)
        await _caught_up(consumer)
        async with connected(pool) as connection:
            differences = await connection.fetchval(STATEMENTS[f"differences_of_{view.name}"])
        switched = differences == 0 or accept_differences
        position = await _switched(pool, view, owner, consumer) if switched else upto
    return Rebuilt(
        view.name,
        position,
        upto,
        sum(part.rows for part in parts),
        sum(part.faults_count for part in parts),
        differences,
        switched,
    )


async def _parts(database_url: str, view: View, owner: str, upto: int, processes: int) -> list[Part]:
    """All parts, each built by a process; every event up to `upto` must have been in one of them."""
    count = max(processes, -(-upto // EVENTS_OF_PART_MAX)) if view.splits else 1
    loop = asyncio.get_running_loop()
    # Spawned, not forked: a fork would share this process's connections.
    executor = ProcessPoolExecutor(min(processes, count), multiprocessing.get_context("spawn"))
    try:
        parts = await asyncio.gather(
            *(
                loop.run_in_executor(executor, build_part, database_url, view.name, owner, upto, count, part)
                for part in range(count)
            )
        )
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    for fault in [fault for part in parts for fault in part.faults][:FAULTS_SHOWN_MAX]:
        _log.error("event_quarantined", position=fault.position, stream=fault.stream, reason=fault.reason)
    read = sum(part.events for part in parts)
    if read != upto:
        raise Hole(f"the ledger's head is at {upto}, and it holds {read} events up to there")
    return parts


@asynccontextmanager
async def _renewed(store: PostgresStore, view: View, owner: str) -> AsyncIterator[None]:
    """Hold the next generation's lease meanwhile; the body is cancelled if it is lost."""
    body = asyncio.current_task()
    assert body is not None, "a coroutine runs in a task"
    lost = False

    async def renew() -> None:
        nonlocal lost
        while not lost:
            with suppress(Unavailable):
                lost = await store.take_lease(view.name, owner) is None
            await asyncio.sleep(0 if lost else RENEW_SECONDS)
        body.cancel()

    renewing = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            raise LeaseLost(f"{view.name}{NEXT} is another's") from None
        raise
    finally:
        renewing.cancel()


async def _caught_up(consumer: Consumer) -> int:
    """Apply until nothing is left; the position reached."""
    while True:
        step = await consumer.step()
        if step.state is State.IDLE:
            return step.position
        if step.state is not State.APPLIED:
            raise LeaseLost(f"{consumer.sink.name}{NEXT} is another's")


async def _switched(pool: Pool, view: View, owner: str, consumer: Consumer) -> int:
    """Take over from the live view; the position of the switch."""
    live = PostgresStore(pool)
    for _ in range(SWITCH_ATTEMPTS_MAX):
        async with connected(pool) as connection:
            await connection.execute(STATEMENTS["seize_lease"], view.name, owner, LEASE)
        position = await _caught_up(consumer)
        try:
            async with connected(pool) as connection, connection.transaction():
                await connection.execute(STATEMENTS["bound_lock_wait"], f"{LOCK_SECONDS_MAX}s")
                if await connection.fetchval(STATEMENTS["switch_to_next"], view.name, owner):
                    return position
        except (asyncpg.LockNotAvailableError, Unavailable):
            _log.info("switch_waits", view=view.name)
        await live.release_lease(view.name, owner)
        await asyncio.sleep(RENEW_SECONDS)
    raise LeaseLost(f"{view.name} was in use for too long to be switched")
