"""Every statement's file says what PostgreSQL says of it: parameters and columns, by name, type and order."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest
from consent_ledger.database import STATEMENTS
from consent_plumbing import migrations
from consent_plumbing.sql import Statements, parse_header

_PARAMETER = re.compile(r"\$(\d+) \w+ (\w+(?:\[\])?)")
_NOTE = re.compile(r"\([^)]*\)")
FOLDERS = [STATEMENTS, Statements(Path(migrations.__file__).parent / "migration_statements")]
EVERY = [pytest.param(folder, name, id=name) for folder in FOLDERS for name in folder]
_SAID = {"int8": "bigint", "int4": "integer", "bool": "boolean", "float8": "double precision"}


def said(kind: asyncpg.Type) -> str:
    if kind.kind == "array":
        return _SAID.get(kind.name.removesuffix("[]"), kind.name.removesuffix("[]")) + "[]"
    return _SAID.get(kind.name, kind.name)


@pytest.mark.parametrize(("folder", "name"), EVERY)
async def test_given_a_statement_when_prepared_then_its_header_is_right(
    migrated_database_url: str, folder: Statements, name: str
) -> None:
    header = folder.headers[name]
    connection = await asyncpg.connect(migrated_database_url, timeout=10, command_timeout=10)
    try:
        statement = await connection.prepare(folder[name].replace("{schema}", "ledger"))
        parameters = [said(kind) for kind in statement.get_parameters()]
        columns = [f"{one.name} {said(one.type)}" for one in statement.get_attributes()]
    finally:
        await connection.close(timeout=10)
    stated = sorted(_PARAMETER.findall(header.parameters), key=lambda one: int(one[0]))
    assert [number for number, _ in stated] == [str(n) for n in range(1, len(parameters) + 1)]
    assert [kind for _, kind in stated] == parameters
    expected = _NOTE.sub("", header.columns)
    assert [one.strip() for one in expected.split(",") if one.strip() != "none"] == columns


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "-- A sentence.\nSELECT 1",
        "-- A sentence.\n-- parameters: none\n-- columns: none\n-- errors: none\nSELECT 1",
        "-- parameters: none\n-- columns: none\n-- errors: none\n-- locks: none\nSELECT 1",
    ],
)
def test_given_a_file_without_a_whole_header_when_read_then_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        parse_header(text, "bad.sql")


def test_given_a_folder_without_statements_when_read_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.sql files"):
        Statements(tmp_path)
