"""Crashes: the connection is killed around every step; nothing is half there, and no answer lies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from consent_ledger import store as store_module
from consent_ledger.seams import CommitUnknown, Row, StoreRefused
from consent_ledger.store import ROLE
from writing import STEPS, Interrupted, audit, desk, enrol, fetch, opt_out, terminate

SLOW_FUNCTION = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END $$
"""
SLOW_TRIGGER = """
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger.idempotency DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION slow()
"""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
async def test_given_a_connection_killed_at_a_step_when_the_same_key_comes_again_then_it_is_there_once(
    migrated_database_url: str, step: str, after: bool
) -> None:
    url = migrated_database_url
    interrupted: list[Interrupted] = []

    def around(store: store_module.PostgresStore) -> Interrupted:
        interrupted.append(Interrupted(store, step, lambda: terminate(url), after))
        return interrupted[0]

    async with desk(url, around) as desk_:
        await desk_.write(enrol("w0"))
        interrupted[0].armed = True
        first = await desk_.write(enrol("w1"), key="k")
        assert not interrupted[0].armed, "the step was reached"
        recorded = await audit(url) == 3
        if step == "commit" and after:
            assert first.status == "applied"
        else:
            # Killed just before COMMIT, this side may not have noticed yet: then it cannot know.
            about_to_commit = step == "commit" or (step == "append" and after)
            assert first.error_code == "unavailable" or (
                about_to_commit and first.error_code == "outcome_unknown"
            )
        assert recorded == (step == "commit" and after)
        again = await desk_.write(enrol("w1"), key="k")
        assert (again.status, again.replayed) == ("applied", recorded)
        assert (await desk_.write(enrol("w2"))).status == "applied"
    assert await audit(url) == 4


async def test_given_a_commit_whose_answer_is_lost_when_the_same_key_comes_again_then_it_is_settled(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url

    async def lost() -> None:
        raise CommitUnknown("the answer to COMMIT did not come")

    interrupted: list[Interrupted] = []

    def around(store: store_module.PostgresStore) -> Interrupted:
        interrupted.append(Interrupted(store, "commit", lost, after=True))
        return interrupted[0]

    async with desk(url, around) as desk_:
        await desk_.write(enrol("w0"))
        interrupted[0].armed = True
        outcomes = await asyncio.gather(
            desk_.write(enrol("w1"), key="k1"), desk_.write(enrol("w1"), key="k2"), desk_.write(enrol("w0"))
        )
        assert [one.status for one in outcomes] == ["unknown", "not_applied", "not_applied"]
        assert [one.error_code for one in outcomes[1:]] == ["unavailable"] * 2, (
            "a refusal that rests on what may not be recorded is none"
        )
        assert await audit(url) == 3
        again = await desk_.write(enrol("w1"), key="k1")
        assert (again.status, again.replayed, again.last_position) == ("applied", True, 3)
        assert (await desk_.write(enrol("w1"), key="k2")).error_code == "already_exists"
        assert (await desk_.write(opt_out("w1"))).status == "applied", "what others recorded was read"
    assert await audit(url) == 4


async def test_given_a_commit_that_hangs_when_waited_for_long_enough_then_it_is_unknown_and_not_cancelled(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = migrated_database_url
    monkeypatch.setattr(store_module, "COMMIT_WAIT_SECONDS_MAX", 0.2)
    # A deferred trigger makes COMMIT itself slow, as a synchronous standby that does not answer would.
    await fetch(url, SLOW_FUNCTION)
    await fetch(url, SLOW_TRIGGER)
    async with desk(url) as desk_:
        outcome = await desk_.write(enrol("w1"), key="k")
        assert outcome.status == "unknown"
        again = await desk_.write(enrol("w1"), key="k")
        assert (again.status, again.replayed) == ("applied", True), "the lock was waited for, COMMIT went on"
    assert await audit(url) == 2


async def test_given_a_batch_that_the_database_refuses_when_retried_then_only_the_bad_command_fails(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    await fetch(url, "ALTER TABLE ledger.events ADD CHECK (stream <> 'workspace/bad')")
    async with desk(url, running=False) as desk_:
        waiting = [asyncio.create_task(desk_.write(enrol(name))) for name in ("w1", "bad", "w2")]
        await asyncio.sleep(0.01)
        await desk_.committer.step()
        outcomes = await asyncio.gather(*waiting)
    assert [(one.status, one.error_code) for one in outcomes] == [
        ("applied", ""),
        ("not_applied", "internal"),
        ("applied", ""),
    ]
    assert await audit(url) == 3


async def test_given_the_server_away_when_commands_come_then_they_are_not_applied_and_later_they_are(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    async with desk(url) as desk_:
        await desk_.write(enrol("w1"))
        desk_.pool.set_connect_args("postgresql://nobody@127.0.0.1:1/nowhere")
        await terminate(url)
        outcome = await desk_.write(enrol("w2"), key="k")
        assert (outcome.status, outcome.error_code) == ("not_applied", "unavailable")
        desk_.pool.set_connect_args(url, server_settings={"role": ROLE, "application_name": "desk"})
        assert (await desk_.write(enrol("w2"), key="k")).status == "applied"
    assert await audit(url) == 3


async def test_given_a_step_that_is_cancelled_when_its_commands_are_answered_then_none_waits_for_ever(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.sleep(60)

    interrupted: list[Interrupted] = []

    def around(store: store_module.PostgresStore) -> Interrupted:
        interrupted.append(Interrupted(store, "append", hang))
        interrupted[0].armed = True
        return interrupted[0]

    async with desk(url, around, running=False) as desk_:
        waiting = asyncio.create_task(desk_.write(enrol("w1"), key="k"))
        await asyncio.sleep(0.01)
        step = asyncio.create_task(desk_.committer.step())
        await reached.wait()
        step.cancel()
        assert (await asyncio.wait_for(waiting, 5)).status == "unknown"
        again = asyncio.create_task(desk_.write(enrol("w1"), key="k"))
        await asyncio.sleep(0.01)
        await desk_.committer.step()
        assert (await again).status == "applied"
    assert await audit(url) == 2


async def test_given_a_head_that_moved_under_the_lock_when_appended_then_nothing_is_recorded(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url, running=False) as desk_:
        async with desk_.store.transaction() as transaction:
            head = await transaction.lock_head()
        with pytest.raises(StoreRefused):
            async with desk_.store.transaction() as transaction:
                await transaction.lock_head()
                row = Row(
                    "workspace/w1", 1, uuid4(), "workspace-enrolled.v1", datetime.now(UTC), b"{}", b"0" * 32
                )
                await transaction.append(head._replace(position=5), [row], [], head.now, b"")
    assert await audit(migrated_database_url) == 0
