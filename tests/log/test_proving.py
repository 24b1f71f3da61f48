"""Given the published files of a log of any size, when an event is proven, then it is RFC 6962's proof."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from consent_domain import merkle, tiles
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.proofs import Leaves, inclusion
from consent_domain.tlog_proofs import parse_proof
from consent_ledger.log.folder import CHECKPOINT, WITNESSED, LogFolder
from consent_ledger.log.proving import READ_SECONDS, Proofs, Prover
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing import MemoryLedger, Site


async def published(path: Path, count: int) -> tuple[Site, MemoryLedger]:
    site, ledger = Site(path), MemoryLedger()
    ledger.append(count)
    await site.publish_all(site.publisher(ledger))
    return site, ledger


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 600, 1_000])
async def test_given_a_log_of_a_size_when_each_event_is_proven_then_the_proof_is_the_standards(
    tmp_path: Path, size: int
) -> None:
    site, ledger = await published(tmp_path, size)
    proofs = Proofs(site.folder)
    leaves = Leaves([entry.leaf_hash for entry in ledger.entries])
    positions = {1, 2, size // 2, 255, 256, 257, 512, 513, size - 1, size}
    for position in sorted(one for one in positions if 0 < one <= size):
        proven = proofs.prove(position)
        parsed = parse_proof(proven.proof)
        assert (parsed.index, parsed.extra) == (position - 1, ledger.entries[position - 1].body)
        assert list(parsed.hashes) == inclusion(leaves, position - 1, 0, size)
        assert parsed.checkpoint == site.folder.note(1) and proven.entry == parsed.extra


async def test_given_a_witnessed_checkpoint_behind_the_latest_then_it_is_taken_for_what_it_covers(
    tmp_path: Path,
) -> None:
    site, ledger = await published(tmp_path, 10)
    witnessed = site.folder.note(1)
    ledger.append(10)
    await site.publish_all(site.publisher(ledger))
    latest = site.folder.note(1)
    assert witnessed is not None and latest is not None and witnessed != latest
    site.folder.publish_witnessed(1, witnessed)
    proofs = Proofs(site.folder)
    assert parse_proof(proofs.prove(10).proof).checkpoint == witnessed
    assert parse_proof(proofs.prove(11).proof).checkpoint == latest
    (site.folder.path / "1" / WITNESSED).unlink()
    assert parse_proof(Proofs(site.folder).prove(10).proof).checkpoint == latest


async def test_given_a_newer_checkpoint_then_it_is_used_at_once_where_needed_and_else_within_a_second(
    tmp_path: Path,
) -> None:
    site, ledger = await published(tmp_path, 10)
    seconds = 0.0
    proofs = Proofs(site.folder, lambda: seconds)
    first = parse_proof(proofs.prove(3).proof).checkpoint
    with pytest.raises(ConsentError) as refused:
        proofs.prove(11)
    assert (refused.value.code, refused.value.extra) == ("beyond_checkpoint", {"size": "10"})
    ledger.append(1)
    await site.publish_all(site.publisher(ledger))
    assert parse_proof(proofs.prove(3).proof).checkpoint == first
    assert parse_proof(proofs.prove(11).proof).checkpoint == site.folder.note(1)
    seconds += READ_SECONDS
    assert parse_proof(proofs.prove(3).proof).checkpoint == site.folder.note(1)


async def test_given_a_checkpoint_that_is_none_when_proven_then_damaged(tmp_path: Path) -> None:
    site, _ = await published(tmp_path, 10)
    for path in (CHECKPOINT, WITNESSED):
        (site.folder.path / "1" / path).write_bytes(b"no note")
    with pytest.raises(ConsentError) as refused:
        Proofs(site.folder).prove(1)
    assert refused.value.code == "damaged"


async def test_given_many_who_wait_when_some_ask_for_nothing_and_some_go_then_each_gets_its_own(
    tmp_path: Path,
) -> None:
    site, ledger = await published(tmp_path, 300)
    prover = Prover(Proofs(site.folder))
    asked = [asyncio.create_task(prover.prove(position)) for position in range(1, 331)]
    await asyncio.sleep(0)
    for task in asked[::7]:
        task.cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    for index, one in enumerate(found):
        if isinstance(one, asyncio.CancelledError):
            assert index % 7 == 0
        elif isinstance(one, ConsentError):
            assert one.code == "beyond_checkpoint" and index >= 300
        else:
            assert not isinstance(one, BaseException)
            assert one.entry == ledger.entries[index].body and index < 300


async def test_given_no_log_then_nothing_is_covered(tmp_path: Path) -> None:
    with pytest.raises(ConsentError) as refused:
        Proofs(LogFolder(tmp_path / "none")).prove(1)
    assert refused.value.extra == {"size": "0"}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20), st.integers(0, 25), st.integers(0, 30))
def test_an_entry_of_a_bundle_is_what_all_of_it_would_give(entries: list[bytes], at: int, lost: int) -> None:
    whole = tiles.encode_entries(entries)
    bundle = whole[: len(whole) - lost]
    end = len(tiles.encode_entries(entries[: at + 1]))
    if at < len(entries) and end <= len(bundle):
        assert tiles.entry_of(bundle, at) == entries[at]
        assert merkle.leaf_hash(tiles.entry_of(bundle, at)) == tiles.leaf_hashes(entries[at : at + 1])
    else:
        with pytest.raises(Unreadable):
            tiles.entry_of(bundle, at)
