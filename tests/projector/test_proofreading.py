"""Given the facts, when row after row is folded again, then one that the log does not make is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from consent_domain.facts import Choices, pack, unpack_workspace
from consent_projector.metrics import Metrics
from consent_projector.proofreading import Proofreader, Read, keep_proofreading
from consent_projector.rebuild import rebuild
from consent_projector.views import VIEWS
from ledger_events import append_all, enrolled, history, organisation
from msgspec.structs import replace
from projecting import Projected, drain, projected

SIZE = 400


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        await append_all(it.ledger, [*history(SIZE), organisation("group")])
        await drain(it.consumer())
        yield it


async def whole_round(reader: Proofreader) -> Read:
    """From the first row to the last: all that was read."""
    total, wrong, changed = 0, [], []
    for _ in range(1_000):
        read = await reader.step()
        total += read.rows
        wrong += read.wrong
        changed += read.changed
        if not read.rows:
            return Read(total, wrong, changed)
    raise AssertionError("it never comes to an end")


async def is_disputed(db: Projected) -> bool:
    """Whether nobody may read the view."""
    query = "SELECT views.is_disputed(cursors) FROM views.cursors WHERE view = 'facts'"
    return bool(await db.connection.fetchval(query))


async def objecting(db: Projected) -> tuple[str, bytes]:
    """A workspace that objected, and its facts."""
    for name, packed in await db.connection.fetch(
        "SELECT id, facts FROM views.facts WHERE kind = 'workspace'"
    ):
        if unpack_workspace(packed).choices.opt_outs:
            return name, packed
    raise AssertionError("the history has an opt-out")


async def test_given_what_the_log_makes_then_every_row_is_right_round_after_round(db: Projected) -> None:
    reader = Proofreader(db.pool, rows_max=7)
    expected = len(await db.rows("facts"))
    assert await whole_round(reader) == (expected, [], [])
    assert await whole_round(reader) == (expected, [], [])
    assert not await is_disputed(db)


async def test_given_a_row_that_permits_by_hand_then_it_is_found_and_nobody_reads_on_until_it_is_put_right(
    db: Projected,
) -> None:
    name, packed = await objecting(db)
    permissive = pack(replace(unpack_workspace(packed), choices=Choices()))
    give = "UPDATE views.facts SET facts = $2 WHERE id = $1"
    await db.connection.execute(give, name, permissive)
    reader = Proofreader(db.pool)
    (wrong,) = (await whole_round(reader)).wrong
    assert wrong.name == f"workspace/{name}"
    assert await is_disputed(db)
    assert (await whole_round(reader)).wrong == [wrong]
    await db.connection.execute(give, name, packed)
    assert (await whole_round(reader)).wrong == []
    assert not await is_disputed(db)


async def test_given_two_who_read_when_one_is_past_the_row_that_the_other_disputes_then_it_settles_nothing(
    db: Projected,
) -> None:
    first, second = Proofreader(db.pool, rows_max=1), Proofreader(db.pool)
    await first.step()
    await db.connection.execute("UPDATE views.facts SET facts = 'x' WHERE kind = 'book'")
    assert (await whole_round(second)).wrong and await is_disputed(db)
    assert (await whole_round(first)).wrong == [], "it was past the book"
    assert await is_disputed(db)


async def test_given_disputed_facts_when_they_are_rebuilt_then_another_generation_is_disputed_no_more(
    db: Projected,
) -> None:
    await db.connection.execute("UPDATE views.facts SET facts = 'x' WHERE kind = 'book'")
    await whole_round(Proofreader(db.pool))
    assert await is_disputed(db)
    kept = await rebuild(db.url, VIEWS["facts"], "two", 1)
    assert not kept.switched and await is_disputed(db)
    assert (await rebuild(db.url, VIEWS["facts"], "two", 1, accept_differences=True)).switched
    assert not await is_disputed(db)
    assert await whole_round(Proofreader(db.pool)) == (len(db.expected("facts")), [], [])


async def test_given_an_event_that_is_not_what_its_hash_says_then_it_is_told_and_proves_nothing_of_the_rows(
    db: Projected,
) -> None:
    """The rows were folded from what it was before: they know better than the log does now."""
    name, _ = await objecting(db)
    await db.connection.execute("SET session_replication_role = replica")
    await db.connection.execute(
        "UPDATE ledger.events SET body = body || ' ' WHERE stream = $1", f"workspace/{name}"
    )
    read = await whole_round(Proofreader(db.pool))
    assert read.wrong == []
    assert {one.name for one in read.changed} == {f"workspace/{name}"}
    assert not await is_disputed(db)


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE views.facts SET position = position - 1 WHERE kind = 'workspace' AND id = $1",
        "INSERT INTO views.facts SELECT kind, 'nobody', position, facts FROM views.facts WHERE id = $1",
        "UPDATE views.facts SET facts = 'x' WHERE kind = 'book' AND $1 <> ''",
        "UPDATE views.facts SET facts = 'x' WHERE kind = 'organisation' AND $1 <> ''",
    ],
)
async def test_given_a_row_of_any_kind_that_no_event_makes_then_found(db: Projected, forgery: str) -> None:
    name, _ = await objecting(db)
    await db.connection.execute(forgery, name)
    assert (await whole_round(Proofreader(db.pool))).wrong
    assert await is_disputed(db)


async def test_given_the_consumer_at_work_meanwhile_then_nothing_is_wrong(db: Projected) -> None:
    consumer, reader = db.consumer(batch=3), Proofreader(db.pool, rows_max=5)

    async def append() -> None:
        await append_all(db.ledger, [enrolled(f"late-{number}") for number in range(300)])

    async def apply() -> None:
        for _ in range(150):
            await consumer.step()

    appending = asyncio.create_task(append())
    applying = asyncio.create_task(apply())
    while not (appending.done() and applying.done()):
        assert (await reader.step()).wrong == []
    await asyncio.gather(appending, applying)


async def test_given_postgresql_goes_then_proofreading_goes_on_when_it_is_back(db: Projected) -> None:
    metrics = Metrics()
    task = asyncio.create_task(keep_proofreading(Proofreader(db.pool), metrics))
    try:
        for _ in range(1_000):
            if metrics.registry.get_sample_value("consent_view_rows_proofread_total"):
                break
            await asyncio.sleep(0.02)
        db.pool.terminate()
        await asyncio.sleep(0.5)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert metrics.registry.get_sample_value("consent_view_rows_proofread_total")
    assert metrics.registry.get_sample_value("consent_view_rows_wrong_total") == 0
