"""The ordered consumer on PostgreSQL: whatever happens on the way, the rows are the fold of the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from consent_domain.batch import Committed, encode_committed
from consent_domain.facts import unpack_book, unpack_workspace
from consent_projector.consumer import Hole, State
from consent_projector.hints import Hints
from consent_projector.seams import Cursor, Row, Unavailable, View
from consent_projector.store import PostgresStore
from consent_projector.stored import Stored
from consent_projector.views import VIEWS
from ledger_events import (
    ORIGIN,
    Draft,
    acknowledged,
    append_all,
    enrolled,
    history,
    opt_out,
    organisation,
    policy,
    processed,
)
from projecting import Projected, committed, drain, projected

VIEW_NAMES = tuple(VIEWS)


@pytest_asyncio.fixture
async def db(migrated_database_url: str) -> AsyncIterator[Projected]:
    async with projected(migrated_database_url) as it:
        yield it


class Failing(PostgresStore):
    """The real store, whose answers get lost: before it did anything, or after it did all."""

    def __init__(self, db: Projected, seed: int) -> None:
        super().__init__(db.pool)
        self._chance = random.Random(seed)

    async def save(
        self, view: View, owner: str, cursor: Cursor, upto: int, rows: Sequence[Row], hashes: Sequence[bytes]
    ) -> bool:
        fate = self._chance.random()
        if fate < 0.3:
            raise Unavailable("lost on the way there")
        saved = await super().save(view, owner, cursor, upto, rows, hashes)
        if fate < 0.6:
            raise Unavailable("lost on the way back")
        return saved


# -- paused, crashed and doubled consumers -------------------------------------------------------------------


async def test_given_a_paused_owner_when_another_took_over_then_its_late_write_is_refused(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(50))
    store = PostgresStore(db.pool)
    stale = await store.take_lease("facts", "paused")
    assert stale is not None
    await db.expire("facts")
    await drain(db.consumer(owner="standby"))
    forged: Row = ("workspace", "w0000000", 1, b"forged")
    assert not await store.save(VIEWS["facts"], "paused", stale, 50, [forged], [])
    assert await db.rows("facts") == db.expected("facts")


async def test_given_a_paused_owner_whose_lease_ran_out_unclaimed_then_its_batch_still_applies_once(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(20))
    first = db.consumer(batch=10)
    assert (await first.step()).position == 10
    await db.expire("facts")
    await drain(first)
    assert await db.rows("facts") == db.expected("facts")


async def test_given_the_same_owner_but_another_position_then_nothing_is_written(db: Projected) -> None:
    await append_all(db.ledger, history(20))
    store = PostgresStore(db.pool)
    await store.take_lease("facts", "one")
    for wrong in (Cursor(5, 1), Cursor(0, 2)):
        assert not await store.save(VIEWS["facts"], "one", wrong, 20, [("book", "-", 1, b"")], [])
    assert await db.rows("facts") == []
    assert await db.position("facts") == 0


async def test_given_a_held_lease_then_a_standby_waits_and_goes_on_when_it_is_given_back(
    db: Projected,
) -> None:
    await append_all(db.ledger, history(20))
    first, second = db.consumer(batch=5), db.consumer(owner="two")
    await first.step()
    assert (await second.step()).state is State.ELSEWHERE
    await first.release()
    assert (await second.step()).position == 20
    assert (await first.step()).state is State.ELSEWHERE


@pytest.mark.parametrize("view", VIEW_NAMES)
async def test_given_consumers_that_steal_the_lease_from_each_other_then_each_event_is_applied_once(
    db: Projected, view: str
) -> None:
    await append_all(db.ledger, history(400))
    consumers = [db.consumer(view, owner=f"owner-{n}", batch=7) for n in range(3)]

    done = asyncio.Event()

    async def steal() -> None:
        while not done.is_set():
            await db.expire(view)
            await asyncio.sleep(0.005)

    async def run(number: int) -> None:
        while await position() < 400:
            await consumers[number].step()

    async def position() -> int:
        value = await db.pool.fetchval("SELECT position FROM views.cursors WHERE view = $1", view)
        assert isinstance(value, int)
        return value

    thief = asyncio.create_task(steal())
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(run(number) for number in range(3)))
    finally:
        done.set()
        await thief
    assert await db.rows(view) == db.expected(view)


@pytest.mark.parametrize("view", VIEW_NAMES)
@pytest.mark.parametrize("seed", range(3))
async def test_given_answers_lost_before_and_after_commit_then_trying_again_gives_the_fold_of_the_log(
    db: Projected, view: str, seed: int
) -> None:
    await append_all(db.ledger, history(200, seed=seed))
    consumer = db.consumer(view, batch=13, store=Failing(db, seed))
    state = None
    while state is not State.IDLE:
        try:
            state = (await consumer.step()).state
        except Unavailable:
            state = None
    assert await db.rows(view) == db.expected(view)


# -- the messenger lies, repeats, reorders and loses ---------------------------------------------------------


@pytest.mark.parametrize("view", VIEW_NAMES)
@pytest.mark.parametrize("seed", range(3))
async def test_given_hints_lost_repeated_and_reordered_then_rows_are_the_fold_of_the_log(
    db: Projected, view: str, seed: int
) -> None:
    chance = random.Random(seed)
    hints = Hints(ORIGIN)
    consumer = db.consumer(view, hints=hints, batch=chance.choice([1, 3, 50]))
    drafts = list(history(200, seed=seed))
    messages: list[bytes] = []
    while drafts:
        size = chance.randint(1, 12)
        messages += committed(await db.ledger.append(drafts[:size]))
        drafts = drafts[size:]
        chance.shuffle(messages)
        for message in messages[: chance.randint(0, 3)]:
            hints.offer(message)
        messages = messages[chance.randint(0, 2) :][:10]
        await consumer.step()
    await drain(consumer)
    assert await db.rows(view) == db.expected(view)


async def test_given_contiguous_hints_then_they_are_applied_without_reading_the_ledger(
    db: Projected,
) -> None:
    class Blind(PostgresStore):
        async def events_after(self, position: int, events_max: int) -> list[Stored]:
            raise AssertionError("the hints were enough")

    hints = Hints(ORIGIN)
    for message in committed(await db.ledger.append(history(30))):
        hints.offer(message)
    step = await db.consumer(hints=hints, store=Blind(db.pool)).step()
    assert (step.state, step.position) == (State.APPLIED, 30)
    assert await db.rows("facts") == db.expected("facts")


async def test_given_a_hint_of_a_history_that_was_lost_then_the_ledgers_own_bytes_are_applied(
    db: Projected,
) -> None:
    await db.ledger.append([policy(), enrolled("a")])
    truth = list(db.ledger.log)
    lost = truth[1]._replace(body=truth[1].body.replace(b'"plan":"free"', b'"plan":"team"'))
    assert lost.body != truth[1].body
    hints = Hints(ORIGIN)
    for message in committed([truth[0], lost]):
        hints.offer(message)
    consumer = db.consumer(hints=hints)
    assert (await consumer.step()).state is State.REFUSED
    await drain(consumer)
    assert await db.rows("facts") == db.expected("facts")


async def test_given_a_hint_ahead_of_the_ledger_then_nothing_is_applied(db: Projected) -> None:
    await db.ledger.append([policy()])
    consumer = db.consumer(hints=(hints := Hints(ORIGIN)))
    await drain(consumer)
    body = db.ledger.log[0].body.replace(
        b'"sequence":"00000000000000000001"', b'"sequence":"00000000000000000002"'
    )
    for message in encode_committed(Committed(ORIGIN, 1, 2, [body])):
        hints.offer(message)
    assert (await consumer.step()).state is State.REFUSED
    assert (await consumer.step()).state is State.IDLE
    assert await db.position("facts") == 1


@pytest.mark.parametrize("message", [b"", b"\xff", b"\x94", bytes(100)])
async def test_given_a_message_that_is_no_batch_then_it_is_passed_over(message: bytes) -> None:
    hints = Hints(ORIGIN)
    hints.offer(message)
    assert hints.after(0, 10) == []


async def test_given_a_message_of_another_log_then_it_is_passed_over(db: Projected) -> None:
    hints = Hints("another.example/log")
    for message in committed(await db.ledger.append([policy()])):
        hints.offer(message)
    assert hints.after(0, 10) == []


async def test_given_more_hints_than_memory_allows_then_the_oldest_are_forgotten(db: Projected) -> None:
    events = await db.ledger.append(history(50))
    hints = Hints(ORIGIN, bytes_max=10 * 1024)
    for event in events:
        hints.offer(committed([event])[0])
    assert hints.after(0, 50) == []
    assert hints.after(45, 50)[-1].position == 50


# -- events that cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [b"\x00", b"{}", b'{"specversion":"1.0","data":"\xff"}', b'{"data":' + b"[" * 60_000],
    ids=["no JSON", "no event", "no UTF-8", "too deep"],
)
async def test_given_bytes_that_cannot_be_read_then_their_stream_is_quarantined_and_all_others_go_on(
    db: Projected, bad: bytes
) -> None:
    drafts = [policy(), enrolled("a"), Draft("workspace/a", bad), enrolled("b")]
    await db.ledger.append(drafts)
    for view in ("facts", "requests", "counts"):
        steps = await drain(db.consumer(view))
        assert [(fault.position, fault.stream) for step in steps for fault in step.faults] == [
            (3, "workspace/a")
        ]
    quarantined, other = (row[3] for row in await db.rows("facts") if row[0] == "workspace")
    assert isinstance(quarantined, bytes)
    assert isinstance(other, bytes)
    assert unpack_workspace(quarantined).quarantined == 3
    assert unpack_workspace(other).quarantined == 0


async def test_given_a_history_that_no_handler_could_have_written_then_it_is_quarantined(
    db: Projected,
) -> None:
    await db.ledger.append([enrolled("a"), enrolled("a"), acknowledged("workspace/b", "never-made")])
    (step,) = await drain(db.consumer())
    assert [fault.position for fault in step.faults] == [2, 3]
    await drain(db.consumer("requests"))
    assert await db.rows("requests") == []


async def test_given_an_unreadable_policy_then_the_book_is_quarantined(db: Projected) -> None:
    await db.ledger.append([policy(), Draft("policy/principles", b"?")])
    await drain(db.consumer())
    (row,) = await db.rows("facts")
    assert isinstance(row[3], bytes)
    assert unpack_book(row[3]).quarantined == 2


async def test_given_an_event_that_says_another_stream_than_its_row_then_it_is_quarantined(
    db: Projected,
) -> None:
    await db.ledger.append([enrolled("a")])
    await db.ledger.append([Draft("workspace/b", db.ledger.log[0].body)])
    await drain(db.consumer())
    assert unpack_workspace((await db.rows("facts"))[1][3]).quarantined == 2  # type: ignore[arg-type]


async def test_given_a_nul_in_a_text_then_the_request_is_kept_and_the_view_goes_on(db: Projected) -> None:
    await db.ledger.append(
        [enrolled("a"), opt_out("workspace/a", "r", authority="ver\0ified"), enrolled("b")]
    )
    await drain(db.consumer("requests"))
    (row,) = await db.rows("requests")
    assert row[7] == "ver\ufffdified"


async def test_given_a_hole_in_the_ledger_then_nothing_behind_it_is_applied(db: Projected) -> None:
    await db.ledger.append(history(10))
    await db.connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER ALL")
    await db.connection.execute("DELETE FROM ledger.events WHERE position = 4")
    consumer = db.consumer()
    for _ in range(2):
        with pytest.raises(Hole):
            await consumer.step()
    assert await db.position("facts") == 0


# -- the rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEW_NAMES)
@pytest.mark.parametrize("batch", [1, 7, 64, 2_000])
async def test_given_any_split_into_batches_then_rows_are_the_fold_of_the_log(
    db: Projected, view: str, batch: int
) -> None:
    await append_all(db.ledger, history(150))
    await drain(db.consumer(view, batch=batch))
    assert await db.rows(view) == db.expected(view)
    assert await db.position(view) == 150


async def test_given_events_that_change_nothing_then_a_row_keeps_the_position_of_the_last_that_did(
    db: Projected,
) -> None:
    await db.ledger.append(
        [policy(), organisation("o"), opt_out("organisation/o", "r"), acknowledged("organisation/o", "r")]
    )
    await drain(db.consumer(batch=1))
    assert [row[:3] for row in await db.rows("facts")] == [("book", "-", 1), ("organisation", "o", 3)]


async def test_given_a_request_on_its_way_then_its_row_says_state_due_date_and_whether_it_is_open(
    db: Projected,
) -> None:
    await db.ledger.append([enrolled("a"), opt_out("workspace/a", "r"), acknowledged("workspace/a", "r")])
    consumer = db.consumer("requests")
    await drain(consumer)
    query = "SELECT state, is_open, due_at - received_at, processed_at IS NULL, position FROM views.requests"
    row = await db.connection.fetchrow(query)
    assert row is not None
    assert (row[0], row[1], row[2].days, row[3], row[4]) == ("acknowledged", True, 30, True, 3)
    await db.ledger.append([processed("workspace/a", "r")])
    await drain(consumer)
    row = await db.connection.fetchrow(query)
    assert row is not None
    assert (row[0], row[1], row[3], row[4]) == ("processed", False, False, 4)


async def test_given_events_of_two_days_then_each_day_counts_its_own(db: Projected) -> None:
    await append_all(db.ledger, history(2_000))
    await drain(db.consumer("counts", batch=999))
    rows = await db.rows("counts")
    assert sum(row[2] for row in rows) == 2_000  # type: ignore[misc]
    assert len({row[0] for row in rows}) == 2
