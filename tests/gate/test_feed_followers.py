"""A thousand gates wait in one worker: what is made once for all of them is as fresh as if made for each."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from consent_domain.errors import ConsentError
from consent_domain.feed import Page
from consent_domain.identifiers import Token
from consent_domain.instants import micros
from consent_gate.signatures import read_page
from consent_ledger.facts_pages import PAGE_FACTS_BYTES_MAX
from consent_ledger.feed import LOOK_SECONDS, WAIT_SECONDS_MAX, WAIT_SECONDS_MIN, Feed, wait_seconds
from consent_ledger.watermarks import LedgerTime
from consent_plumbing.postgres import open_pool
from gate_ledger import EPOCH, SIGNER
from hypothesis import given
from hypothesis import strategies as st
from relay import Relay
from scenario import opt_out, workspace
from stored_ledger import Stored, stored_ledger

ROWS_MAX = 100


@pytest_asyncio.fixture
async def stored(migrated_database_url: str) -> AsyncIterator[Stored]:
    async with stored_ledger(migrated_database_url) as made:
        await made.project()
        yield made


@pytest_asyncio.fixture
async def superuser(stored: Stored) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(stored.url, timeout=10, command_timeout=30)
    yield connection
    await connection.close(timeout=5)


def opened(answer: bytes) -> Page:
    return read_page(answer, SIGNER.verifier)


async def refusal(feed: Feed, after: Token | None) -> ConsentError:
    with pytest.raises(ConsentError) as refused:
        await feed.page(after, ROWS_MAX)
    return refused.value


# -- made once -----------------------------------------------------------------------------------------------


async def test_given_many_who_wait_for_the_same_when_it_changes_then_all_are_sent_the_same_bytes(
    stored: Stored,
) -> None:
    feed = Feed(stored.pool, SIGNER)
    waiting = [asyncio.create_task(feed.page(stored.token(), ROWS_MAX)) for _ in range(200)]
    await asyncio.sleep(0.1)
    position = stored.saved
    stored.ledger.given(opt_out())
    await stored.save()
    await stored.project()
    answers = await asyncio.gather(*waiting)
    assert len({id(answer) for answer in answers}) == 1
    assert [row.position for row in opened(answers[0]).rows] == [position + 1]


async def test_given_many_who_wait_for_nothing_then_watermarks_are_signed_by_the_look_and_not_for_each(
    stored: Stored,
) -> None:
    feed = Feed(stored.pool, SIGNER)
    answers = await asyncio.gather(*(feed.page(stored.token(), ROWS_MAX) for _ in range(500)))
    looks = (WAIT_SECONDS_MAX - WAIT_SECONDS_MIN) / LOOK_SECONDS
    assert len(set(answers)) <= looks + 2
    assert all(not opened(answer).rows for answer in set(answers))


async def test_given_many_who_begin_together_then_the_snapshot_is_read_for_all(stored: Stored) -> None:
    feed = Feed(stored.pool, SIGNER)
    answers = await asyncio.gather(*(feed.page(None, ROWS_MAX) for _ in range(100)))
    assert len({id(answer) for answer in answers}) == 1


async def test_given_those_who_ask_for_different_things_then_each_gets_its_own(stored: Stored) -> None:
    feed = Feed(stored.pool, SIGNER)
    wanted = [(stored.token(position), rows) for position in range(1, stored.saved) for rows in (1, ROWS_MAX)]
    await feed.page(stored.token(), ROWS_MAX)  # whoever looked knows how far the facts are
    answers = await asyncio.gather(*(feed.page(after, rows) for after, rows in wanted))
    for (after, rows), answer in zip(wanted, answers, strict=True):
        page = opened(answer)
        assert page.after == after.position and len(page.rows) <= rows
        assert page.rows or page.through == stored.saved


# -- never fresher than it is --------------------------------------------------------------------------------


async def test_given_questions_at_any_moment_then_no_watermark_was_read_before_its_question_was_sent(
    stored: Stored, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    feed, moments = Feed(stored.pool, SIGNER), random.Random(4)
    clock = asyncio.Lock()

    async def follower() -> None:
        after: Token | None = None
        for _ in range(4):
            await asyncio.sleep(moments.uniform(0, 0.1))
            async with clock:
                sent = micros(await superuser.fetchval("SELECT clock_timestamp()"))
            page = opened(await feed.page(after, 2))
            assert page.watermark.time >= sent
            after = page.token

    async def change() -> None:
        for number in range(12):
            stored.ledger.given(workspace(f"new-{number}"))
            await stored.save()
            await stored.project()
            await asyncio.sleep(0.05)

    await asyncio.gather(change(), *(follower() for _ in range(40)))


async def test_given_followers_who_overtake_each_other_then_none_is_told_that_its_token_was_never_given(
    stored: Stored,
) -> None:
    feed = Feed(stored.pool, SIGNER)
    ends = asyncio.Event()

    async def follower() -> int:
        after: Token | None = None
        while not ends.is_set() or after is None or after.position < stored.saved:
            page = opened(await feed.page(after, 3))
            assert after is None or page.after == after.position
            after = page.token
        return after.position

    following = [asyncio.create_task(follower()) for _ in range(30)]
    for number in range(25):
        stored.ledger.given(workspace(f"new-{number}"))
        await stored.save()
        await stored.project()
    ends.set()
    assert set(await asyncio.gather(*following)) == {stored.saved}


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1))
def test_ledger_time_always_rises_and_is_never_before_the_clock_or_the_last_event(
    read: list[tuple[int, int]],
) -> None:
    time, before = LedgerTime(), 0
    for now, recorded_at in read:
        told = time.at(now, recorded_at)
        assert told > before and told >= max(now, recorded_at)
        before = told


# -- who cannot be told --------------------------------------------------------------------------------------


async def test_given_more_than_it_serves_then_the_next_is_told_when_to_come_and_the_others_are_answered(
    stored: Stored,
) -> None:
    feed = Feed(stored.pool, SIGNER, followers_max=3)
    waiting = [asyncio.create_task(feed.page(stored.token(), ROWS_MAX)) for _ in range(3)]
    await asyncio.sleep(0.05)
    refused = await refusal(feed, stored.token())
    assert (refused.code, refused.status) == ("overloaded", 503)
    retry_after = refused.extra["retry_after_seconds"]
    assert isinstance(retry_after, int) and retry_after >= 1
    assert len(await asyncio.gather(*waiting)) == 3
    await feed.page(stored.token(), ROWS_MAX)


async def test_given_some_who_go_away_while_they_wait_then_their_places_are_free_and_the_others_are_answered(
    stored: Stored,
) -> None:
    feed = Feed(stored.pool, SIGNER, followers_max=20)
    waiting = [asyncio.create_task(feed.page(stored.token(), ROWS_MAX)) for _ in range(20)]
    await asyncio.sleep(0.05)
    for task in waiting[::2]:
        task.cancel()
    more = [asyncio.create_task(feed.page(stored.token(), ROWS_MAX)) for _ in range(5)]
    told = await asyncio.gather(*waiting, *more, return_exceptions=True)
    assert [isinstance(one, bytes) for one in told] == [False, True] * 10 + [True] * 5


async def test_given_a_database_that_goes_away_while_they_wait_then_each_is_told_and_later_served(
    stored: Stored,
) -> None:
    parts = urlsplit(stored.url)
    assert parts.port is not None
    relay = Relay(parts.port)
    await relay.start()
    netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{relay.port}"
    pool = await open_pool(urlunsplit(parts._replace(netloc=netloc)), "gate tests", 4)
    feed = Feed(pool, SIGNER)
    await feed.page(stored.token(), ROWS_MAX)
    waiting = [asyncio.create_task(feed.page(stored.token(), ROWS_MAX)) for _ in range(20)]
    await asyncio.sleep(0.05)
    await relay.stop()
    more = [asyncio.create_task(refusal(feed, stored.token())) for _ in range(20)]
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, bytes) or getattr(one, "code", "") == "unavailable" for one in told)
    assert {refused.code for refused in await asyncio.gather(*more)} == {"unavailable"}
    assert (await refusal(feed, None)).code == "unavailable"
    await relay.start()
    assert opened(await feed.page(stored.token(), ROWS_MAX)).watermark.position == stored.saved
    pool.terminate()
    await relay.stop()


async def test_given_an_epoch_that_begins_while_they_wait_then_all_are_told_to_begin_anew(
    stored: Stored, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    feed = Feed(stored.pool, SIGNER)
    waiting = [asyncio.create_task(refusal(feed, stored.token())) for _ in range(20)]
    await asyncio.sleep(0.05)
    await superuser.execute("UPDATE ledger.head SET epoch = epoch + 1")
    assert {(one.code, one.extra["epoch"]) for one in await asyncio.gather(*waiting)} == {
        ("resync", EPOCH + 1)
    }


async def test_given_a_log_that_is_halted_while_they_wait_then_nobody_gets_a_watermark(
    stored: Stored,
) -> None:
    sound = True

    def require_sound() -> None:
        if not sound:
            raise ConsentError("damaged", "halted")

    feed = Feed(stored.pool, SIGNER, require_sound)
    waiting = [asyncio.create_task(refusal(feed, stored.token())) for _ in range(20)]
    await asyncio.sleep(0.05)
    sound = False
    assert {one.code for one in await asyncio.gather(*waiting)} == {"damaged"}
    assert (await refusal(feed, None)).code == "damaged"


async def test_given_a_view_that_is_no_longer_the_ledgers_while_they_wait_then_unavailable(
    stored: Stored, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    feed = Feed(stored.pool, SIGNER)
    waiting = [asyncio.create_task(refusal(feed, stored.token())) for _ in range(5)]
    await asyncio.sleep(0.05)
    await superuser.execute("UPDATE views.cursors SET leaf_hash = '\\x00' WHERE view = 'facts'")
    assert {one.code for one in await asyncio.gather(*waiting)} == {"unavailable"}


# -- bounds --------------------------------------------------------------------------------------------------


async def test_given_facts_that_are_large_then_a_page_has_as_many_as_fit_and_the_next_goes_on(
    stored: Stored, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    await superuser.execute("DELETE FROM views.facts")
    for position in range(1, stored.saved + 1):
        large = b"\x00" * (PAGE_FACTS_BYTES_MAX * 2 // 5 if position != 3 else 2 * PAGE_FACTS_BYTES_MAX)
        await superuser.execute(
            "INSERT INTO views.facts VALUES ('workspace', $1, $2, $3)",
            f"large-{position}",
            position,
            large,
        )
    feed, after, rows, more = Feed(stored.pool, SIGNER), None, [], True
    while more:
        page = opened(await feed.page(after, ROWS_MAX))
        rows.append([row.position for row in page.rows])
        after, more = page.token, page.more
    assert rows == [[1, 2], [3], [4, 5], [6, 7], [8]] and stored.saved == 8


# -- in step -------------------------------------------------------------------------------------------------


def test_given_a_thousand_in_step_after_one_change_then_they_are_spread_after_a_few_waits() -> None:
    jitter, slot, followers = random.Random(1), 0.02, 1_000
    comes = [0.0] * followers
    busiest = []
    for _ in range(8):
        comes = [at + wait_seconds(jitter) for at in comes]
        busiest.append(max(Counter(int(at / slot) for at in comes).values()))
    mean = followers * slot / ((WAIT_SECONDS_MIN + WAIT_SECONDS_MAX) / 2)
    assert busiest[0] <= 3 * mean  # already the first time
    assert busiest[-1] <= busiest[0]
    # A second of theirs later on, in which several rounds overlap, is as good as even.
    answered = Counter(int(at / slot) for at in _answers(jitter, followers) if 10 <= at < 12)
    assert max(answered.values()) <= 2 * mean
    assert min(answered.get(number, 0) for number in range(int(10 / slot), int(12 / slot))) >= mean / 3


def _answers(jitter: random.Random, followers: int) -> list[float]:
    """When so many are answered who all began at once, each for 12 s."""
    found = []
    for _ in range(followers):
        at = 0.0
        while at < 12:
            at += wait_seconds(jitter)
            found.append(at)
    return found
