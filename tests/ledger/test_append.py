"""Appending: what is recorded, what is answered, and what stays as it is."""

from __future__ import annotations

import asyncio

import pytest
from consent_domain.commands import EnrolWorkspace, ProcessOptOut
from consent_domain.errors import ConsentError
from consent_ledger.seams import StoreUnavailable
from writing import ADMIN, ORIGIN, OTHER, audit, desk, enrol, fetch, opt_out

# -- what is recorded ---------------------------------------------------------------------------------------


async def test_given_a_new_ledger_when_a_command_comes_then_it_is_opened_in_the_same_commit(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        outcome = await desk_.write(enrol("w1"))
        assert (outcome.status, outcome.first_position, outcome.last_position) == ("applied", 1, 2)
        assert outcome.token == f"{ORIGIN}/1/2"
        assert outcome.stream_version == 1
    types = [row["type"] for row in await fetch(migrated_database_url, "SELECT type FROM ledger.events")]
    assert types == ["ledger-opened.v1", "workspace-enrolled.v1"]
    assert await audit(migrated_database_url) == 2


async def test_given_commands_in_one_batch_when_decided_then_each_sees_the_ones_before(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        outcomes = await desk_.writer.write_many(
            [enrol("w1"), enrol("w1"), opt_out("w1"), opt_out("w2")],
            ADMIN,
            idempotency_keys=None,
            dry_run=False,
        )
    assert [(o.status, o.error_code) for o in outcomes] == [
        ("applied", ""),
        ("not_applied", "already_exists"),
        ("applied", ""),
        ("not_applied", "unknown_workspace"),
    ]
    assert outcomes[2].stream_version == 2
    assert await audit(migrated_database_url) == 3


async def test_given_a_refusal_when_answered_then_nothing_was_recorded_and_no_position_is_missing(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.write(enrol("w1"))
        refused = await desk_.write(enrol("w1"), key="k")
        assert (refused.status, refused.last_position, refused.token) == ("not_applied", 0, "")
        assert (await desk_.write(enrol("w2"))).first_position == 3
    assert await fetch(migrated_database_url, "SELECT * FROM ledger.idempotency") == []
    assert await audit(migrated_database_url) == 3


async def test_given_a_dry_run_when_decided_then_its_answer_comes_and_nothing_is_recorded(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        dry = await desk_.write(enrol("w1"), key="k", dry_run=True)
        assert (dry.status, dry.dry_run, dry.error_code) == ("not_applied", True, "")
        assert dry.answer["workspace"] == "w1"
        refused = await desk_.write(opt_out("w1"), dry_run=True)
        assert refused.error_code == "unknown_workspace"
    assert await audit(migrated_database_url) == 0


async def test_given_a_version_when_it_is_not_the_streams_then_it_conflicts(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.write(enrol("w1"))
        conflict = await desk_.write(opt_out("w1"), expected_version=7)
        assert (conflict.error_code, conflict.error_extra) == ("version_conflict", {"currentVersion": 1})
        assert (await desk_.write(opt_out("w1"), expected_version=1)).status == "applied"


async def test_given_an_event_above_the_limit_when_encoded_then_it_alone_is_refused(
    migrated_database_url: str,
) -> None:
    large = EnrolWorkspace(workspace="w2", plan="free", region="eu", on_behalf_of="x" * 70_000)
    async with desk(migrated_database_url) as desk_:
        outcomes = await desk_.writer.write_many(
            [enrol("w1"), large, enrol("w3")], ADMIN, idempotency_keys=None, dry_run=False
        )
    assert [o.status for o in outcomes] == ["applied", "not_applied", "applied"]
    assert outcomes[1].error_code in ("event_too_large", "invalid_value")
    assert await audit(migrated_database_url) == 3


async def test_given_a_request_when_processed_by_its_id_then_its_stream_is_found(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as one, desk(migrated_database_url) as other:
        await one.write(enrol("w1"))
        asked = await one.write(opt_out("w1"))
        request = str(asked.answer["request"])
        assert await other.writer.stream_of_request(request) == "workspace/w1"
        assert (await other.write(ProcessOptOut(request=request), OTHER)).status == "applied"
        unknown = await other.write(ProcessOptOut(request=request[::-1]), OTHER)
        assert unknown.error_code == "unknown_request"
        assert await other.writer.stream_of_request("no uuid") is None
        assert await other.writer.stream_of_request(f"{{{request}}}") is None, (
            "another spelling is another id"
        )


# -- idempotency --------------------------------------------------------------------------------------------


async def test_given_a_key_when_the_same_comes_again_then_the_first_outcome_is_repeated(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as one, desk(migrated_database_url) as other:
        first = await one.write(enrol("w1"), key="k")
        again = await other.write(enrol("w1"), key="k")
    assert again.replayed and not first.replayed
    assert (again.token, again.answer, again.recorded_at) == (first.token, first.answer, first.recorded_at)
    assert await audit(migrated_database_url) == 2


async def test_given_a_key_when_another_body_or_principal_comes_then_it_stands_for_one_command(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.write(enrol("w1"), key="k")
        assert (await desk_.write(enrol("w2"), key="k")).error_code == "idempotency_key_reused"
        assert (await desk_.write(enrol("w2"), OTHER, key="k")).status == "applied"


async def test_given_one_key_twice_in_a_batch_when_decided_then_it_is_recorded_once(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        outcomes = await desk_.writer.write_many(
            [enrol("w1"), enrol("w1"), enrol("w2")], ADMIN, idempotency_keys=["k", "k", "k"], dry_run=False
        )
    assert [(o.status, o.replayed, o.error_code) for o in outcomes] == [
        ("applied", False, ""),
        ("applied", True, ""),
        ("not_applied", False, "idempotency_key_reused"),
    ]
    assert outcomes[0].token == outcomes[1].token
    assert await audit(migrated_database_url) == 2


async def test_given_a_refused_command_when_its_key_comes_again_then_it_is_decided_again(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        assert (await desk_.write(opt_out("w1"), key="k")).error_code == "unknown_workspace"
        await desk_.write(enrol("w1"))
        assert (await desk_.write(opt_out("w1"), key="k")).status == "applied"


# -- the queue ----------------------------------------------------------------------------------------------


async def test_given_a_full_queue_when_another_command_comes_then_it_is_overloaded_and_not_dropped_silently(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url, running=False, queue_max=2) as desk_:
        waiting = [asyncio.create_task(desk_.write(enrol(f"w{n}"))) for n in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(ConsentError) as refused:
            await desk_.write(enrol("w3"))
        assert (refused.value.code, refused.value.status) == ("overloaded", 503)
        assert await desk_.committer.step() == 2
        assert [outcome.status for outcome in await asyncio.gather(*waiting)] == ["applied", "applied"]


async def test_given_a_command_that_waited_too_long_when_drained_then_it_is_given_back(
    migrated_database_url: str,
) -> None:
    now = [0.0]
    async with desk(migrated_database_url, running=False, clock=lambda: now[0]) as desk_:
        late = asyncio.create_task(desk_.write(enrol("w1")))
        await asyncio.sleep(0.01)
        now[0] = 60.0
        assert await desk_.committer.step() == 0
        assert ((await late).status, (await late).error_code) == ("not_applied", "overloaded")
    assert await audit(migrated_database_url) == 0


async def test_given_a_stopping_process_when_commands_wait_then_all_are_answered(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url, batch_max=1) as desk_:
        waiting = [asyncio.create_task(desk_.write(enrol(f"w{n}"))) for n in range(20)]
        await asyncio.sleep(0.005)
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    applied = [one for one in outcomes if not isinstance(one, BaseException) and one.status == "applied"]
    for one in outcomes:
        code = one.code if isinstance(one, ConsentError) else getattr(one, "error_code", None)
        assert one in applied or code == "unavailable"
    events = await audit(migrated_database_url)
    assert events == (len(applied) + 1 if applied else 0)


# -- hints, floors, visibility ------------------------------------------------------------------------------


async def test_given_a_commit_when_answered_then_its_bytes_are_told_and_its_floors_are_up(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.write(enrol("w1"))
        rows = await fetch(migrated_database_url, "SELECT body FROM ledger.events ORDER BY position")
        await asyncio.sleep(0)
        (batch,) = desk_.committed
        assert (batch.origin, batch.epoch, batch.first, batch.last) == (ORIGIN, 1, 1, 2)
        assert list(batch.bodies) == [row["body"] for row in rows]
        assert [list(one.bodies) for one in desk_.ear.batches] == [list(batch.bodies)]
        assert desk_.floors.floor_of("w1", [], "p") == 2
        assert desk_.floors.floor_of("w2", [], "p") == 1, "that the ledger was opened concerns everybody"


@pytest.mark.parametrize("visible", [True, False])
async def test_given_a_narrowing_command_when_the_replica_lags_then_the_answer_says_so(
    migrated_database_url: str, visible: bool
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.write(enrol("w1"))
        desk_.replica[0] = 3 if visible else 2
        before = asyncio.get_running_loop().time()
        outcome = await desk_.write(opt_out("w1"))
        waited = asyncio.get_running_loop().time() - before
    assert outcome.answer["visible"] is visible
    assert visible or waited >= 0.25


async def test_given_a_follower_that_fails_when_a_batch_is_committed_then_it_is_still_answered(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:

        def fails(batch: object) -> None:
            raise RuntimeError("the follower is broken")

        desk_.committer._on_committed = fails
        assert (await desk_.write(enrol("w1"))).status == "applied"
        assert (await desk_.write(enrol("w2"))).status == "applied"


# -- another ledger -----------------------------------------------------------------------------------------


async def test_given_another_ledgers_database_when_written_then_it_is_unavailable_and_untouched(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        desk_.committer._origin = "another.example/ledger"
        outcome = await desk_.write(enrol("w1"))
        assert (outcome.status, outcome.error_code) == ("not_applied", "unavailable")
    assert await audit(migrated_database_url) == 0


async def test_given_a_closed_store_when_a_transaction_is_asked_for_then_it_is_unavailable(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        await desk_.store.close()
        with pytest.raises(StoreUnavailable):
            async with desk_.store.transaction():
                pass
