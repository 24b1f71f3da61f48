"""Given runs in the log, when they are projected, then whose data each used is known, or may be anybody's."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from consent_domain.events import RunDischarged, RunOutput, RunRegistered
from consent_ledger.runs.reading import runs_after, runs_using
from consent_projector.rebuild import rebuild
from consent_projector.views import VIEWS
from consent_projector.views.exposure import UNKNOWN, containers
from hypothesis import given, settings
from hypothesis import strategies as some
from ledger_events import BY, Draft
from projecting import Projected, drain, projected
from pyroaring import BitMap, BitMap64

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        yield it


def registered(run: str, digest: str, **more: Any) -> Draft:
    body = RunRegistered(
        recorded_by=BY, purpose="train", manifest_sha256="ab" * 32, set_sha256=digest, position="0", at=AT,
        outputs=[RunOutput(kind="model", uri=f"models:/{run}")], **more,
    )  # fmt: skip
    return Draft(f"run/{run}", body)


def discharged(run: str) -> Draft:
    return Draft(
        f"run/{run}", RunDischarged(recorded_by=BY, action="purged", through="1", evidence_sha256="ab" * 32)
    )


async def keep(db: Projected, ordinals: Iterable[int], data: bytes | None = None) -> str:
    data = BitMap64(ordinals).serialize() if data is None else data
    digest = hashlib.sha256(data)
    await db.connection.execute(
        "INSERT INTO ledger.blobs VALUES ($1, 'application/octet-stream', $2)", digest.digest(), data
    )
    return digest.hexdigest()


async def using(db: Projected, ordinal: int) -> list[str]:
    return [run.id for run in (await runs_using(db.connection, ordinal, "", 0, 1_000)).runs]


async def project(db: Projected) -> list[str]:
    """Apply everything; the reasons of faults."""
    steps = [step for view in ("runs", "exposure") for step in await drain(db.consumer(view))]
    return [fault.reason for step in steps for fault in step.faults]


async def test_given_sets_sparse_and_dense_then_each_ordinal_is_found_and_no_other(db: Projected) -> None:
    seeded = random.Random(3)
    dense = set(seeded.sample(range(200_000), 120_000))
    sparse = {5, 65_535, 65_536, 1 << 33, (1 << 40) + 7}
    edge = set(range(0, 8_192, 2)) | {131_072}  # 4,096 in the first container: the most that is sparse
    drafts = [
        registered(name, await keep(db, ordinals))
        for name, ordinals in (("dense", dense), ("sparse", sparse), ("edge", edge))
    ]
    await db.ledger.append(drafts)
    assert await project(db) == []
    asked = [
        *sparse,
        *(one + 1 for one in sparse),
        *seeded.sample(range(200_000), 300),
        8_190,
        8_191,
        131_072,
    ]
    for ordinal in asked:
        known = [("dense", dense), ("sparse", sparse), ("edge", edge)]
        expected = [name for name, ordinals in known if ordinal in ordinals]
        assert await using(db, ordinal) == expected, ordinal


@pytest.mark.parametrize("data", [None, b"", b"\xff" * 40], ids=["not kept", "empty", "no bitmap"])
async def test_given_a_set_that_cannot_be_read_then_the_run_may_have_used_anybodys(
    db: Projected, data: bytes | None
) -> None:
    digest = "cd" * 32 if data is None else await keep(db, (), data)
    await db.ledger.append([registered("dark", digest)])
    (reason,) = await project(db)
    assert "its set" in reason
    assert await using(db, 5) == ["dark"]
    assert await using(db, 1 << 40) == ["dark"]


async def test_given_a_discharge_then_it_is_in_the_run_and_a_second_registration_changes_nothing(
    db: Projected,
) -> None:
    digest = await keep(db, [5])
    await db.ledger.append([registered("r", digest), discharged("r"), registered("r", digest)])
    faults = await project(db)
    assert any("registered once" in reason for reason in faults)
    ((run,), _) = await runs_after(db.connection, "", 0, 10)
    assert [one.action for one in run.discharges] == ["purged"]
    assert run.position == 1


async def test_given_a_rebuild_then_both_views_are_the_same_to_the_byte(db: Projected) -> None:
    digests = [await keep(db, range(start, start + 30_000, 3)) for start in (1, 2, 3)]
    await db.ledger.append(
        [registered(f"r{number}", digest) for number, digest in enumerate(digests)]
        + [discharged("r1"), registered("child", digests[0], parents=["r0", "r1"])]
    )
    await project(db)
    for view in ("runs", "exposure"):
        before = await db.rows(view)
        assert before
        result = await rebuild(db.url, VIEWS[view], "builder", processes=1)
        assert (result.differences, result.switched) == (0, True)
        assert await db.rows(view) == before
        await db.expire(view)
    rows = await db.connection.fetch(
        "SELECT run FROM views.runs WHERE string_to_array(parents, ' ') && $1::text[]", ["r1"]
    )
    assert [row["run"] for row in rows] == ["child"]


@given(some.sets(some.integers(0, (1 << 48) - 1) | some.integers(0, 200_000), max_size=300))
@settings(max_examples=60, deadline=None)
def test_given_any_set_when_split_then_together_the_parts_are_the_set(ordinals: set[int]) -> None:
    found: set[int] = set()
    for container, dense, bits in containers(BitMap64(ordinals).serialize()):
        assert container > UNKNOWN and not dense
        found |= {container << 16 | low for low in BitMap.deserialize(bits)}
    assert found == ordinals
