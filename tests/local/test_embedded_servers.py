"""The embedded servers: private, kept over restarts, also after kill -9; no folder's mode opened."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import nats
import nats.errors
import pytest
from consent_local.nats import Nats
from consent_local.postgres import Postgres
from servers import temporary_folder


async def run(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close(timeout=10)


async def test_postgres_is_version_18_durable_and_keeps_its_data_over_a_restart() -> None:
    with temporary_folder() as folder:
        server = Postgres(folder)
        try:
            url = server.start()
            assert str(await run(url, "SHOW server_version")).startswith("18")
            assert await run(url, "SHOW fsync") == "on"
            assert await run(url, "SHOW synchronous_commit") == "on"
            await run(url, "CREATE TABLE kept AS SELECT 7 AS n")
            server.stop()
            assert await run(server.start(), "SELECT n FROM kept") == 7
        finally:
            server.stop()


async def test_given_a_kill_9_when_postgres_starts_again_then_committed_data_is_there() -> None:
    with temporary_folder() as folder:
        killed, server = Postgres(folder), Postgres(folder)
        try:
            await run(killed.start(), "CREATE TABLE kept AS SELECT 7 AS n")
            record = folder / (folder / "postgres-folder").read_text()
            os.kill(int((record / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            killed.stop()  # reaps it: the process id of a zombie still counts as running
            assert await run(server.start(), "SELECT n FROM kept") == 7
        finally:
            killed.stop()
            server.stop()


async def test_postgres_refuses_a_wrong_password(postgres_url: str) -> None:
    if os.environ.get("CONSENT_TEST_DATABASE_URL"):
        pytest.skip("the server was given, its authentication is not ours")
    parts = urlsplit(postgres_url)
    wrong = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await run(wrong, "SELECT 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the cluster to another account")
async def test_given_a_closed_folder_and_root_when_postgres_starts_then_no_mode_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_folder() as state:
        monkeypatch.setattr("consent_local.account.STATE_FOLDER", state / "state")
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        before = [stat.S_IMODE(folder.stat().st_mode) for folder in (closed, *closed.parents)]
        server = Postgres(closed, durable=False)
        try:
            assert await run(server.start(), "SELECT 1") == 1
        finally:
            server.stop()
        after = [stat.S_IMODE(folder.stat().st_mode) for folder in (closed, *closed.parents)]
        assert after == before
        assert (closed / "postgres-folder").read_text().startswith(str(state))
        assert stat.S_IMODE((closed / "postgres-password").stat().st_mode) == 0o600


async def test_nats_keeps_its_stream_over_a_restart_and_refuses_a_stranger() -> None:
    with temporary_folder() as folder:
        server = Nats(folder)
        try:
            client = await nats.connect(server.start(), connect_timeout=5)
            await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
            await client.jetstream().publish("kept.one", b"7")
            await client.close()
            server.stop()
            client = await nats.connect(server.start(), connect_timeout=5)
            assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
            await client.close()
            parts = urlsplit(server.url)
            stranger = f"nats://{parts.hostname}:{parts.port}"
            with pytest.raises((nats.errors.Error, OSError)):
                await nats.connect(stranger, connect_timeout=2, allow_reconnect=False)
        finally:
            server.stop()
