"""What a superuser can do to a ledger whom no trigger stops: read all of it, and write it as she likes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
from consent_domain import merkle
from consent_domain.envelope import encode
from consent_domain.events import BY_BODY, Body
from consent_domain.instants import micros
from consent_ledger.api_keys import create_key
from http_service import ORIGIN


class Stored(NamedTuple):
    """A row of `ledger.events`, its columns in their order."""

    position: int
    stream: str
    version: int
    id: UUID
    type: str
    recorded_at: datetime
    body: bytes
    leaf_hash: bytes

    def changed(self, before: str, after: str) -> Stored:
        """The row with other words in its body, its hash as it was."""
        assert before.encode() in self.body, f"{before} is not in {self.body!r}"
        return self._replace(body=self.body.replace(before.encode(), after.encode()))

    @property
    def fitting(self) -> Stored:
        """The row with the hash that its body has."""
        return self._replace(leaf_hash=merkle.leaf_hash(self.body))

    def exchanged(self, body: Body) -> Stored:
        """What else might have been recorded here."""
        return made(self.position, self.version, self.stream, self.recorded_at, body)

    def at(self, position: int) -> Stored:
        """The row moved, as it would be if it had been recorded there."""
        old, new = (f'"sequence":"{number:020d}"' for number in (self.position, position))
        return self.changed(old, new)._replace(position=position).fitting


class Ledger(NamedTuple):
    """All events, and the head's position, range and time."""

    events: list[Stored]
    head: tuple[int, bytes, datetime]

    def position_of(self, stream: str, type: str) -> int:
        """Where the last event of a type on a stream is."""
        return next(one.position for one in reversed(self.events) if (one.stream, one.type) == (stream, type))

    def event(self, stream: str, type: str) -> Stored:
        """The last event of a type on a stream."""
        return self.events[self.position_of(stream, type) - 1]

    def with_event(self, row: Stored) -> Ledger:
        """With another event in place of the one at its position; the head as it was."""
        return self._replace(events=[row if one.position == row.position else one for one in self.events])

    def fitting(self) -> Ledger:
        """With the head that its events make."""
        hashes: list[bytes] = []
        for size, one in enumerate(self.events):
            merkle.append(size, hashes, one.leaf_hash)
        last = self.events[-1]
        return self._replace(head=(last.position, merkle.join(hashes), last.recorded_at))

    def swapped(self, one: Stored, other: Stored) -> Ledger:
        """With two events each in the other's place; the head as it was."""
        places = (other.position, other.version), (one.position, one.version)
        if one.stream != other.stream:
            places = (other.position, one.version), (one.position, other.version)
        moved = [
            row._replace(position=position, version=version)
            for row, (position, version) in zip((one, other), places, strict=True)
        ]
        return self.with_event(moved[0]).with_event(moved[1])

    def before(self, position: int) -> Ledger:
        """As it was before the event at `position`, of one piece."""
        return self._replace(events=self.events[: position - 1]).fitting()

    def appended(self, stream: str, body: Body) -> Ledger:
        """With one event more, in every column as the committer would have written it."""
        row = made(len(self.events) + 1, self._version(stream), stream, self._later(), body)
        return self._replace(events=[*self.events, row]).fitting()

    def inserted(self, position: int, stream: str, body: Body) -> Ledger:
        """With an event in the middle, and every one behind it a place further; the stream must be new."""
        before, after = self.events[: position - 1], self.events[position - 1 :]
        at = before[-1].recorded_at + timedelta(microseconds=1)
        row = made(position, self._version(stream), stream, at, body)
        return self._replace(events=[*before, row, *(one.at(one.position + 1) for one in after)]).fitting()

    def _version(self, stream: str) -> int:
        return 1 + sum(one.stream == stream for one in self.events)

    def _later(self) -> datetime:
        return self.events[-1].recorded_at + timedelta(milliseconds=1)


def made(position: int, version: int, stream: str, at: datetime, body: Body) -> Stored:
    """An event that nobody asked for."""
    event_id = uuid4()
    encoded = encode(position, event_id, ORIGIN, stream, micros(at), body)
    return Stored(position, stream, version, event_id, BY_BODY[type(body)].name, at, encoded, b"").fitting


class Superuser:
    """Her, at one database."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url

    def ledger(self) -> Ledger:
        """All that is there."""
        rows, (head,) = self._run(
            "SELECT * FROM ledger.events ORDER BY position",
            "SELECT position, range, recorded_at FROM ledger.head",
        )
        return Ledger([Stored(*row) for row in rows], tuple(head))

    def write(self, ledger: Ledger) -> None:
        """Make it so, whatever was there."""

        async def written(connection: asyncpg.Connection[asyncpg.Record]) -> None:
            async with connection.transaction():
                await connection.execute("DELETE FROM ledger.events")
                await connection.copy_records_to_table(
                    "events", schema_name="ledger", columns=Stored._fields, records=ledger.events
                )
                await connection.execute(
                    "UPDATE ledger.head SET position = $1, range = $2, recorded_at = $3, origin = $4",
                    *ledger.head,
                    ORIGIN,
                )

        asyncio.run(self._connected(written))

    def do(self, statement: str, *arguments: object) -> None:
        """Any statement."""
        self._run((statement, *arguments))

    def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Any query."""
        (found,) = self._run((query, *arguments))
        return found

    def make_key(self, name: str) -> str:
        """An API key of an administrator."""
        key: str = asyncio.run(self._connected(lambda connection: create_key(connection, "admin", name)))
        return key

    def copy_table(self, table: str, other: Superuser) -> None:
        """Give another database what this one's table holds, in place of what it had."""
        rows = self.rows(f"TABLE ledger.{table}")

        async def copied(connection: asyncpg.Connection[asyncpg.Record]) -> None:
            await connection.execute(f"TRUNCATE ledger.{table}")
            await connection.copy_records_to_table(
                table, schema_name="ledger", columns=list(rows[0].keys()), records=map(tuple, rows)
            )

        asyncio.run(other._connected(copied))

    def _run(self, *statements: str | Sequence[Any]) -> list[list[asyncpg.Record]]:
        async def ran(connection: asyncpg.Connection[asyncpg.Record]) -> list[list[asyncpg.Record]]:
            asked: Iterable[Sequence[Any]] = ([one] if isinstance(one, str) else one for one in statements)
            return [list(await connection.fetch(*one)) for one in asked]

        return asyncio.run(self._connected(ran))

    async def _connected(self, work: Any) -> Any:
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=30)
        try:
            await connection.execute("SET session_replication_role = replica")
            return await work(connection)
        finally:
            await connection.close(timeout=10)
