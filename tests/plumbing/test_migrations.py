"""The migrator: started twice at once, with files edited, failing, newer, and an index built concurrently."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from consent_plumbing.migrations import MigrationRefused, migrate, read

CREATE = "CREATE TABLE trial.t (n integer);"
INSERT = "INSERT INTO trial.t VALUES (1);"
CONCURRENTLY = "-- transaction: none\nCREATE INDEX CONCURRENTLY IF NOT EXISTS t_n ON trial.t (n);"


def write(folder: Path, *texts: str) -> Path:
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04d}_step.sql").write_text(text)
    return folder


async def value(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close(timeout=10)


async def test_given_files_when_migrated_twice_then_they_are_applied_once_and_in_order(
    database_url: str, tmp_path: Path
) -> None:
    write(tmp_path, CREATE, INSERT)
    assert await migrate(database_url, "trial", tmp_path) == ["0001_step", "0002_step"]
    assert await migrate(database_url, "trial", tmp_path) == []
    assert await value(database_url, "SELECT count(*) FROM trial.t") == 1


@pytest.mark.parametrize("texts", [(CREATE, INSERT), (CREATE, INSERT, CONCURRENTLY)])
async def test_given_five_processes_when_they_start_at_once_then_each_file_is_applied_once(
    database_url: str, tmp_path: Path, texts: tuple[str, ...]
) -> None:
    write(tmp_path, *texts)
    applied = await asyncio.gather(*(migrate(database_url, "trial", tmp_path) for _ in range(5)))
    assert sorted(len(names) for names in applied) == [0, 0, 0, 0, len(texts)]
    assert await value(database_url, "SELECT count(*) FROM trial.t") == 1


async def test_given_an_applied_file_when_it_is_edited_then_nothing_more_is_applied(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url, "trial", write(tmp_path, CREATE))
    write(tmp_path, CREATE + " -- a word more", INSERT)
    with pytest.raises(MigrationRefused, match="differs"):
        await migrate(database_url, "trial", tmp_path)
    assert await value(database_url, "SELECT count(*) FROM trial.t") == 0


async def test_given_a_newer_database_when_an_older_version_migrates_then_it_refuses(
    database_url: str, tmp_path: Path
) -> None:
    await migrate(database_url, "trial", write(tmp_path, CREATE, INSERT))
    (tmp_path / "0002_step.sql").unlink()
    with pytest.raises(MigrationRefused, match="newer"):
        await migrate(database_url, "trial", tmp_path)


async def test_given_a_file_that_fails_half_way_when_migrated_then_it_leaves_nothing_and_the_earlier_stay(
    database_url: str, tmp_path: Path
) -> None:
    write(tmp_path, CREATE, INSERT + "CREATE TABLE trial.half (n integer); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database_url, "trial", tmp_path)
    assert await value(database_url, "SELECT to_regclass('trial.half')") is None
    assert await value(database_url, "SELECT count(*) FROM trial.t") == 0
    write(tmp_path, CREATE, INSERT)
    assert await migrate(database_url, "trial", tmp_path) == ["0002_step"]


async def test_given_a_lock_that_is_held_when_migrated_then_it_gives_up_in_time_and_says_why(
    database_url: str, tmp_path: Path
) -> None:
    write(tmp_path, "SELECT pg_sleep(1.5)")
    slow = asyncio.create_task(migrate(database_url, "trial", tmp_path))
    await asyncio.sleep(0.5)
    with pytest.raises(MigrationRefused, match="another process"):
        await migrate(database_url, "trial", tmp_path, wait_seconds_max=0.2)
    assert await slow == ["0001_step"]


@pytest.mark.parametrize(
    "names", [["0002_step.sql"], ["0001_a.sql", "0003_b.sql"], ["1_step.sql"], ["0001_Step.sql"]]
)
def test_given_files_that_are_badly_named_when_read_then_they_are_refused(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationRefused):
        read(tmp_path)


async def test_given_a_schema_name_that_is_none_when_migrated_then_it_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    with pytest.raises(MigrationRefused, match="no name"):
        await migrate(database_url, "trial; DROP TABLE t", write(tmp_path, CREATE))
