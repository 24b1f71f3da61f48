"""A backup is whole or not there, and comes back whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from consent_domain.errors import ConsentError
from consent_ledger.api_keys import create_key
from consent_ledger.recovery.tables import TABLES
from recovering import Host

COUNT = 600
Another = Callable[[], Awaitable[str]]
SKIPPED = ("head", "migrations")


async def everything(host: Host) -> dict[str, list[tuple[object, ...]]]:
    async with host.database() as connection:
        return {
            table: sorted(tuple(row) for row in await connection.fetch(f"TABLE ledger.{table}"))
            for table in (*TABLES, "head")
        }


async def fill(host: Host) -> None:
    await host.append(COUNT)
    async with host.database() as connection:
        await create_key(connection, "admin", "ada")
        await create_key(connection, "auditor", "bo", may_unseal=True)
        await connection.execute("INSERT INTO ledger.blobs VALUES (sha256('words'), 'text/plain', 'words')")
        await connection.execute(
            "INSERT INTO ledger.idempotency VALUES ('k', 'ada', sha256('x'), 1, 2, 'out', now())"
        )
        await connection.execute(
            "INSERT INTO ledger.unsealings (position, principal, reason) VALUES (3, 'bo', 'asked to')"
        )


async def test_given_the_schema_then_a_backup_holds_every_table_with_every_column(host: Host) -> None:
    async with host.database() as connection:
        rows = await connection.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'ledger'"
        )
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    assert {name: set(columns) for name, columns in TABLES.items()} == {
        name: columns for name, columns in found.items() if name not in SKIPPED
    }


async def test_given_a_backup_when_restored_then_every_row_is_as_it_was_and_the_log_is_halted(
    host: Host, empty_database: Another
) -> None:
    await fill(host)
    before = await everything(host)
    made = await host.backup("backup")
    assert {path.stat().st_mode & 0o777 for path in made.rglob("*") if path.is_file()} == {0o600}
    assert made.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in made.parent.glob("backup*")] == ["backup"]
    host.database_url = await empty_database()
    await host.restore(made)
    assert await everything(host) == before
    halt = host.log.halted()
    assert halt is not None and halt.reason == "restored"
    async with host.database() as connection:
        number = await connection.fetchval(
            "INSERT INTO ledger.unsealings (position, principal, reason) "
            "VALUES (4, 'bo', 'x') RETURNING number"
        )
    assert number == 2, "what is recorded from now on is numbered behind what was put back"


async def test_given_appends_meanwhile_then_a_backup_is_of_one_instant(
    host: Host, empty_database: Another
) -> None:
    appender = await host.append(COUNT)
    made = await host.backup("backup")
    await host.append_more(appender, 10)
    host.database_url = await empty_database()
    await host.restore(made)
    assert (await host.head())[3] == COUNT == len(await host.events())


async def test_given_a_folder_of_that_name_then_nothing_is_overwritten(host: Host) -> None:
    await host.append(3)
    made = await host.backup("backup")
    with pytest.raises(ConsentError, match="already"):
        await host.backup("backup")
    assert (made / "manifest.json").exists()


async def test_given_no_database_then_nothing_is_left_of_the_backup(host: Host) -> None:
    host.database_url = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(OSError):
        await host.backup("backup")
    assert not list(host.folder.glob("backup*"))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["events.copy", "api_keys.copy", "checkpoints/1", "manifest.json"])
@pytest.mark.parametrize("how", [flip, Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-2])])
async def test_given_a_backup_with_a_changed_or_missing_file_then_nothing_is_put_back(
    host: Host, empty_database: Another, name: str, how: Callable[[Path], object]
) -> None:
    await host.append(COUNT)
    made = await host.backup("backup")
    how(made / name)
    host.database_url = await empty_database()
    with pytest.raises(ConsentError):
        await host.restore(made)
    assert await host.events() == []
    assert host.log.halted() is None


async def test_given_a_backup_that_was_rewritten_to_fit_itself_then_what_was_signed_contradicts_it(
    host: Host, empty_database: Another
) -> None:
    """Somebody changes an event, makes a backup of it, and brings no checkpoint."""
    await host.append(COUNT)
    await host.tamper(
        "UPDATE ledger.events SET body = body || ' '::bytea WHERE position = 300",
        "UPDATE ledger.events SET leaf_hash = sha256('\\x00'::bytea || body) WHERE position = 300",
    )
    await host.make_head_fit()
    made = await host.backup("backup")
    manifest = json.loads((made / "manifest.json").read_text())
    del manifest["files"]["checkpoints/1"]
    (made / "manifest.json").write_text(json.dumps(manifest))
    host.database_url = await empty_database()
    with pytest.raises(ConsentError, match="not what was signed"):
        await host.restore(made)
    assert await host.events() == []


async def test_given_a_database_with_anything_in_it_then_it_is_refused(
    host: Host, empty_database: Another
) -> None:
    await host.append(3)
    made = await host.backup("backup")
    with pytest.raises(ConsentError, match="not empty"):
        await host.restore(made)
    host.database_url = await empty_database()
    async with host.database() as connection:
        await create_key(connection, "admin", "ada")
    with pytest.raises(ConsentError, match="api_keys"):
        await host.restore(made)


async def test_given_another_schema_or_another_ledger_then_it_is_refused(
    host: Host, empty_database: Another
) -> None:
    await host.append(3)
    made = await host.backup("backup")
    manifest = json.loads((made / "manifest.json").read_text())
    host.database_url = await empty_database()
    for change in (
        {"schema": manifest["schema"][:-1]},
        {"origin": "other.test/ledger"},
        {"format": 2},
        {"position": 2},
        {"epoch": 2},
    ):
        (made / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises((ConsentError, asyncpg.PostgresError)):
            await host.restore(made)
    assert await host.events() == []
