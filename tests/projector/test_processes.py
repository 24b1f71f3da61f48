"""`consent-projector` as processes: killed, paused, doubled, without servers, and told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from consent_plumbing.nats import COMMITTED_SUBJECT, STREAM
from consent_projector.views import VIEWS
from ledger_events import ORIGIN, Draft, append_all, enrolled, history
from nats.js.errors import NotFoundError
from projecting import Projected, committed, projected

NOWHERE = "nats://127.0.0.1:1"
SECONDS_MAX = 60.0


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        yield it


def environment(database_url: str, nats_url: str) -> dict[str, str]:
    settings = {"DATABASE_URL": database_url, "NATS_URL": nats_url, "ORIGIN": ORIGIN}
    return {**os.environ, **{f"CONSENT_{name}": value for name, value in settings.items()}}


@contextmanager
def running(
    database_url: str, nats_url: str, log: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`consent-projector run`, killed at the end if it still runs; its log goes to a file."""
    with (
        log.open("ab") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "consent_projector.main", "run", *arguments],
            env=environment(database_url, nats_url),
            stderr=stderr,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until an async condition holds, at most `SECONDS_MAX`."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            result = condition()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.05)
    raise AssertionError(what)


async def reached(db: Projected, views: tuple[str, ...] = tuple(VIEWS)) -> bool:
    return all([await db.position(view) == db.ledger.position for view in views])


async def owner(db: Projected, view: str = "facts") -> str:
    value = await db.connection.fetchval(
        "SELECT owner FROM views.cursors WHERE view = $1 AND leased_until > clock_timestamp()", view
    )
    return value or ""


async def test_given_kill_9_again_and_again_under_load_then_every_view_is_the_fold_of_the_log(
    db: Projected, nats_url: str, tmp_path: Path
) -> None:
    client = await nats.connect(nats_url)
    views = ("facts", "counts", "requests", "runs", "exposure", "relay")
    arguments = ["--batch", "10", *(text for view in views for text in ("--view", view))]
    drafts = list(history(3_000))
    try:
        for _ in range(2):
            with running(db.url, nats_url, tmp_path / "log", *arguments) as process:
                before = [await db.position(view) for view in views]
                while [await db.position(view) for view in views] == before:
                    taken, drafts = drafts[:10], drafts[10:]
                    for message in committed(await db.ledger.append(taken)):
                        await client.publish(COMMITTED_SUBJECT, message)
                    await asyncio.sleep(0.1)
                    assert drafts, "nothing was projected"
                process.send_signal(signal.SIGKILL)
        await append_all(db.ledger, drafts, batch=100)
        with running(db.url, nats_url, tmp_path / "log", *arguments):
            await until(lambda: reached(db, views), "the views did not catch up")
        for view in VIEWS:
            assert await db.rows(view) == db.expected(view)
        stream = client.jetstream()
        state = (await stream.stream_info(STREAM)).state
        assert state.messages == db.ledger.position
        for position in (1, 50, db.ledger.position):
            assert (await stream.get_msg(STREAM, position)).data == db.ledger.log[position - 1].body
    finally:
        with suppress(NotFoundError):
            await client.jetstream().delete_stream(STREAM)
        await client.close()


async def test_given_two_processes_when_the_owner_is_paused_then_the_other_goes_on_and_both_leave_it_right(
    db: Projected, tmp_path: Path
) -> None:
    arguments = ("--view", "facts")
    await append_all(db.ledger, history(50))
    with running(db.url, NOWHERE, tmp_path / "one", *arguments) as first:
        await until(lambda: reached(db, ("facts",)), "the first did not begin")
        name = await owner(db)
        with running(db.url, NOWHERE, tmp_path / "two", *arguments):
            first.send_signal(signal.SIGSTOP)
            await db.ledger.append([enrolled("later")])
            await until(lambda: reached(db, ("facts",)), "the second did not take over")
            assert await owner(db) != name
            await db.ledger.append([enrolled("latest")])
            first.send_signal(signal.SIGCONT)
            await until(lambda: reached(db, ("facts",)), "neither went on")
            assert await db.rows("facts") == db.expected("facts")


async def test_given_sigterm_then_it_gives_its_leases_back_and_ends_with_0(
    db: Projected, tmp_path: Path
) -> None:
    await db.ledger.append([enrolled("a")])
    with running(db.url, NOWHERE, tmp_path / "log") as process:
        await until(lambda: reached(db), "it did not begin")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, SECONDS_MAX) == 0
    assert [await owner(db, view) for view in (*VIEWS, "relay")] == [""] * (len(VIEWS) + 1)


async def test_given_no_postgres_and_no_nats_then_it_keeps_trying_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running("postgresql://nobody@127.0.0.1:1/none", NOWHERE, log) as process:
        await until(lambda: log.exists() and log.read_bytes().count(b'"unavailable"') > 8, "no failures")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, SECONDS_MAX) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["view"] for line in lines if line["event"] == "unavailable"} == {*VIEWS, "relay"}


async def test_given_an_event_that_cannot_be_read_then_the_log_alarms_with_stream_and_position(
    db: Projected, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    await db.ledger.append([enrolled("a"), Draft("workspace/a", b"?")])
    with running(db.url, NOWHERE, log, "--view", "facts"):
        await until(lambda: b"event_quarantined" in log.read_bytes(), "no alarm")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (alarm,) = [line for line in lines if line["event"] == "event_quarantined"]
    assert (alarm["level"], alarm["stream"], alarm["position"]) == ("error", "workspace/a", 2)


async def command(db: Projected, *arguments: str) -> tuple[int, str]:
    """Exit code and output of one command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "consent_projector.main",
        *arguments,
        env=environment(db.url, NOWHERE),
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_commands_lag_rebuild_and_migrate_say_what_they_did_as_json(db: Projected) -> None:
    await db.ledger.append([enrolled("a"), enrolled("b")])
    code, output = await command(db, "lag", "--json")
    assert code == 0
    lag = {row["view"]: (row["behind"], row["is_leased"]) for row in json.loads(output)}
    assert lag == dict.fromkeys((*VIEWS, "relay"), (2, False))
    code, output = await command(db, "rebuild", "facts", "--processes", "1", "--json")
    assert (code, json.loads(output)["position"]) == (0, 2)
    assert await command(db, "migrate", "--json") == (0, "[]\n")


@pytest.mark.parametrize("arguments", [("rebuild", "relay"), ("run", "--view", "other"), ()])
async def test_given_bad_arguments_then_the_exit_code_is_2(db: Projected, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        from consent_projector.main import main

        main(arguments)
    assert ended.value.code == 2
