"""The ledger's side: the feed of remote gates, and the host's replica, over a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from consent_domain.batch import Committed, encode_committed
from consent_domain.errors import ConsentError
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from consent_gate.signatures import read_page
from consent_ledger.feed import WAIT_SECONDS_MIN, Feed
from consent_ledger.following import LedgerFollowing
from consent_plumbing.postgres import open_pool
from gate_ledger import EPOCH, SIGNER, rows
from scenario import ORIGIN, enrolled, opt_out, workspace
from stored_ledger import Stored, stored_ledger


@pytest_asyncio.fixture
async def stored(migrated_database_url: str) -> AsyncIterator[Stored]:
    async with stored_ledger(migrated_database_url) as made:
        yield made


async def until(condition: Callable[[], Any], seconds_max: float = 15.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


# -- the feed ------------------------------------------------------------------------------------------------


async def test_given_facts_then_the_snapshot_has_them_all_signed(stored: Stored) -> None:
    await stored.project()
    page = read_page(await Feed(stored.pool, SIGNER).page(None, 1_000), SIGNER.verifier)
    assert list(page.rows) == rows(stored.ledger)
    assert (page.after, page.through, page.more) == (0, stored.saved, False)
    assert (page.watermark.position, page.origin, page.epoch) == (stored.saved, ORIGIN, EPOCH)


@pytest.mark.parametrize("rows_max", [1, 2, 3])
async def test_given_a_limit_then_pages_continue_where_the_last_ended(stored: Stored, rows_max: int) -> None:
    await stored.project()
    feed, found, after, more = Feed(stored.pool, SIGNER), [], None, True
    while more:
        page = read_page(await feed.page(after, rows_max), SIGNER.verifier)
        found += page.rows
        after, more = page.token, page.more
    assert found == rows(stored.ledger) and after == stored.token()


async def test_given_nothing_new_then_wait_and_send_a_fresh_watermark(stored: Stored) -> None:
    await stored.project()
    began = time.monotonic()
    page = read_page(await Feed(stored.pool, SIGNER).page(stored.token(), 10), SIGNER.verifier)
    assert WAIT_SECONDS_MIN < time.monotonic() - began < 5
    assert not page.rows and page.through == page.after == stored.saved
    assert page.watermark.position == stored.saved


async def test_given_gates_that_wait_when_something_changes_then_all_are_answered_at_once(
    stored: Stored,
) -> None:
    await stored.project()
    feed = Feed(stored.pool, SIGNER)
    waiting = [asyncio.create_task(feed.page(stored.token(), 10)) for _ in range(5)]
    await asyncio.sleep(0.2)
    before = stored.saved
    stored.ledger.given(opt_out())
    await stored.save()
    await stored.project()
    began = time.monotonic()
    pages = [read_page(await task, SIGNER.verifier) for task in waiting]
    assert time.monotonic() - began < 0.6
    assert all([row.position for row in page.rows] == [before + 1] for page in pages)


async def test_given_a_view_behind_the_log_then_the_watermark_is_ahead_of_the_rows(stored: Stored) -> None:
    await stored.project()
    projected = stored.saved
    stored.ledger.given(opt_out())
    await stored.save()
    page = read_page(await Feed(stored.pool, SIGNER).page(None, 1_000), SIGNER.verifier)
    assert page.through == projected and page.watermark.position == stored.saved > projected


async def test_given_a_view_behind_the_token_as_while_it_is_rebuilt_then_nothing_goes_back(
    stored: Stored,
) -> None:
    page = read_page(await Feed(stored.pool, SIGNER).page(stored.token(), 10), SIGNER.verifier)
    assert (page.after, page.through, list(page.rows)) == (stored.saved, stored.saved, [])


async def test_given_a_token_that_this_log_never_gave_then_it_is_refused(stored: Stored) -> None:
    await stored.project()
    feed = Feed(stored.pool, SIGNER)
    for token, code in (
        (stored.token(stored.saved + 1), "forked"),
        (stored.token(1, epoch=EPOCH + 1), "forked"),
        (stored.token(1, epoch=0), "resync"),
        (stored.token(1, origin="consent.test/other"), "other_origin"),
    ):
        with pytest.raises(ConsentError) as refused:
            await feed.page(token, 10)
        assert refused.value.code == code


async def test_given_no_database_then_unavailable() -> None:
    pool = await open_pool("postgresql://nobody@127.0.0.1:1/none", "gate tests", 1)
    with pytest.raises(ConsentError, match="unavailable"):
        await Feed(pool, SIGNER).page(None, 10)
    pool.terminate()


# -- the host's replica --------------------------------------------------------------------------------------


@pytest.mark.parametrize("projected", [True, False])
async def test_given_a_ledger_then_its_host_follows_from_facts_or_from_the_first_event(
    stored: Stored, tmp_path: Path, projected: bool
) -> None:
    if projected:
        await stored.project()
    replica = Replica.open(tmp_path)
    with Gate(replica, purpose="train", following=LedgerFollowing(replica, stored.url, ORIGIN)) as gate:
        await until(lambda: gate.check("acme"))
        assert gate.status().position == stored.saved
        stored.ledger.given(opt_out())
        await stored.save()  # nobody says so: it is read within 250 ms
        await until(lambda: not gate.check("acme"), 2.0)
        assert gate.check("w2")
        with replica.snapshot() as snapshot:
            assert snapshot.workspace("acme") == stored.ledger.workspace("acme")


async def test_given_what_this_process_committed_then_it_denies_before_the_database_is_read(
    stored: Stored, tmp_path: Path
) -> None:
    replica = Replica.open(tmp_path)
    following = LedgerFollowing(replica, stored.url, ORIGIN)
    with Gate(replica, purpose="train", following=following) as gate:
        await until(lambda: gate.check("acme"))
        position = stored.saved
        stored.ledger.given(opt_out())
        await stored.save()
        told = Committed(ORIGIN, EPOCH, position + 1, stored.ledger.log[position:])
        began = time.monotonic()
        for message in encode_committed(told):
            following.hear(message)
        await until(lambda: not gate.check("acme"), 2.0)
        assert time.monotonic() - began < 0.2


async def test_given_messages_that_are_missing_repeated_foreign_or_nonsense_then_the_database_is_read(
    stored: Stored, tmp_path: Path
) -> None:
    replica = Replica.open(tmp_path)
    following = LedgerFollowing(replica, stored.url, ORIGIN)
    with Gate(replica, purpose="train", following=following) as gate:
        await until(lambda: gate.check("acme"))
        position = stored.saved
        lie = enrolled().given(workspace("w2"), workspace("w3"), opt_out()).log[position:]
        for told in (
            Committed("consent.test/other", EPOCH, position + 1, lie),
            Committed(ORIGIN, EPOCH + 1, position + 1, lie),
            Committed(ORIGIN, EPOCH, position + 2, lie[1:]),
            Committed(ORIGIN, EPOCH, position, stored.ledger.log[-1:]),
        ):
            for message in encode_committed(told):
                following.hear(message)
        following.hear(b"nonsense")
        following.wake()
        await asyncio.sleep(0.3)
        assert gate.check("acme") and gate.status().position == position
        stored.ledger.given(opt_out())
        await stored.save()
        following.wake(b"whatever it says")
        await until(lambda: not gate.check("acme"), 2.0)


async def test_given_a_database_that_is_another_ledgers_then_nothing_is_permitted(
    stored: Stored, tmp_path: Path
) -> None:
    replica = Replica.open(tmp_path)
    following = LedgerFollowing(replica, stored.url, "consent.test/other")
    with Gate(replica, purpose="train", following=following) as gate:
        await until(lambda: "pinned" in gate.status().why)
        assert not gate.check("acme")


async def test_given_no_database_then_nothing_is_permitted_and_it_says_why(tmp_path: Path) -> None:
    replica = Replica.open(tmp_path)
    following = LedgerFollowing(replica, "postgresql://nobody@127.0.0.1:1/none", ORIGIN)
    with Gate(replica, purpose="train", following=following) as gate:
        await until(lambda: gate.status().why)
        assert not gate.check("acme")
