"""Events that cannot be read: what depends on them is refused, the rest goes on, the bytes stay."""

from __future__ import annotations

import uuid

import pytest
from consent_domain import merkle
from writing import RULES, PublishPolicy, audit, desk, enrol, fetch, opt_out


async def insert(url: str, stream: str, body: bytes, kind: str = "from-the-future.v9") -> None:
    """Record bytes as another version of the service would have."""
    (head,) = await fetch(url, "SELECT * FROM ledger.head")
    hashes = merkle.split(head["range"])
    merkle.append(head["position"], hashes, merkle.leaf_hash(body))
    await fetch(
        url,
        "INSERT INTO ledger.events SELECT $1, $2,"
        " 1 + (SELECT count(*)::integer FROM ledger.events WHERE stream = $2),"
        " $3, $4, clock_timestamp(), $5, $6",
        head["position"] + 1,
        stream,
        uuid.uuid4(),
        kind,
        body,
        merkle.leaf_hash(body),
    )
    await fetch(
        url,
        "UPDATE ledger.head SET position = position + 1, range = $1, recorded_at = clock_timestamp()",
        merkle.join(hashes),
    )


def future(stream: str, position: int, effect: str = "standing") -> bytes:
    return (
        f'{{"specversion":"1.0","id":"x","source":"s","type":"from-the-future.v9","subject":"{stream}",'
        f'"sequence":"{position:020d}","time":"2026-01-01T00:00:00.000000Z","effect":"{effect}","data":{{}}}}'
    ).encode()


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("body", [future("workspace/w1", 3), b"\x00 not even JSON"])
async def test_given_an_unreadable_event_when_its_workspace_is_written_then_only_that_is_refused(
    migrated_database_url: str, warm: bool, body: bytes
) -> None:
    url = migrated_database_url
    async with desk(url) as desk_:
        await desk_.write(enrol("w1"))
        if not warm:
            await insert(url, "workspace/w1", body)
    async with desk(url) as desk_:
        if warm:
            await desk_.write(enrol("w0"))
            await insert(url, "workspace/w1", body)
        assert (await desk_.write(opt_out("w1"))).error_code == "quarantined"
        assert (await desk_.write(enrol("w1"))).error_code == "already_exists"
        await desk_.write(enrol("w2"))
        assert (await desk_.write(opt_out("w2"))).status == "applied"
    (kept,) = await fetch(url, "SELECT body FROM ledger.events WHERE type = 'from-the-future.v9'")
    assert kept["body"] == body


async def test_given_an_unknown_event_without_effect_when_its_workspace_is_written_then_it_is_passed_over(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    async with desk(url) as desk_:
        await desk_.write(enrol("w1"))
        await insert(url, "workspace/w1", future("workspace/w1", 3, effect="none"))
        outcome = await desk_.write(opt_out("w1"))
        assert (outcome.status, outcome.stream_version) == ("applied", 3), "it counts as a version"


@pytest.mark.parametrize("stream", ["policy/principles", "log/ledger"])
async def test_given_an_unreadable_event_that_concerns_everybody_when_a_policy_comes_then_it_is_refused(
    migrated_database_url: str, stream: str
) -> None:
    url = migrated_database_url
    async with desk(url) as desk_:
        await desk_.write(enrol("w1"))
        await insert(url, stream, future(stream, 3))
        assert (await desk_.write(enrol("w2"))).error_code == "quarantined"
        (moment,) = await fetch(url, "SELECT clock_timestamp() + interval '40 days' AS later")
        policy = PublishPolicy(
            version="1",
            title="Principles",
            text_sha256="0" * 64,
            effective_at=moment["later"],
            direction="stricter",
            why="first",
            rules=RULES,
        )
        assert (await desk_.write(policy)).error_code == "quarantined"


async def test_given_events_when_more_are_recorded_then_the_bytes_of_the_earlier_ones_stay(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    every = "SELECT position, body, leaf_hash FROM ledger.events ORDER BY position"
    async with desk(url) as desk_:
        await desk_.write(enrol("w1"))
        before = await fetch(url, every)
        await desk_.write(opt_out("w1"))
        assert (await fetch(url, every))[: len(before)] == before
    await audit(url)
