"""Two committers on one ledger: one order, no gap, no loss, and each remembers what the other recorded."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from consent_domain.commands import Command, RegisterOrganisation
from consent_domain.state import BookState, StreamState, fold_book_stored, fold_stored
from consent_ledger import memory
from consent_ledger.memory import is_everybodys
from consent_ledger.outcome import Outcome
from writing import Desk, audit, desk, enrol, fetch, opt_out

COMMANDS = 1_200
WORKSPACES = 60


def some_commands(seed: int) -> list[Command]:
    chosen = random.Random(seed)
    commands: list[Command] = []
    for number in range(COMMANDS):
        workspace = f"w{chosen.randrange(WORKSPACES)}"
        organisation = RegisterOrganisation(organisation=f"o{seed}-{number}")
        commands.append(chosen.choice([enrol(workspace), opt_out(workspace), organisation]))
    return commands


async def give(desk_: Desk, seed: int, commands: list[Command]) -> list[Outcome]:
    bound = asyncio.Semaphore(50)

    async def one(number: int, command: Command) -> Outcome:
        async with bound:
            outcome = await desk_.write(command, key=f"{seed}-{number}")
            if number % 10 == 0:  # sent again, as after a lost answer, perhaps to the other process
                again = await desk_.write(command, key=f"{seed}-{number}")
                if outcome.status != "applied":
                    return again  # a refusal is not kept, and may be another one by now, or none
                assert again.replayed and again.token == outcome.token
            return outcome

    return list(await asyncio.gather(*(one(number, command) for number, command in enumerate(commands))))


async def assert_remembers(url: str, desk_: Desk) -> None:
    """What a committer remembers is what folding the stored bytes gives, to the last field."""
    everybody = BookState()
    streams: dict[str, StreamState] = {}
    for row in await fetch(url, "SELECT position, stream, body FROM ledger.events ORDER BY position"):
        if is_everybodys(row["stream"]):
            everybody = fold_book_stored(everybody, row["stream"], row["position"], row["body"])
        else:
            streams[row["stream"]] = fold_stored(
                streams.get(row["stream"]), row["stream"], row["position"], row["body"]
            )
    remembered = desk_.committer._memory
    assert remembered.everybody == everybody
    assert remembered._streams
    assert {name: streams.get(name) for name in remembered._streams} == dict(remembered._streams)


@pytest.mark.parametrize("far_behind", [2_000, 3])
async def test_given_two_committers_when_they_write_the_same_streams_then_nothing_is_lost_or_doubled(
    migrated_database_url: str, far_behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "FAR_BEHIND", far_behind)
    url = migrated_database_url
    async with desk(url, batch_max=20) as one, desk(url, batch_max=20) as other:
        both = await asyncio.gather(give(one, 1, some_commands(1)), give(other, 2, some_commands(2)))
        outcomes = [outcome for outcomes in both for outcome in outcomes]
        assert Counter(outcome.status for outcome in outcomes).keys() == {"applied", "not_applied"}
        assert {outcome.error_code for outcome in outcomes} <= {"", "already_exists", "unknown_workspace"}
        # Each reads what the other did last, and then knows the whole.
        for desk_ in (one, other):
            assert (await desk_.write(enrol("w0"))).error_code == "already_exists"
            await assert_remembers(url, desk_)
    applied = [outcome for outcome in outcomes if outcome.status == "applied"]
    positions = sorted(
        position
        for outcome in applied
        for position in range(outcome.first_position, outcome.last_position + 1)
    )
    assert positions == list(range(1, await audit(url) + 1)), "each position was answered for once"
    (keys,) = await fetch(url, "SELECT count(*) AS many FROM ledger.idempotency")
    assert keys["many"] == len(applied)


async def test_given_a_database_put_back_when_written_then_what_was_remembered_is_forgotten(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    async with desk(url) as desk_:
        await desk_.write(enrol("w1"))
        await desk_.write(enrol("w2"))
        # As an operator restores: an older state, and then another event at the same position.
        for statement in (
            "ALTER TABLE ledger.events DISABLE TRIGGER USER",
            "ALTER TABLE ledger.head DISABLE TRIGGER USER",
            "DELETE FROM ledger.events WHERE position = 3",
            "UPDATE ledger.head SET position = 2, range = ("
            " SELECT sha256('\\x01' || a.leaf_hash || b.leaf_hash) FROM ledger.events a, ledger.events b"
            " WHERE a.position = 1 AND b.position = 2)",
            "ALTER TABLE ledger.events ENABLE TRIGGER USER",
            "ALTER TABLE ledger.head ENABLE TRIGGER USER",
        ):
            await fetch(url, statement)
        async with desk(url) as other:
            await other.write(enrol("w3"))
        assert (await desk_.write(enrol("w2"))).last_position == 4, "it is not enrolled any more"
        assert (await desk_.write(enrol("w3"))).error_code == "already_exists"
        await assert_remembers(url, desk_)
    assert await audit(url) == 4
