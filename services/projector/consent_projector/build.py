"""Building one part of a view's next generation, in a process of its own: COPY OUT, fold, COPY IN.

A thread reads the copy while the process folds, with a bounded queue between them.
"""

from __future__ import annotations

import asyncio
import gc
import queue
import struct
import threading
from collections.abc import Iterator
from typing import NamedTuple

import asyncpg
from consent_plumbing.postgres import CONNECT_SECONDS_MAX

from consent_projector.database import SCHEMA, STATEMENTS
from consent_projector.seams import Fault
from consent_projector.store import NEXT, ROLE
from consent_projector.stored import Stored
from consent_projector.views import VIEWS

COPY_SECONDS_MAX = 4 * 3_600.0
CHUNKS_MAX = 16
CHUNK_BYTES_MIN = 256 * 1024
FAULTS_SHOWN_MAX = 100

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8
_ROW = struct.Struct(">hiqi")
"""Number of fields, length of the position, position, length of the stream."""
_LENGTH = struct.Struct(">i")
_END = b"\xff\xff"


class Part(NamedTuple):
    """What a part came to: events read, rows written, and how many faults, the first of them in full."""

    events: int
    rows: int
    faults_count: int
    faults: list[Fault]


class LeaseLost(Exception):
    """Another process took the next generation over, or this one was paused for longer than its lease."""


def build_part(database_url: str, view: str, owner: str, upto: int, parts: int, part: int) -> Part:
    """Fold the events up to `upto` of one part of the streams into the table `<view>_next`.

    Raises LeaseLost if `owner` does not build it any more, or what asyncpg raises: nothing of the part
    is written then.
    """
    # Facts are trees without cycles: looking for cycles among millions of them doubles the time.
    gc.disable()
    chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(CHUNKS_MAX)
    reading = threading.Thread(
        target=_read, args=(database_url, upto, parts, part, chunks), name="copy", daemon=True
    )
    reading.start()
    counted = _Counted(parsed(_taken(chunks)))
    changes = VIEWS[view].fold((), counted)
    reading.join()
    rows = sorted(changes.rows, key=lambda row: row[:2])
    asyncio.run(_write(database_url, view, owner, rows))
    return Part(counted.events, len(rows), len(changes.faults), changes.faults[:FAULTS_SHOWN_MAX])


class _Counted:
    """The events, counted as they pass."""

    def __init__(self, events: Iterator[Stored]) -> None:
        self._source = events
        self.events = 0

    def __iter__(self) -> Iterator[Stored]:
        for event in self._source:
            self.events += 1
            yield event


def _taken(chunks: queue.Queue[bytes | BaseException | None]) -> Iterator[bytes]:
    while (chunk := chunks.get()) is not None:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


def parsed(chunks: Iterator[bytes]) -> Iterator[Stored]:
    """The rows (position bigint, stream text, body bytea) of a binary COPY, cut anywhere into chunks.

    The format: PostgreSQL manual, COPY, "Binary Format". Raises ValueError for another.
    """
    buffer = b""
    while len(buffer) < _HEADER_BYTES:
        buffer += next(chunks, b"") or _cut_short()
    if not buffer.startswith(_SIGNATURE):
        raise ValueError("the server sent no binary copy")
    at, size = _HEADER_BYTES, len(buffer)
    read_row, read_length, row_bytes = _ROW.unpack_from, _LENGTH.unpack_from, _ROW.size
    while True:
        if at + row_bytes <= size:
            _, _, position, stream_bytes = read_row(buffer, at)
            body_at = at + row_bytes + stream_bytes + 4
            if body_at <= size:
                (body_bytes,) = read_length(buffer, body_at - 4)
                end = body_at + body_bytes
                if end <= size:
                    stream = buffer[at + row_bytes : body_at - 4].decode("ascii")
                    yield Stored(position, stream, buffer[body_at:end])
                    at = end
                    continue
        rest = buffer[at:]
        if rest == _END:
            return
        buffer = rest + (next(chunks, b"") or _cut_short())
        at, size = 0, len(buffer)


def _cut_short() -> bytes:
    raise ValueError("the copy ended in the middle of a row")


def _read(
    database_url: str, upto: int, parts: int, part: int, chunks: queue.Queue[bytes | BaseException | None]
) -> None:
    try:
        asyncio.run(_copy_out(database_url, upto, parts, part, chunks))
    except BaseException as error:  # it ends this thread anyway: the one who folds must hear of it
        chunks.put(error)
    else:
        chunks.put(None)


async def _copy_out(
    database_url: str, upto: int, parts: int, part: int, chunks: queue.Queue[bytes | BaseException | None]
) -> None:
    gathered: list[bytes] = []
    size = 0

    async def take(chunk: bytes) -> None:
        nonlocal size
        gathered.append(chunk)
        size += len(chunk)
        if size >= CHUNK_BYTES_MIN:
            # Blocking this loop is what holds the server back: nothing else runs in it.
            chunks.put(b"".join(gathered))
            gathered.clear()
            size = 0

    connection = await _connect(database_url)
    try:
        await connection.copy_from_query(
            STATEMENTS["events_of_part"], upto, parts, part, output=take, format="binary"
        )
    finally:
        await connection.close(timeout=CONNECT_SECONDS_MAX)
    chunks.put(b"".join(gathered))


async def _write(database_url: str, view: str, owner: str, rows: list[tuple[object, ...]]) -> None:
    connection = await _connect(database_url)
    try:
        async with connection.transaction():
            if await connection.fetchval(STATEMENTS["hold_next"], view + NEXT, owner) is None:
                raise LeaseLost(f"{view}{NEXT} is another's")
            await connection.copy_records_to_table(
                view + NEXT, schema_name=SCHEMA, columns=VIEWS[view].columns, records=rows
            )
    finally:
        await connection.close(timeout=CONNECT_SECONDS_MAX)


async def _connect(database_url: str) -> asyncpg.Connection[asyncpg.Record]:
    # The order is that of the primary key. The planner guesses too few rows for a part, and would sort them
    # through files: so it is told to read the index, and to leave the cores to those who fold.
    return await asyncpg.connect(
        database_url,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=COPY_SECONDS_MAX,
        server_settings={
            "application_name": "consent-projector rebuild",
            "role": ROLE,
            "enable_sort": "off",
            "max_parallel_workers_per_gather": "0",
        },
    )
