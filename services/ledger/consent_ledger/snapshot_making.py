"""Making one snapshot: what the process that does nothing else runs."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from contextlib import suppress
from multiprocessing.connection import Connection as PipeEnd
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog
from consent_domain.errors import ConsentError
from consent_domain.feed import Row
from consent_domain.instants import Micros, micros
from consent_plumbing.logs import configure
from consent_plumbing.postgres import Connection, acquire, open_pool

from consent_ledger.database import STATEMENTS
from consent_ledger.orphans import end_with_parent
from consent_ledger.store import ROLE

if TYPE_CHECKING:
    from consent_gate.snapshots.writing import SnapshotWriter

ROWS_AT_A_TIME = 10_000
COMMAND_SECONDS_MAX = 600.0
"""Sorting all rows comes before the first of them."""
NICENESS = 10

_log = structlog.get_logger()


class Made(NamedTuple):
    """What the note says: see `SnapshotNote`."""

    origin: str
    epoch: int
    generation: int
    position: int
    time: Micros
    rows: int
    bytes: int
    sha256: str


async def make_apart(database_url: str, path: Path) -> Made:
    """Write all facts as of one position to `path`, in a process that gives way to whoever answers requests.

    Raises ConsentError `unavailable` if there are none, or they cannot be read or kept, `damaged` if they are
    not what a view holds; what is at `path` then is to be removed. Cancelled, it ends the process.
    """
    # Spawned, not forked: a fork would share this process's connections.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_make_here, args=(sender, database_url, path), daemon=True)
    process.start()
    sender.close()
    try:
        told = await asyncio.to_thread(receiver.recv)
    except EOFError as error:
        raise ConsentError("unavailable", "the process that made the snapshot died") from error
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
    if isinstance(told, ConsentError):
        raise told
    assert isinstance(told, Made), "nothing else is sent"
    return told


def _make_here(sender: PipeEnd, database_url: str, path: Path) -> None:
    end_with_parent()
    os.nice(NICENESS)
    try:
        sender.send(asyncio.run(_make(database_url, path)))
    except ConsentError as error:
        sender.send(error)
    except Exception as error:
        configure("error", "ledger")
        _log.error("snapshot_failed", exc_info=error)
        sender.send(ConsentError("unavailable", f"no snapshot could be made: {type(error).__name__}"))


async def _make(database_url: str, path: Path) -> Made:
    from consent_gate.snapshots.writing import SnapshotWriter  # pyarrow is loaded in this process only

    pool = await open_pool(
        database_url, "consent-ledger snapshot", 1, command_seconds_max=COMMAND_SECONDS_MAX, role=ROLE
    )
    try:
        async with acquire(pool) as connection:
            await connection.execute(STATEMENTS["begin_snapshot"])
            try:
                await connection.execute(STATEMENTS["allow_pauses"])
                return await _write(connection, SnapshotWriter(path))
            finally:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await connection.execute(STATEMENTS["rollback"])
    finally:
        pool.terminate()


async def _write(connection: Connection, writer: SnapshotWriter) -> Made:
    await connection.execute(STATEMENTS["lock_facts"])
    stand = await connection.fetchrow(STATEMENTS["facts_stand"])
    if stand is None:
        raise ConsentError("unavailable", "there is no view of the facts yet")
    try:
        cursor = await connection.cursor(STATEMENTS["facts_in_order"])
        while rows := await cursor.fetch(ROWS_AT_A_TIME):
            writer.add(Row(*row) for row in rows)
        written = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    return Made(
        stand["origin"],
        stand["epoch"],
        stand["generation"],
        stand["position"],
        micros(stand["time"]),
        *written,
    )
