"""The commands as an operator runs them: exit codes, what they say, and what is left when they are killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import asyncpg
import msgspec
from http_service import command, environment_of
from ledger_events import Appender, append_all, enrolled, policy
from recovering import Host

Another = Callable[[], Awaitable[str]]


async def started(host: Host, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environment_of(host.settings),  # type: ignore[arg-type]
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(host: Host, *arguments: str) -> tuple[int | None, dict[str, Any]]:
    """The exit code, and what was said for programs."""
    process = await started(host, *arguments, "--json")
    out, err = await process.communicate()
    return process.returncode, json.loads(out or err)


async def test_given_a_ledger_when_checked_then_the_exit_code_says_sound_damaged_or_not_checked(
    host: Host,
) -> None:
    await host.append(300)
    code, said = await run(host, "fsck")
    assert (code, said["clean"], said["position"]) == (0, True, 300)
    await host.tamper("UPDATE ledger.events SET body = body || ' '::bytea WHERE position = 7")
    code, said = await run(host, "fsck", "--clear")
    assert (code, said["halt"]["reason"]) == (1, "event_damaged")
    assert {one["position"] for one in said["findings"] if one["position"]} == {7}
    code, said = await run(host, "fsck", "--key", "nonsense")
    assert code == 2
    host.database_url = "postgresql://nobody@127.0.0.1:1/none"
    code, said = await run(host, "fsck")
    assert code == 2


async def test_given_a_backup_when_put_back_by_commands_then_each_says_which_is_next(
    host: Host, empty_database: Another
) -> None:
    appender = await host.append(300)
    code, said = await run(host, "backup", str(host.folder / "backup"))
    assert (code, said["position"], said["checkpoints"]) == (0, 300, [1])
    await host.append_more(appender, 20)
    host.database_url = await empty_database()
    code, said = await run(host, "restore", str(host.folder / "backup"))
    assert (code, said["position"]) == (0, 300)
    process = await started(host, "recover", "--without-jetstream")
    out, _ = await process.communicate()
    assert process.returncode == 0
    text = out.decode()
    assert "events 301 to 320 were taken back from the published tiles" in text
    assert "LOST" in text and "fsck --clear" in text
    code, said = await run(host, "fsck", "--clear")
    assert (code, said["cleared"]["reason"], said["epoch"]) == (0, "recovered", 2)
    code, said = await run(host, "restore", str(host.folder / "backup"))
    assert (code, said["error"]) == (1, "wrong_state")


async def test_given_an_import_that_is_killed_then_nothing_of_it_is_left_and_it_can_be_run_again(
    host: Host, empty_database: Another
) -> None:
    """It is held up by a lock when all events are in and nothing is committed yet."""
    words = b"the words of the policy"
    connection = await asyncpg.connect(host.database_url, timeout=10)
    appender = Appender(connection)
    draft = policy()
    body = msgspec.structs.replace(draft.body, text_sha256=sha256(words).hexdigest())  # type: ignore[type-var]
    await append_all(appender, [draft._replace(body=body), *(enrolled(f"w{n}") for n in range(400))])
    await connection.close(timeout=10)
    await host.publish()
    events = await host.events()
    made = host.export("export", texts=[words])
    host.database_url = await empty_database()
    asked = ("import", str(made), "--key", str(host.verifier))
    async with host.database() as blocking:
        transaction = blocking.transaction()
        await transaction.start()
        await blocking.execute("LOCK TABLE ledger.blobs IN EXCLUSIVE MODE")
        process = await started(host, *asked)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not await blocking.fetchval(waiting):
            await asyncio.sleep(0.05)
            assert process.returncode is None
        process.kill()
        await process.wait()
        await transaction.rollback()
    assert await host.events() == []
    code, said = await run(host, *asked)
    assert (code, said["position"], said["texts"]) == (0, 401, 1)
    assert await host.events() == events


async def test_given_contradicting_options_then_the_usage_is_said(host: Host) -> None:
    for options in (("--from-jetstream", "--without-jetstream"), ("--epoch", "3", "--same-epoch")):
        process = await started(host, "recover", *options)
        _, err = await process.communicate()
        assert process.returncode == 2 and b"not allowed with" in err
