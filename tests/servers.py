"""The suite's real servers: given by CONSENT_TEST_DATABASE_URL and CONSENT_TEST_NATS_URL, else in
containers (CONSENT_TEST_CONTAINERS=1 and Docker answers), else embedded for the session.
"""

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
from consent_plumbing.migrations import migrate

CONTAINERS_ASKED = os.environ.get("CONSENT_TEST_CONTAINERS") == "1"
if CONTAINERS_ASKED:  # only then: testcontainers takes a second to import
    import containers

ROOT = Path(__file__).resolve().parents[1]
MIGRATIONS = {
    "ledger": ROOT / "services/ledger/consent_ledger/database/migrations",
    "views": ROOT / "services/projector/consent_projector/database/migrations",
}
"""The schemas and their files, in the order in which they are made."""


def kind(given_variable: str) -> str:
    """In words, where a server of the suite comes from."""
    if os.environ.get(given_variable):
        return f"given by {given_variable}"
    if not CONTAINERS_ASKED:
        return "embedded"
    answers = containers.docker_answers()
    return "in a container" if answers else "embedded, as Docker does not answer for a container"


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL whose user may create databases: given, in a container or embedded."""
    given = os.environ.get("CONSENT_TEST_DATABASE_URL")
    if given:
        yield given
        return
    if CONTAINERS_ASKED and containers.docker_answers():
        with containers.postgres_container() as url:
            yield url
        return
    with temporary_folder() as folder:
        server = Postgres(folder, durable=False)
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def nats_server() -> Iterator[str]:
    """URL of a NATS with JetStream: given, in a container or embedded."""
    given = os.environ.get("CONSENT_TEST_NATS_URL")
    if given:
        yield given
        return
    if CONTAINERS_ASKED and containers.docker_answers():
        with containers.nats_container() as url:
            yield url
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
    # Without a template it copies that of every new cluster. FILE_COPY: WAL_LOG writes every page twice.
    copied = f'TEMPLATE "{template or "template1"}" STRATEGY FILE_COPY'
    await _execute(server_url, f'CREATE DATABASE "{name}" {copied}')
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def migrated_template(server_url: str) -> AsyncIterator[str]:
    """Name of a new database with every service's schema, a template for `fresh_database`."""
    async with fresh_database(server_url) as url:
        for schema, folder in MIGRATIONS.items():
            if folder.is_dir():
                await migrate(url, schema, folder)
        yield urlsplit(url).path.removeprefix("/")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=10)
