"""Rebuilding: the next generation is the live one to the byte, and readers never see half of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import pytest_asyncio
from consent_projector.build import LeaseLost, build_part, parsed
from consent_projector.consumer import Hole, State
from consent_projector.rebuild import rebuild
from consent_projector.seams import Cursor, Unavailable
from consent_projector.store import NEXT, PostgresStore
from consent_projector.views import VIEWS
from ledger_events import Draft, append_all, history, policy
from projecting import Projected, drain, projected

VIEW_NAMES = tuple(VIEWS)


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        yield it


async def structure(db: Projected, view: str) -> list[str]:
    """Indexes, constraints and grants of a view's table, as text."""
    indexes = "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = $1::text::regclass"
    constraints = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass"
    grants = "SELECT relacl::text FROM pg_class WHERE oid = $1::text::regclass"
    queries = (indexes, constraints, grants)
    return sorted([row[0] for query in queries for row in await db.connection.fetch(query, f"views.{view}")])


async def next_generations(db: Projected) -> list[str]:
    """What is left of next generations: tables and cursors."""
    tables = "SELECT tablename::text FROM pg_tables WHERE tablename LIKE '%next'"
    cursors = "SELECT view FROM views.cursors WHERE view LIKE '%next'"
    return [row[0] for query in (tables, cursors) for row in await db.connection.fetch(query)]


@pytest.mark.parametrize("view", VIEW_NAMES)
async def test_given_a_live_view_then_the_rebuilt_one_is_equal_to_the_byte_and_made_alike(
    db: Projected, view: str
) -> None:
    await append_all(db.ledger, history(500))
    await drain(db.consumer(view))
    before, made = await db.rows(view), await structure(db, view)
    for generation in (2, 3) if view == "facts" else (2,):
        result = await rebuild(db.url, VIEWS[view], "builder", processes=2)
        assert (result.differences, result.switched, result.events) == (0, True, 500)
        assert await db.rows(view) == before == db.expected(view)
        cursor = await db.connection.fetchrow(
            "SELECT position, generation FROM views.cursors WHERE view = $1", view
        )
        assert cursor is not None
        assert tuple(cursor) == (500, generation)
    assert [text.replace("{postgres=", "{") for text in await structure(db, view)] == [
        text.replace("{postgres=", "{") for text in made
    ]
    assert await next_generations(db) == []


async def test_given_a_view_that_was_never_built_then_it_is_filled_up_to_the_head(db: Projected) -> None:
    await append_all(db.ledger, history(300))
    result = await rebuild(db.url, VIEWS["facts"], "builder", processes=1)
    assert (result.position, result.differences) == (300, 0)
    assert await db.rows("facts") == db.expected("facts")


@pytest.mark.parametrize("view", VIEW_NAMES)
async def test_given_appends_and_a_consumer_that_go_on_then_nothing_is_lost_doubled_or_seen_half_built(
    db: Projected, view: str
) -> None:
    await append_all(db.ledger, history(300))
    live = db.consumer(view, owner="live")
    await drain(live)
    done = asyncio.Event()
    counts: list[int] = []

    async def append() -> None:
        drafts = history(3_000, seed=2, per_workspace=3)
        next(drafts)
        while not done.is_set():
            await db.ledger.append([Draft(d.stream + "-live", d.body) for d in _taken(drafts, 5)])
            await asyncio.sleep(0.02)

    async def consume() -> None:
        while not done.is_set():
            if (await live.step()).state is not State.APPLIED:
                await asyncio.sleep(0.02)

    async def read() -> None:
        while not done.is_set():
            counts.append(len(await db.pool.fetch(f"TABLE views.{view}")))
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(task()) for task in (append, consume, read)]
    try:
        result = await rebuild(db.url, VIEWS[view], "builder", processes=2)
        assert (result.differences, result.switched) == (0, True)
        await asyncio.sleep(0.3)
    finally:
        done.set()
        await asyncio.gather(*tasks)
    assert counts == sorted(counts), "a reader saw rows go away"
    await drain(live)
    assert db.ledger.position > 300
    assert await db.rows(view) == db.expected(view)


def _taken(drafts: Iterator[Draft], number: int) -> list[Draft]:
    return [next(drafts) for _ in range(number)]


@pytest.mark.parametrize("view", ["facts", "requests", "counts"])
async def test_given_rows_that_differ_then_nothing_is_switched_unless_that_is_accepted(
    db: Projected, view: str
) -> None:
    await append_all(db.ledger, history(300))
    await drain(db.consumer(view))
    column, wrong = {"facts": ("facts", "''"), "requests": ("request", "''"), "counts": ("events", "999")}[
        view
    ]
    await db.connection.execute(f"UPDATE views.{view} SET {column} = {wrong} WHERE position < 20")  # noqa: S608
    broken = await db.rows(view)
    assert broken != db.expected(view)
    result = await rebuild(db.url, VIEWS[view], "builder", processes=1)
    assert result.differences > 0
    assert not result.switched
    assert await db.rows(view) == broken
    assert (await rebuild(db.url, VIEWS[view], "builder", processes=1, accept_differences=True)).switched
    assert await db.rows(view) == db.expected(view)
    assert await next_generations(db) == []


async def test_given_a_row_too_many_or_too_few_then_it_counts_as_a_difference(db: Projected) -> None:
    await append_all(db.ledger, history(300))
    await drain(db.consumer())
    await db.connection.execute("DELETE FROM views.facts WHERE id = 'w0000003'")
    await db.connection.execute("INSERT INTO views.facts VALUES ('workspace', 'invented', 7, '')")
    assert (await rebuild(db.url, VIEWS["facts"], "builder", processes=1)).differences == 2


async def test_given_a_live_view_that_is_behind_then_what_it_does_not_know_is_no_difference(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(300))
    live = db.consumer(batch=77)
    await live.step()
    result = await rebuild(db.url, VIEWS["facts"], "builder", processes=1)
    assert (result.differences, result.position) == (0, 300)
    assert await db.rows("facts") == db.expected("facts")


async def test_given_events_that_cannot_be_read_then_the_rebuilt_view_quarantines_them_alike(
    db: Projected,
) -> None:
    await db.ledger.append(
        [policy(), Draft("workspace/a", b"?"), Draft("purpose/train", b"?"), Draft("run/1", b"?")]
    )
    await drain(db.consumer())
    result = await rebuild(db.url, VIEWS["facts"], "builder", processes=1)
    assert (result.faults, result.differences) == (3, 0)


async def test_given_a_hole_in_the_ledger_then_nothing_is_switched(db: Projected) -> None:
    await append_all(db.ledger, history(50))
    await db.connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER ALL")
    await db.connection.execute("DELETE FROM ledger.events WHERE position = 20")
    with pytest.raises(Hole):
        await rebuild(db.url, VIEWS["facts"], "builder", processes=1)
    assert await next_generations(db) == []


async def test_given_a_rebuild_at_work_then_a_second_one_is_refused_until_the_first_ones_lease_is_over(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(50))
    begin = "SELECT views.begin_next('facts', 'first', '3 s')"
    await db.connection.execute(begin)
    with pytest.raises(asyncpg.ObjectInUseError):
        await rebuild(db.url, VIEWS["facts"], "second", processes=1)
    await db.expire("facts_next")
    assert (await rebuild(db.url, VIEWS["facts"], "second", processes=1)).switched


async def test_given_a_paused_rebuild_whose_lease_was_taken_then_it_neither_writes_nor_switches(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(50))
    await db.connection.execute("SELECT views.begin_next('facts', 'paused', '3 s')")
    await db.expire("facts_next")
    await db.connection.execute("SELECT views.begin_next('facts', 'other', '3 s')")
    store = PostgresStore(db.pool, NEXT)
    with pytest.raises(LeaseLost):
        await asyncio.to_thread(build_part, db.url, "facts", "paused", 50, 1, 0)
    gc.enable()
    await db.connection.execute("SELECT views.index_next('facts')")
    assert not await store.save(VIEWS["facts"], "paused", Cursor(0, 2), 50, [("book", "-", 1, b"")], [])
    assert await db.connection.fetch("TABLE views.facts_next") == []
    await db.connection.execute("UPDATE views.cursors SET owner = 'paused' WHERE view = 'facts'")
    assert not await db.connection.fetchval("SELECT views.switch_to_next('facts', 'paused')")
    await db.connection.execute("SELECT views.drop_next('facts', 'paused')")
    assert await next_generations(db) == ["facts_next", "facts_next"]


async def test_given_a_reader_that_stays_in_the_live_table_then_the_switch_waits_and_others_go_on(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(50))
    reader = await asyncpg.connect(db.url)
    try:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT FROM views.facts")
        rebuilding = asyncio.create_task(rebuild(db.url, VIEWS["facts"], "builder", processes=1))
        done, _ = await asyncio.wait([rebuilding], timeout=5)
        assert not done
        await reading.rollback()
        assert (await rebuilding).switched
    finally:
        await reader.close()
    assert await db.rows("facts") == db.expected("facts")


async def test_given_a_database_that_is_gone_then_the_rebuild_says_unavailable() -> None:
    with pytest.raises(Unavailable):
        await rebuild("postgresql://nobody@127.0.0.1:1/none", VIEWS["facts"], "builder", processes=1)


@pytest.mark.parametrize("size", [1, 2, 3, 19, 20, 64, 1_000_000])
async def test_given_a_copy_cut_anywhere_into_chunks_then_its_rows_are_read(db: Projected, size: int) -> None:
    await append_all(db.ledger, history(20))
    copied = bytearray()

    async def take(chunk: bytes) -> None:
        copied.extend(chunk)

    query = "SELECT position, stream, body FROM ledger.events ORDER BY position"
    await db.connection.copy_from_query(query, output=take, format="binary")
    chunks = [bytes(copied[at : at + size]) for at in range(0, len(copied), size)]
    assert [tuple(event) for event in parsed(iter(chunks))] == [tuple(event) for event in db.ledger.log]
    with pytest.raises(ValueError, match="middle"):
        list(parsed(iter(chunks[:-1])) if len(chunks) > 1 else parsed(iter([chunks[0][:-3]])))
