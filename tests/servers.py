"""The suite's real servers: given by the environment, else embedded for the session."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from consent_local.nats import Nats
from consent_local.postgres import Postgres


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL whose user may create databases: CONSENT_TEST_DATABASE_URL, else embedded."""
    given = os.environ.get("CONSENT_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with temporary_folder() as folder:
        server = Postgres(folder, durable=False)
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def nats_server() -> Iterator[str]:
    """URL of a NATS with JetStream: CONSENT_TEST_NATS_URL, else embedded."""
    given = os.environ.get("CONSENT_TEST_NATS_URL")
    if given:
        yield given
        return
    with temporary_folder() as folder:
        server = Nats(folder)
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's account can pass through, so that the cluster stays inside it."""
    with tempfile.TemporaryDirectory(prefix="consent-test-") as name:
        os.chmod(name, 0o711)
        yield Path(name)


@asynccontextmanager
async def fresh_database(server_url: str, template: str | None = None) -> AsyncIterator[str]:
    """URL of a new database (a copy of `template` if given), dropped at the end with its connections."""
    name = f"test_{secrets.token_hex(8)}"
    copied = f' TEMPLATE "{template}"' if template else ""
    await _execute(server_url, f'CREATE DATABASE "{name}"{copied}')
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=10)
