"""The database refuses what must not happen, by privilege and by trigger: both are tried."""

from __future__ import annotations

import asyncpg
import pytest
from consent_ledger.database import STATEMENTS
from consent_ledger.store import ROLE
from writing import audit, desk, enrol

PROJECTOR = "consent_projector"
APPEND_ONLY = ("events", "idempotency", "blobs", "unsealings")
CHANGES = ("UPDATE ledger.{} SET {} = {}", "DELETE FROM ledger.{}", "TRUNCATE ledger.{}")
A_COLUMN = {"events": "body", "idempotency": "outcome", "blobs": "body", "unsealings": "reason"}
_ANY = {"uuid": "00000000-0000-0000-0000-000000000000", "int8": 1}
AN_EVENT = (
    "INSERT INTO ledger.events VALUES ({position}, '{stream}', 1, gen_random_uuid(), 't', now(), '\\x01',"
    " sha256('\\x01'))"
)


async def run_as(url: str, role: str | None, statement: str) -> None:
    settings = {"role": role} if role else {}
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10, server_settings=settings)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=10)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", [ROLE, PROJECTOR, None])
async def test_given_what_is_recorded_when_anybody_changes_it_then_the_database_refuses(
    migrated_database_url: str, table: str, change: str, role: str | None
) -> None:
    statement = change.format(table, A_COLUMN[table], A_COLUMN[table])
    with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
        await run_as(migrated_database_url, role, statement)
    by_trigger = "append-only" in str(refused.value)
    assert by_trigger == (role is None), "the service lacks the privilege, the owner meets the trigger"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger.head SET position = position - 1, range = ''",
        "UPDATE ledger.head SET epoch = epoch - 1",
        "UPDATE ledger.head SET recorded_at = recorded_at - interval '1 microsecond'",
        "UPDATE ledger.head SET origin = 'another.example/ledger'",
        "DELETE FROM ledger.head",
        "TRUNCATE ledger.head",
        "INSERT INTO ledger.head (only_row) VALUES (true)",
        "UPDATE ledger.head SET position = position + 1",
    ],
)
@pytest.mark.parametrize("role", [ROLE, None])
async def test_given_a_head_when_it_is_moved_back_or_aside_then_the_database_refuses(
    migrated_database_url: str, statement: str, role: str | None
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.write(enrol("w1"))
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError)):
        await run_as(migrated_database_url, role, statement)
    assert await audit(migrated_database_url) == 2


@pytest.mark.parametrize(
    ("position", "stream"),
    [
        (1, "workspace/has a space"),
        (1, "workspace/"),
        (1, "workspace/a\nworkspace/b"),
        (1, "strange/w1"),
        (0, "workspace/w1"),
        (1, "workspace/" + "x" * 129),
    ],
)
async def test_given_an_event_that_cannot_be_when_inserted_then_the_database_refuses(
    migrated_database_url: str, position: int, stream: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await run_as(migrated_database_url, ROLE, AN_EVENT.format(position=position, stream=stream))


async def test_given_the_projector_when_it_writes_to_the_ledger_then_the_database_refuses(
    migrated_database_url: str,
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as(migrated_database_url, PROJECTOR, AN_EVENT.format(position=1, stream="workspace/w1"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as(migrated_database_url, PROJECTOR, "SELECT * FROM ledger.api_keys")


async def test_given_an_api_key_when_it_is_rewritten_then_the_database_refuses_and_revoking_works(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as(url, ROLE, "UPDATE ledger.api_keys SET role = 'admin'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as(url, ROLE, "UPDATE ledger.api_keys SET may_unseal = true")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_as(url, ROLE, "DELETE FROM ledger.api_keys")
    await run_as(url, ROLE, "UPDATE ledger.api_keys SET revoked_at = now()")


async def test_given_a_lookup_of_requests_and_streams_when_planned_then_no_table_is_read_whole(
    migrated_database_url: str,
) -> None:
    connection = await asyncpg.connect(migrated_database_url, timeout=10, command_timeout=10)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        for name in ("events_of_streams", "outcomes_by_key", "stream_of_request", "erasures_from"):
            statement = await connection.prepare(STATEMENTS[name])
            arguments = [
                [] if kind.kind == "array" else _ANY[kind.name] for kind in statement.get_parameters()
            ]
            plan = str(await statement.explain(*arguments))
            assert "Seq Scan" not in plan, f"{name}: {plan}"
    finally:
        await connection.close(timeout=10)
