"""What every store of the write path must do: the same sentences for PostgreSQL and for the simulation.

A subclass gives the fixture `stores`: two stores of one new ledger, as two processes have them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest
from consent_domain import merkle
from consent_domain.envelope import encode
from consent_domain.events import (
    LOG_STREAM,
    Body,
    LedgerOpened,
    OptInRequested,
    OrganisationRegistered,
    PurposeSuspended,
    RecordedBy,
    Requester,
    Scope,
)
from consent_domain.instants import moment_of
from consent_ledger.seams import Answered, Head, Key, Known, Row, Store, StoreRefused, Transaction

BY = RecordedBy(principal="ada", authentication="api_key")
ORGANISATION = OrganisationRegistered(recorded_by=BY)
NOBODYS_KEY = Key("ada", "never")


def row(
    head: Head,
    offset: int,
    stream: str,
    version: int,
    body: Body = ORGANISATION,
    event_id: UUID | None = None,
) -> Row:
    """The row of an event `offset` places behind the head."""
    identifier = event_id or uuid4()
    time = max(head.now, head.recorded_at + 1) + offset
    encoded = encode(head.position + offset, identifier, head.origin, stream, time, body)
    kind = {
        OrganisationRegistered: "organisation-registered.v1",
        LedgerOpened: "ledger-opened.v1",
        PurposeSuspended: "purpose-suspended.v1",
        OptInRequested: "opt-in-requested.v1",
    }[type(body)]
    return Row(stream, version, identifier, kind, moment_of(time), encoded, merkle.leaf_hash(encoded))


def after(head: Head, rows: Sequence[Row]) -> bytes:
    """The compact range behind these rows."""
    size, hashes = head.position, merkle.split(head.range)
    for one in rows:
        size = merkle.append(size, hashes, one.leaf_hash)
    return merkle.join(hashes)


async def append(
    transaction: Transaction, head: Head, rows: list[Row], answered: Sequence[Answered] = ()
) -> None:
    last = max(head.now, head.recorded_at + 1) + len(rows)
    await transaction.append(head, rows, answered, last, after(head, rows))


async def record(store: Store, *given: tuple[str, int, Body], answered: Sequence[Answered] = ()) -> list[Row]:
    """Record events in one transaction."""
    async with store.transaction() as transaction:
        head = await transaction.lock_head()
        rows = [row(head, n, stream, version, body) for n, (stream, version, body) in enumerate(given, 1)]
        await append(transaction, head, rows, answered)
        await transaction.commit()
    return rows


class StoreSuite:
    """Given a store, when it is used as the seams say, then it does what they promise."""

    @pytest.fixture
    def store(self, stores: tuple[Store, Store]) -> Store:
        return stores[0]

    # -- append --------------------------------------------------------------------------------------------

    async def test_given_a_new_ledger_when_the_head_is_read_then_it_is_empty(self, store: Store) -> None:
        head = await store.read_head()
        assert (head.position, head.range) == (0, b"")
        assert head.origin and head.epoch >= 1 and head.now > 0

    async def test_given_rows_when_committed_then_they_are_kept_byte_for_byte_and_the_head_moves(
        self, store: Store
    ) -> None:
        rows = await record(store, ("organisation/a", 1, ORGANISATION), ("organisation/b", 1, ORGANISATION))
        found = await store.events_after(0, 10)
        assert [(one.position, one.stream, one.version, one.body) for one in found] == [
            (n, one.stream, one.version, one.body) for n, one in enumerate(rows, 1)
        ]
        head = await store.read_head()
        assert head.position == 2
        assert head.range == after(head._replace(position=0, range=b""), rows)
        assert moment_of(head.recorded_at) >= rows[-1].recorded_at
        assert [one.position for one in await store.events_after(1, 10)] == [2]
        assert [one.position for one in await store.events_after(0, 1)] == [1]

    async def test_given_a_transaction_left_without_commit_when_read_then_nothing_is_there(
        self, store: Store
    ) -> None:
        async with store.transaction() as transaction:
            head = await transaction.lock_head()
            await append(transaction, head, [row(head, 1, "organisation/a", 1)])
        assert await store.events_after(0, 10) == []
        assert (await store.read_head()).position == 0

    async def test_given_an_exception_inside_when_the_next_comes_then_nothing_of_the_first_is_there(
        self, store: Store
    ) -> None:
        with pytest.raises(RuntimeError):
            async with store.transaction() as transaction:
                head = await transaction.lock_head()
                await append(transaction, head, [row(head, 1, "organisation/a", 1)])
                raise RuntimeError("a crash between two statements")
        await record(store, ("organisation/a", 1, ORGANISATION))
        assert (await store.read_head()).position == 1

    async def test_given_another_head_when_appended_then_it_is_refused(self, store: Store) -> None:
        await record(store, ("organisation/a", 1, ORGANISATION))
        with pytest.raises(StoreRefused):
            async with store.transaction() as transaction:
                head = await transaction.lock_head()
                before = head._replace(position=0, range=b"")
                await append(transaction, before, [row(before, 1, "organisation/b", 1)])
                await transaction.commit()
        assert (await store.read_head()).position == 1

    async def test_given_a_version_that_exists_when_appended_then_it_is_refused(self, store: Store) -> None:
        await record(store, ("organisation/a", 1, ORGANISATION))
        with pytest.raises(StoreRefused):
            await record(store, ("organisation/b", 1, ORGANISATION), ("organisation/a", 1, ORGANISATION))
        assert (await store.read_head()).position == 1
        await record(store, ("organisation/a", 2, ORGANISATION))

    # -- what is read under the lock -----------------------------------------------------------------------

    async def test_given_streams_when_read_then_each_is_whole_and_in_order(self, store: Store) -> None:
        await record(store, ("organisation/a", 1, ORGANISATION), ("organisation/b", 1, ORGANISATION))
        await record(store, ("organisation/a", 2, ORGANISATION))
        async with store.transaction() as transaction:
            await transaction.lock_head()
            found = await transaction.streams(["organisation/a", "organisation/never"])
            assert [(one.stream, one.version, one.position) for one in found] == [
                ("organisation/a", 1, 1),
                ("organisation/a", 2, 3),
            ]
            assert [one.position for one in await transaction.events_after(1, 5)] == [2, 3]

    async def test_given_everybodys_events_when_read_then_they_come_in_order_and_alone(
        self, store: Store
    ) -> None:
        stop = PurposeSuspended(recorded_by=BY, reason="incident", effective_at=moment_of(1))
        await record(
            store, (LOG_STREAM, 1, LedgerOpened(recorded_by=BY)), ("organisation/a", 1, ORGANISATION)
        )
        await record(store, ("purpose/train", 1, stop))
        async with store.transaction() as transaction:
            await transaction.lock_head()
            assert [(one.position, one.stream) for one in await transaction.book()] == [
                (1, LOG_STREAM),
                (3, "purpose/train"),
            ]

    async def test_given_keys_when_recorded_then_they_are_known_to_their_principal_only(
        self, store: Store
    ) -> None:
        key, known = Key("ada", "k"), Known(b"h" * 32, b'{"first":1}')
        await record(store, ("organisation/a", 1, ORGANISATION), answered=[Answered(key, known, 1, 1)])
        async with store.transaction() as transaction:
            await transaction.lock_head()
            assert await transaction.known([key, Key("bo", "k"), NOBODYS_KEY]) == {key: known}

    async def test_given_a_request_when_looked_up_by_its_id_then_its_stream_is_found(
        self, store: Store
    ) -> None:
        identifier = uuid4()
        asked = OptInRequested(
            recorded_by=BY,
            opt_in=str(identifier),
            keys=["train"],
            scope=Scope(kind="organisation", id="a"),
            requester=Requester(role="owner", authority="verified"),
            channel="api",
            received_at=moment_of(1),
        )
        other = uuid4()
        async with store.transaction() as transaction:
            head = await transaction.lock_head()
            rows = [
                row(head, 1, "organisation/a", 1, event_id=other),
                row(head, 2, "organisation/a", 2, asked, identifier),
            ]
            await append(transaction, head, rows)
            await transaction.commit()
        assert await store.stream_of_request(identifier) == "organisation/a"
        assert await store.stream_of_request(other) is None, "it began no request"
        assert await store.stream_of_request(uuid4()) is None

    # -- many ----------------------------------------------------------------------------------------------

    async def test_given_many_rows_when_the_head_moves_behind_them_then_they_are_kept(
        self, store: Store
    ) -> None:
        async with store.transaction() as transaction:
            head = await transaction.lock_head()
            rows = [row(head, n, f"organisation/o{n}", 1) for n in range(1, 1_501)]
            assert await transaction.append_many(head, _each(rows)) == 1_500
            await transaction.move_head(head, 1_500, head.now + 2_000, after(head, rows))
            await transaction.commit()
        assert [one.body for one in await store.events_after(0, 2_000)] == [one.body for one in rows]
        assert (await store.read_head()).position == 1_500

    async def test_given_many_rows_when_the_head_moves_elsewhere_then_it_is_refused(
        self, store: Store
    ) -> None:
        with pytest.raises(StoreRefused):
            async with store.transaction() as transaction:
                head = await transaction.lock_head()
                rows = [row(head, n, f"organisation/o{n}", 1) for n in range(1, 4)]
                await transaction.append_many(head, _each(rows))
                await transaction.move_head(head, 2, head.now + 9, after(head, rows[:2]))
                await transaction.commit()
        assert (await store.read_head()).position == 0

    async def test_given_rows_that_fail_while_they_are_made_when_left_then_nothing_is_there(
        self, store: Store
    ) -> None:
        async def failing(head: Head) -> AsyncIterator[Row]:
            yield row(head, 1, "organisation/a", 1)
            raise RuntimeError("the second row cannot be made")

        with pytest.raises(RuntimeError):
            async with store.transaction() as transaction:
                head = await transaction.lock_head()
                await transaction.append_many(head, failing(head))
        await record(store, ("organisation/a", 1, ORGANISATION))
        assert (await store.read_head()).position == 1

    # -- two processes -------------------------------------------------------------------------------------

    async def test_given_two_processes_when_both_lock_then_the_second_sees_what_the_first_committed(
        self, stores: tuple[Store, Store]
    ) -> None:
        first, second = stores
        seen: list[Head] = []

        async def wait_and_look() -> None:
            async with second.transaction() as transaction:
                seen.append(await transaction.lock_head())
                assert [one.stream for one in await transaction.streams(["organisation/a"])] == [
                    "organisation/a"
                ]

        async with first.transaction() as transaction:
            head = await transaction.lock_head()
            waiting = asyncio.create_task(wait_and_look())
            await asyncio.sleep(0.05)
            assert not seen, "the lock is held"
            await append(transaction, head, [row(head, 1, "organisation/a", 1)])
            await transaction.commit()
        await asyncio.wait_for(waiting, 10)
        assert [one.position for one in seen] == [1]


async def _each(rows: Sequence[Row]) -> AsyncIterator[Row]:
    for one in rows:
        yield one
