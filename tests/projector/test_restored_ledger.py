"""The ledger is put back to an earlier moment, or another history, beneath the views: they begin again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from consent_ledger.database import STATEMENTS
from consent_projector.rebuild import rebuild
from consent_projector.views import VIEWS
from ledger_events import append_all, history
from projecting import Projected, drain, projected


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        yield it


async def generation(db: Projected, view: str) -> int:
    found = await db.connection.fetchval("SELECT generation FROM views.cursors WHERE view = $1", view)
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("more", [0, 20, 50, 80])
@pytest.mark.parametrize("view", VIEWS)
async def test_given_a_view_ahead_of_or_beside_the_ledger_then_it_is_folded_again_from_the_first_event(
    db: Projected, view: str, more: int
) -> None:
    await append_all(db.ledger, history(150))
    consumer = db.consumer(view)
    await drain(consumer)
    await consumer.release()
    await db.put_back(100, seed=7, more=more)
    await drain(db.consumer(view, owner="two"))
    assert await db.rows(view) == db.expected(view)
    assert (await db.position(view), await generation(db, view)) == (100 + more, 2)


async def test_given_a_view_that_is_of_the_history_that_stayed_then_it_goes_on(db: Projected) -> None:
    await append_all(db.ledger, history(80))
    consumer = db.consumer()
    await drain(consumer)
    await append_all(db.ledger, list(history(150))[80:])
    await consumer.release()
    await db.put_back(100, seed=7, more=30)
    await drain(db.consumer(owner="two"))
    assert (await db.rows("facts"), await generation(db, "facts")) == (db.expected("facts"), 1)


async def test_given_a_rebuilt_view_then_its_cursor_still_says_which_history_it_is_of(db: Projected) -> None:
    await append_all(db.ledger, history(150))
    await drain(db.consumer())
    await rebuild(db.url, VIEWS["facts"], "builder", processes=1)
    await db.put_back(100, seed=7, more=80)
    await drain(db.consumer(owner="two"))
    assert (await db.rows("facts"), await generation(db, "facts")) == (db.expected("facts"), 3)


async def test_given_a_view_of_a_lost_history_then_the_feed_shows_none_of_it(db: Projected) -> None:
    await append_all(db.ledger, history(150))
    consumer = db.consumer()
    await drain(consumer)
    assert await db.connection.fetch(STATEMENTS["feed_page"], 0, 10)
    await consumer.release()
    await db.put_back(100, seed=7, more=80)
    assert await db.connection.fetch(STATEMENTS["feed_page"], 0, 10) == []
    await drain(db.consumer(owner="two"))
    assert await db.connection.fetch(STATEMENTS["feed_page"], 0, 10)


@pytest.mark.parametrize(("view", "owner"), [("facts", "other"), ("nothing", "one"), ("facts_next", "one")])
async def test_given_no_lease_or_no_view_then_nothing_begins_again(
    db: Projected, view: str, owner: str
) -> None:
    await append_all(db.ledger, history(150))
    await drain(db.consumer(owner="one"))
    rows = await db.rows("facts")
    await db.put_back(100, seed=7, more=80)
    assert await db.connection.fetch("SELECT * FROM views.start_over($1, $2)", view, owner) == []
    assert await db.rows("facts") == rows


async def test_given_a_view_of_the_ledger_then_it_never_begins_again(db: Projected) -> None:
    await append_all(db.ledger, history(150))
    await drain(db.consumer(owner="one"))
    assert await db.connection.fetch("SELECT * FROM views.start_over('facts', 'one')") == []


async def test_given_the_projectors_role_then_it_may_not_empty_a_view_by_itself(db: Projected) -> None:
    async with db.pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("TRUNCATE views.facts")
