"""The relay on PostgreSQL and JetStream: the stream holds every event, in order, once, whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import nats
import pytest
import pytest_asyncio
from consent_plumbing.nats import STREAM, Bus, Message
from consent_projector.consumer import Consumer, State
from consent_projector.hints import Hints
from consent_projector.jetstream import JetStream
from consent_projector.relay import Relay, StreamDisagrees
from consent_projector.seams import Unavailable
from consent_projector.store import PostgresStore
from ledger_events import ORIGIN, Draft, append_all, enrolled, history, policy
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from projecting import Projected, drain, projected


class StillClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Lossy(JetStream):
    """The real stream, whose acknowledgements get lost, for some messages or all."""

    def __init__(self, bus: Bus, seed: int) -> None:
        super().__init__(bus)
        self._chance = random.Random(seed)

    async def publish_in_order(self, messages: Sequence[Message], after_sequence: int) -> None:
        fate = self._chance.random()
        if fate < 0.5:
            await super().publish_in_order(messages[: self._chance.randint(0, len(messages))], after_sequence)
            raise Unavailable("the acknowledgement was lost")
        await super().publish_in_order(messages, after_sequence)


class Relayed(NamedTuple):
    """A ledger, and a stream to relay it to."""

    db: Projected
    bus: Bus
    client: Client
    clock: StillClock

    def consumer(
        self, owner: str = "one", batch: int = 50, fill_from: int = 1, stream: JetStream | None = None
    ) -> Consumer:
        store = PostgresStore(self.db.pool)
        relay = Relay(store, stream or JetStream(self.bus), self.clock, fill_from)
        return Consumer(relay, store, self.clock, Hints(ORIGIN), owner, batch)

    async def stored(self) -> list[bytes]:
        """All messages of the stream, in order."""
        stream = self.client.jetstream()
        state = (await stream.stream_info(STREAM)).state
        last = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        return [(await stream.get_msg(STREAM, sequence)).data or b"" for sequence in last]

    def log(self) -> list[bytes]:
        return [event.body for event in self.db.ledger.log]


@pytest_asyncio.fixture
async def relayed(migrated_database_url: str, nats_url: str) -> AsyncIterator[Relayed]:
    client = await nats.connect(nats_url)
    bus = Bus(nats_url, "tests")
    async with asyncio.timeout(10):
        while not bus.is_connected:  # noqa: ASYNC110 - a connection has no event to wait for
            await asyncio.sleep(0.01)
    await _without_stream(client)  # the server is the session's: other tests' projectors relay to it too
    async with projected(migrated_database_url) as db:
        yield Relayed(db, bus, client, StillClock())
    await _without_stream(client)
    await bus.close()
    await client.close()


async def _without_stream(client: Client) -> None:
    with suppress(NotFoundError):
        await client.jetstream().delete_stream(STREAM)


async def test_given_events_then_the_stream_holds_their_bytes_in_order_by_type_with_the_events_id(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(120))
    await drain(relayed.consumer())
    assert await relayed.stored() == relayed.log()
    first = await relayed.client.jetstream().get_msg(STREAM, 1)
    assert first.subject == "consent.v1.events.policy-published.v1"
    assert first.headers is not None
    assert f'"id":"{first.headers["Nats-Msg-Id"]}"'.encode() in relayed.log()[0]


@pytest.mark.parametrize("seed", range(4))
async def test_given_acknowledgements_and_parts_of_batches_lost_then_nothing_is_missing_twice_or_out_of_order(
    relayed: Relayed, seed: int
) -> None:
    await append_all(relayed.db.ledger, history(100, seed=seed))
    consumer = relayed.consumer(batch=20, stream=Lossy(relayed.bus, seed))
    state = None
    while state is not State.IDLE:
        try:
            state = (await consumer.step()).state
        except Unavailable:
            state = None
    assert await relayed.stored() == relayed.log()


async def test_given_a_crash_between_publishing_and_moving_the_cursor_then_nothing_is_published_twice(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(30))
    await drain(relayed.consumer())
    await relayed.db.connection.execute("UPDATE views.cursors SET position = 10 WHERE view = 'relay'")
    await relayed.db.expire("relay")
    await drain(relayed.consumer(owner="next"))
    assert await relayed.stored() == relayed.log()
    assert await relayed.db.position("relay") == 30


async def test_given_a_paused_relay_that_wakes_late_then_the_stream_refuses_its_messages(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(30))
    paused = relayed.consumer(owner="paused", batch=10)
    await paused.step()
    await relayed.db.expire("relay")
    await drain(relayed.consumer(owner="next"))
    assert (await paused.step()).state is State.REFUSED
    assert await relayed.stored() == relayed.log()


async def test_given_the_stream_is_deleted_then_it_is_made_again_and_filled_from_the_start(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(40))
    consumer = relayed.consumer()
    await drain(consumer)
    await relayed.client.jetstream().delete_stream(STREAM)
    relayed.clock.now += 1.0
    await drain(consumer)
    assert await relayed.stored() == relayed.log()


async def test_given_the_stream_is_deleted_under_load_then_it_is_filled_again(relayed: Relayed) -> None:
    await append_all(relayed.db.ledger, history(40))
    consumer = relayed.consumer()
    await drain(consumer)
    await relayed.client.jetstream().delete_stream(STREAM)
    await relayed.db.ledger.append([enrolled("late")])
    with pytest.raises(Unavailable):
        await consumer.step()
    await drain(consumer)
    assert await relayed.stored() == relayed.log()


async def test_given_a_position_to_fill_from_then_a_new_stream_begins_there(relayed: Relayed) -> None:
    await append_all(relayed.db.ledger, history(40))
    await drain(relayed.consumer(fill_from=31))
    assert await relayed.stored() == relayed.log()[30:]


async def test_given_the_last_messages_were_lost_then_they_are_published_again(relayed: Relayed) -> None:
    await append_all(relayed.db.ledger, history(20))
    await drain(relayed.consumer(fill_from=1, batch=15))
    await relayed.client.jetstream().delete_stream(STREAM)
    await relayed.bus.stream_end()
    messages = [
        Message(f"consent.v1.events.test.v{n}", body, str(n)) for n, body in enumerate(relayed.log()[:12])
    ]
    await relayed.bus.publish_in_order(messages, 0)
    await relayed.db.expire("relay")
    await drain(relayed.consumer(owner="next"))
    assert await relayed.stored() == relayed.log()


async def test_given_a_purge_then_what_was_taken_away_stays_away_and_the_relay_goes_on(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(20))
    consumer = relayed.consumer()
    await drain(consumer)
    await relayed.client.jetstream().purge_stream(STREAM)
    await relayed.db.ledger.append([enrolled("later")])
    relayed.clock.now += 1.0
    await drain(consumer)
    assert await relayed.stored() == relayed.log()[20:]


async def test_given_a_stream_of_a_history_that_was_lost_then_nothing_is_published(relayed: Relayed) -> None:
    await relayed.db.ledger.append([policy(), enrolled("a")])
    await relayed.bus.stream_end()
    other = relayed.log()[0].replace(b"Principles", b"principles")
    await relayed.bus.publish_in_order([Message("consent.v1.events.policy-published.v1", other, "x")], 0)
    consumer = relayed.consumer()
    for _ in range(2):
        with pytest.raises(StreamDisagrees):
            await consumer.step()
    assert await relayed.stored() == [other]


async def test_given_a_ledger_put_back_below_the_stream_then_nothing_is_published_until_it_is_deleted(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(30))
    consumer = relayed.consumer()
    await drain(consumer)
    before = relayed.log()
    await relayed.db.put_back(20, seed=7, more=15)
    relayed.clock.now += 10.0
    for _ in range(2):
        with pytest.raises(StreamDisagrees, match="recover --from-jetstream"):
            await consumer.step()
    assert await relayed.stored() == before
    await relayed.client.jetstream().delete_stream(STREAM)
    relayed.clock.now += 10.0
    await drain(consumer)
    assert await relayed.stored() == relayed.log()


async def test_given_a_ledger_put_back_that_was_recovered_to_the_same_events_then_the_stream_goes_on(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(30))
    consumer = relayed.consumer()
    await drain(consumer)
    await relayed.db.put_back(30, seed=7, more=5)
    relayed.clock.now += 10.0
    await drain(consumer)
    assert await relayed.stored() == relayed.log()


async def test_given_a_cursor_that_began_again_beneath_a_running_relay_then_nothing_is_published_twice(
    relayed: Relayed,
) -> None:
    await append_all(relayed.db.ledger, history(30))
    consumer = relayed.consumer()
    await drain(consumer)
    await relayed.db.connection.execute(
        "UPDATE views.cursors SET position = 0, leaf_hash = '' WHERE view = 'relay'"
    )
    await relayed.db.ledger.append([enrolled("later")])
    relayed.clock.now += 1.0  # the lease is renewed, and the stream's end is not looked at yet
    await drain(consumer)
    assert await relayed.stored() == relayed.log()


async def test_given_bytes_that_cannot_be_read_then_they_are_relayed_as_such_and_with_alarm(
    relayed: Relayed,
) -> None:
    await relayed.db.ledger.append([policy(), Draft("workspace/a", b'{"id":"x","type":"a b.*"}')])
    (step,) = await drain(relayed.consumer())
    assert [fault.position for fault in step.faults] == [2]
    await relayed.db.ledger.append([enrolled("b")])
    await relayed.db.expire("relay")
    await drain(relayed.consumer(owner="next"))
    assert await relayed.stored() == relayed.log()
    assert (await relayed.client.jetstream().get_msg(STREAM, 2)).subject == "consent.v1.events.unreadable"


async def test_given_nats_is_down_then_the_relay_waits_and_its_cursor_stays(
    migrated_database_url: str,
) -> None:
    bus = Bus("nats://127.0.0.1:1", "tests")
    try:
        async with projected(migrated_database_url) as db:
            await append_all(db.ledger, history(5))
            store, clock = PostgresStore(db.pool), StillClock()
            consumer = Consumer(Relay(store, JetStream(bus), clock), store, clock, Hints(ORIGIN), "one")
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await consumer.step()
            assert await db.position("relay") == 0
    finally:
        await bus.close()
