"""Numbered SQL files, applied in order, once, by whichever process comes first.

What no library tried did together: several processes may start at once, a file edited after it was
applied is noticed, and `CREATE INDEX CONCURRENTLY` works. The latter is why waiting processes poll
`pg_try_advisory_lock`: one that blocks in `pg_advisory_lock` holds a snapshot for which the index
build waits, while it waits for the build's lock.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from pathlib import Path
from typing import NamedTuple

import asyncpg

from consent_plumbing.postgres import CONNECT_SECONDS_MAX, Connection
from consent_plumbing.sql import Statements

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_SCHEMA_NAME = re.compile(r"[a-z_]+")
_NO_TRANSACTION = "-- transaction: none"
_STATEMENTS = Statements(Path(__file__).parent / "migration_statements")
MIGRATION_SECONDS_MAX = 3_600.0
POLL_SECONDS = 0.1


class MigrationRefused(Exception):
    """The files and the database do not agree; nothing was changed. The message says what to do."""


class Migration(NamedTuple):
    """A file: its number from 1 on, its name, its text and the SHA-256 of its bytes."""

    number: int
    name: str
    text: str
    sha256: bytes

    @property
    def in_transaction(self) -> bool:
        """False if a header line says `-- transaction: none`: then it is one repeatable statement."""
        return _NO_TRANSACTION not in self.text.splitlines()


def read(folder: Path) -> list[Migration]:
    """The migrations of a folder in order. Raises MigrationRefused for a bad name or a gap in the numbers."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationRefused(f"{path.name} is not named NNNN_what_it_makes.sql")
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).digest()
        migrations.append(Migration(int(match[1]), path.stem, content.decode(), sha256))
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise MigrationRefused(f"the migrations in {folder} are not numbered 0001, 0002, … without gap")
    return migrations


async def migrate(database_url: str, schema: str, folder: Path, wait_seconds_max: float = 60.0) -> list[str]:
    """Bring `schema` up to the files of `folder`; the names applied now, in order (none if up to date).

    Raises MigrationRefused if an applied file was edited or is missing (the database is newer than
    the code), or if another process holds the lock longer than `wait_seconds_max`; asyncpg.PostgresError
    if a file fails: what came before it stays applied, of the file itself nothing stays.
    """
    if not _SCHEMA_NAME.fullmatch(schema):
        raise MigrationRefused(f"{schema!r} is no name of a schema")
    migrations = read(folder)
    connection = await asyncpg.connect(
        database_url,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=MIGRATION_SECONDS_MAX,
        server_settings={"application_name": f"migrate {schema}"},
    )
    try:
        await _lock(connection, schema, wait_seconds_max)
        # The lock ends with the session: closing the connection releases it, whatever happened.
        await connection.execute(_STATEMENTS["create_migrations_table"].replace("{schema}", schema))
        applied = await _applied(connection, schema)
        _compare(applied, migrations)
        pending = [migration for migration in migrations if migration.number not in applied]
        for migration in pending:
            await _apply(connection, schema, migration)
        return [migration.name for migration in pending]
    finally:
        await connection.close(timeout=CONNECT_SECONDS_MAX)


async def _lock(connection: Connection, schema: str, wait_seconds_max: float) -> None:
    key = int.from_bytes(hashlib.sha256(f"migrations of {schema}".encode()).digest()[:8], "big", signed=True)
    deadline = time.monotonic() + wait_seconds_max
    while not await connection.fetchval(_STATEMENTS["try_lock"], key):
        if time.monotonic() >= deadline:
            raise MigrationRefused(f"another process is migrating {schema} since {wait_seconds_max:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def _applied(connection: Connection, schema: str) -> dict[int, tuple[str, bytes]]:
    rows = await connection.fetch(_STATEMENTS["applied_migrations"].replace("{schema}", schema))
    return {row["number"]: (row["name"], row["sha256"]) for row in rows}


def _compare(applied: dict[int, tuple[str, bytes]], migrations: list[Migration]) -> None:
    files = {migration.number: migration for migration in migrations}
    for number, (name, sha256) in applied.items():
        file = files.get(number)
        if file is None:
            raise MigrationRefused(f"the database is newer than this version: it has {name}..")
        if (file.name, file.sha256) != (name, sha256):
            raise MigrationRefused(
                f"{file.name}.sql differs from {name} as applied. Restore it and write a new migration."
            )


async def _apply(connection: Connection, schema: str, migration: Migration) -> None:
    record = _STATEMENTS["record_migration"].replace("{schema}", schema)
    if migration.in_transaction:
        async with connection.transaction():
            await connection.execute(migration.text)
            await connection.execute(record, migration.number, migration.name, migration.sha256)
    else:
        await connection.execute(migration.text)
        await connection.execute(record, migration.number, migration.name, migration.sha256)
