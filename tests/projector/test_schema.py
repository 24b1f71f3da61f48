"""The schema `views`: statements are as their headers say, and each role may do what it needs and no more."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from consent_projector.database import STATEMENTS
from projecting import Projected, projected

PARAMETER = re.compile(r"\$\d+ \w+ ([a-z]+(?:\[\])?)")
COLUMN = re.compile(r"(\w+) (text|bigint|integer|boolean|bytea|double precision)(?:,|$| \()")
NEXT = tuple(f"differences_of_{view}" for view in ("facts", "requests", "counts", "runs", "exposure"))


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        yield it


async def test_every_statement_takes_and_returns_what_its_header_says(db: Projected) -> None:
    for view in ("facts", "requests", "counts", "runs", "exposure"):
        await db.connection.execute("SELECT views.begin_next($1, 'me', '3 s')", view)
    for name in STATEMENTS:
        header, prepared = STATEMENTS.headers[name], await db.connection.prepare(STATEMENTS[name])
        taken = [
            parameter.name.removeprefix("_") + "[]" * parameter.name.startswith("_")
            for parameter in prepared.get_parameters()
        ]
        said = [
            PG_NAMES.get(text.removesuffix("[]"), text.removesuffix("[]")) + "[]" * text.endswith("[]")
            for text in PARAMETER.findall(header.parameters)
        ]
        assert taken == said, name
        returned = [(column.name, column.type.name) for column in prepared.get_attributes()]
        named = [(column, PG_NAMES.get(kind, kind)) for column, kind in COLUMN.findall(header.columns)]
        assert returned == named, name


PG_NAMES = {"bigint": "int8", "integer": "int4", "boolean": "bool", "double precision": "float8"}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM views.facts",
        "TRUNCATE views.facts",
        "DROP TABLE views.facts",
        "INSERT INTO views.cursors (view) VALUES ('mine')",
        "DELETE FROM views.cursors",
        "UPDATE ledger.head SET position = 1",
        "INSERT INTO ledger.events SELECT * FROM ledger.events",
        "SELECT * FROM ledger.api_keys",
        "SELECT * FROM ledger.idempotency",
        "CREATE TABLE views.mine ()",
    ],
)
async def test_the_projector_may_not(db: Projected, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.pool.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE views.facts SET position = 1",
        "UPDATE views.cursors SET position = 1",
        "SELECT views.begin_next('facts', 'me', '3 s')",
        "SELECT views.switch_to_next('facts', 'me')",
    ],
)
async def test_the_ledger_may_only_read_views(db: Projected, statement: str) -> None:
    await db.connection.execute("SET ROLE consent_ledger")
    for view in ("facts", "requests", "counts", "runs", "exposure", "cursors"):
        await db.connection.fetch(f"TABLE views.{view}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.connection.execute(statement)


async def test_only_views_can_be_rebuilt(db: Projected) -> None:
    for name in ("cursors", "relay", "facts; DROP TABLE views.facts"):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await db.pool.execute("SELECT views.begin_next($1, 'me', '3 s')", name)
