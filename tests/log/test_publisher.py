"""The publisher's step: crashes, damage, restored databases, lost memories, rotations, epochs."""

from __future__ import annotations

import random
import shutil
from itertools import count
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_domain.instants import SECOND
from consent_domain.notes import parse_note
from consent_domain.tiles import ENTRIES, Tile, path
from consent_gate.seeds import make_seed
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.guard import Guard, HeldBack
from consent_ledger.log.keys import next_file
from consent_ledger.log.publisher import BACKLOG_EVENTS, NotBegun, State, Unavailable, next_size
from consent_ledger.log.signer import SignerState
from publishing import Fate, Killed, MemoryLedger, MortalFolder, MortalState, Site, audit


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


async def test_given_an_empty_ledger_when_published_then_the_empty_tree_is_signed(site, ledger):
    assert (await site.publisher(ledger).step()).state is State.PUBLISHED
    assert audit(site, ledger).size == 0


async def test_given_a_checkpoint_when_events_follow_within_a_second_then_the_next_one_waits_unless_wanted(
    site, ledger
):
    publisher = site.publisher(ledger)
    ledger.append(3)
    assert (await publisher.step()).state is State.PUBLISHED
    ledger.append(1)
    assert (await publisher.step()).state is State.WAITING
    assert audit(site, ledger).size == 3
    assert (await publisher.step(wanted=True)).state is State.PUBLISHED
    ledger.append(1)
    site.seconds += 1.0
    assert (await publisher.step()).state is State.PUBLISHED
    assert audit(site, ledger).size == 5
    assert (await publisher.step()).state is State.IDLE


async def test_given_growth_over_the_edges_of_tiles_when_published_then_every_tile_is_right(site, ledger):
    publisher = site.publisher(ledger)
    for more in (1, 254, 1, 1, 255, 256, 513, 4_500, 700):
        ledger.append(more)
        await site.publish_all(publisher)
        audit(site, ledger)
    # What a partial tile said is still said, cut out of the full one.
    bundle = Tile(ENTRIES, 0, 255)
    assert not (site.folder.path / "1" / path(bundle)).exists()
    assert len(site.folder.read_tile(1, bundle)) < len(site.folder.read_tile(1, bundle._replace(width=256)))


@pytest.mark.parametrize("first", [300, 0])
async def test_given_a_crash_at_any_moment_when_started_again_then_nothing_signed_is_ever_contradicted(
    tmp_path, first
):
    """Kill at moment 0, 1, 2 … of publishing, until a run outlives them all."""
    for moment in count():
        site, ledger = Site(tmp_path / f"{first}-{moment}"), MemoryLedger()
        ledger.append(first)
        await site.publish_all(site.publisher(ledger))
        ledger.append(700)
        fate = Fate(moment)
        mortal = site.publisher(
            ledger, MortalFolder(site.folder.path, fate), MortalState(site.state_file, fate)
        )
        try:
            await site.publish_all(mortal)
        except Killed:
            audit(site, ledger)  # what is published stands, whatever was half done
            ledger.append(5)
            await site.publish_all(site.publisher(ledger))
            assert audit(site, ledger).size == first + 705
            continue
        assert moment >= 8, "there are moments at which it can die"
        return


async def test_given_random_crashes_restores_and_lost_files_when_it_goes_on_then_one_history_is_signed(
    tmp_path,
):
    """Whatever happens, every checkpoint ever published is of the one history, or the log is halted."""
    halted = 0
    for seed in range(25):
        chance = random.Random(seed)
        site, ledger = Site(tmp_path / str(seed)), MemoryLedger()
        seen: dict[int, bytes] = {}
        whole = True
        for _ in range(10):
            ledger.append(chance.choice([0, 1, 2, 200, 257]), f"seed {seed}")
            fate = Fate(chance.randrange(20))
            mortal = site.publisher(
                ledger, MortalFolder(site.folder.path, fate), MortalState(site.state_file, fate)
            )
            try:
                await site.publish_all(mortal)
                whole = True
            except Killed:
                pass
            if site.folder.note(1) is not None:
                checkpoint = site.published()
                assert seen.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root
                assert checkpoint.size >= max(seen), "a checkpoint never shrinks"
                if whole and site.folder.halted() is None and len(ledger.entries) >= checkpoint.size:
                    audit(site, ledger)
            if chance.random() < 0.1:
                ledger.entries = ledger.entries[: chance.randrange(len(ledger.entries) + 1)]
            if chance.random() < 0.2:
                lost = [file for file in (site.folder.path / "1").rglob("*") if file.is_file()]
                if lost:
                    chance.choice(lost).unlink()
                    whole = False
        halt = site.folder.halted()
        if halt is None:
            await site.publish_all(site.publisher(ledger))
            halt = site.folder.halted()
        if halt is None:
            audit(site, ledger)
        else:
            halted += 1
            assert halt.reason in ("behind", "forked"), halt
    assert halted, "some databases were restored"


async def test_given_a_missing_tile_when_started_then_it_is_made_again(site, ledger):
    ledger.append(1_000)
    await site.publish_all(site.publisher(ledger))
    for lost in (Tile(0, 1, 256), Tile(ENTRIES, 0, 256), Tile(1, 0, 3), Tile(ENTRIES, 3, 232)):
        (site.folder.path / "1" / path(lost)).unlink()
        assert (await site.publisher(ledger).step()).state is State.IDLE
        audit(site, ledger)


async def test_given_a_damaged_tile_at_the_edge_when_started_then_it_is_made_again(site, ledger):
    ledger.append(1_000)
    await site.publish_all(site.publisher(ledger))
    for bad in (Tile(0, 3, 232), Tile(1, 0, 3), Tile(ENTRIES, 3, 232)):
        file = site.folder.path / "1" / path(bad)
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
        assert (await site.publisher(ledger).step()).state is State.IDLE
        audit(site, ledger)


async def test_given_a_damaged_tile_inside_when_the_tiles_are_checked_then_it_is_made_again(site, ledger):
    ledger.append(1_000)
    publisher = site.publisher(ledger)
    await site.publish_all(publisher)
    for bad in (Tile(0, 1, 256), Tile(ENTRIES, 2, 256)):
        file = site.folder.path / "1" / path(bad)
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        tile = 0
        for _ in range(3):
            tile = await publisher.check_tiles(tile)
            await publisher.step()
        audit(site, ledger)
        assert site.folder.halted() is None


async def test_given_a_damaged_event_and_a_lost_tile_when_started_then_it_halts_and_keeps_the_good_tiles(
    site, ledger
):
    ledger.append(1_000)
    await site.publish_all(site.publisher(ledger))
    kept = site.folder.read_tile(1, Tile(0, 0, 256))
    ledger.change_body(7, consistently=True)
    (site.folder.path / "1" / path(Tile(0, 2, 256))).unlink()
    assert (await site.publisher(ledger).step()).state is State.HALTED
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "event_damaged" and "position 7" in halt.detail
    assert site.folder.read_tile(1, Tile(0, 0, 256)) == kept


@pytest.mark.parametrize("consistently", [False, True])
async def test_given_a_changed_event_when_it_would_be_signed_then_it_halts_and_signs_nothing(
    site, ledger, consistently
):
    publisher = site.publisher(ledger)
    ledger.append(10)
    await site.publish_all(publisher)
    ledger.append(10)
    ledger.change_body(15, consistently)
    assert (await publisher.step(wanted=True)).state is State.HALTED
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "event_damaged"
    assert site.published().size == 10 and site.signed().size == 10
    # It stays halted, whoever comes.
    assert (await site.publisher(ledger).step(wanted=True)).state is State.HALTED


async def test_given_a_missing_event_when_it_would_be_signed_then_it_halts(site, ledger):
    ledger.append(20)
    ledger._range = ledger._hashes(20)
    del ledger.entries[10]
    ledger.append(1)
    ledger.entries[-1] = ledger.entries[-1]._replace(position=21)
    assert (await site.publisher(ledger).step()).state is State.HALTED
    halt = site.folder.halted()
    assert halt is not None and "position 11 is missing" in halt.detail


async def test_given_a_database_from_a_backup_when_it_is_behind_then_it_halts_and_says_what_to_do(
    site, ledger
):
    ledger.append(50)
    publisher = site.publisher(ledger)
    await site.publish_all(publisher)
    ledger.entries = ledger.entries[:40]
    for one in (publisher, site.publisher(ledger)):
        assert (await one.step()).state is State.HALTED
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "behind" and "consent-ledger recover" in halt.detail


async def test_given_a_database_from_a_backup_when_it_went_on_past_what_was_signed_then_it_halts_as_forked(
    tmp_path,
):
    for restarted in (False, True):
        site, ledger = Site(tmp_path / str(restarted)), MemoryLedger()
        ledger.append(50)
        publisher = site.publisher(ledger)
        await site.publish_all(publisher)
        ledger.entries = ledger.entries[:40]
        ledger.append(30, "another history")
        step = await (site.publisher(ledger) if restarted else publisher).step(wanted=True)
        assert step.state is State.HALTED
        halt = site.folder.halted()
        assert halt is not None and halt.reason == "forked", halt
        assert site.signed().size == 50


async def test_given_the_signers_memory_is_lost_when_the_checkpoint_is_there_then_it_remembers(site, ledger):
    ledger.append(50)
    await site.publish_all(site.publisher(ledger))
    site.state_file.unlink()
    ledger.append(1)
    await site.publish_all(site.publisher(ledger))
    assert audit(site, ledger).size == 51 == site.signed().size


async def test_given_the_signers_memory_is_older_than_the_checkpoint_then_the_checkpoint_counts(site, ledger):
    ledger.append(50)
    publisher = site.publisher(ledger)
    await site.publish_all(publisher)
    older = site.state_file.read_bytes()
    ledger.append(20)
    await site.publish_all(publisher)
    site.state_file.write_bytes(older)
    ledger.entries = ledger.entries[:60]
    assert (await site.publisher(ledger).step()).state is State.HALTED
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "behind"


async def test_given_memory_and_checkpoint_are_both_lost_when_started_then_it_refuses_until_told(
    site, ledger
):
    ledger.append(50)
    await site.publish_all(site.publisher(ledger))
    site.state_file.unlink()
    (site.folder.path / "1" / "checkpoint").unlink()
    with pytest.raises(NotBegun, match="--begin"):
        await site.publisher(ledger).step()
    await site.publish_all(site.publisher(ledger, begin=True))
    assert audit(site, ledger).size == 50


async def test_given_only_the_checkpoint_is_lost_when_started_then_the_same_tree_is_signed_again(
    site, ledger
):
    ledger.append(50)
    await site.publish_all(site.publisher(ledger))
    for damage in (None, b"nonsense", (site.folder.path / "1" / "checkpoint").read_bytes()[:-30] + b"AAAA\n"):
        file = site.folder.path / "1" / "checkpoint"
        file.unlink() if damage is None else file.write_bytes(damage)
        await site.publish_all(site.publisher(ledger))
        assert audit(site, ledger).size == 50


async def test_given_the_whole_folder_is_lost_when_started_then_it_is_made_again_from_the_events(
    site, ledger
):
    ledger.append(600)
    await site.publish_all(site.publisher(ledger))
    shutil.rmtree(site.folder.path)
    ledger.append(1)
    await site.publish_all(site.publisher(ledger))
    assert audit(site, ledger).size == 601
    shutil.rmtree(site.folder.path)
    ledger.change_body(3, consistently=True)
    assert (await site.publisher(ledger).step()).state is State.HALTED


async def test_given_another_key_when_started_then_nothing_is_signed(site, ledger):
    ledger.append(5)
    await site.publish_all(site.publisher(ledger))
    site.key_file.unlink()
    make_seed(site.key_file)
    ledger.append(1)
    with pytest.raises(Unavailable, match="not the key at hand"):
        await site.publisher(ledger).step()


async def test_given_two_signers_with_one_memory_when_both_sign_then_one_is_refused(site, ledger, tmp_path):
    """Two hosts that each believe to hold the lock: compare and swap decides."""
    ledger.append(5)
    first = site.publisher(ledger)
    await site.publish_all(first)
    ledger.append(5)

    class Overtaken(SignerState):
        def swap(self, name, expected, signed, at):
            other = SignerState(site.state_file)
            other.swap(name, expected, signed._replace(size=7, root=ledger.root(7)), at)
            super().swap(name, expected, signed, at)

    step = await site.publisher(ledger, state=Overtaken(site.state_file)).step(wanted=True)
    assert step.state is State.HALTED and site.published().size == 5


async def test_given_a_second_process_when_the_first_holds_the_lock_then_it_stands_by(site):
    first, second = site.folder.election(), site.folder.election()
    assert first.lead() and not second.lead()
    first.resign()
    assert second.lead()
    second.resign()


async def test_given_a_rotation_when_the_overlap_lasts_then_both_keys_sign_and_afterwards_only_the_new_one(
    site, ledger
):
    publisher = site.publisher(ledger)
    ledger.append(5)
    await site.publish_all(publisher)
    old = site.verifier
    make_seed(next_file(site.key_file))
    new = site.next_verifier
    ledger.append(1)
    await site.publish_all(publisher)
    assert _signers(site) == {old.key_hash}, "a key signs once the log says so"
    until = ledger.now + 3_600 * SECOND
    ledger.rotate(str(old), str(new), until)
    await site.publish_all(publisher)
    assert _signers(site) == {old.key_hash, new.key_hash}
    audit(site, ledger, keys=[old])
    audit(site, ledger, keys=[new])
    ledger.now = until
    ledger.append(1)
    await site.publish_all(publisher)
    assert _signers(site) == {new.key_hash}
    audit(site, ledger, keys=[new])
    keys = site.folder.keys(1)
    assert keys is not None and keys.verifier_keys == [str(old), str(new)]
    assert keys.periods[0].signs_until == keys.periods[0].signs_until != ""
    # The old seed may go now.
    next_file(site.key_file).replace(site.key_file)
    ledger.append(1)
    await site.publish_all(site.publisher(ledger))
    assert _signers(site) == {new.key_hash}


async def test_given_a_rotation_to_a_key_that_is_not_here_when_signing_then_it_waits_for_it(site, ledger):
    ledger.append(5)
    await site.publish_all(site.publisher(ledger))
    other = Site(site.folder.path.parent / "other")
    ledger.rotate(str(site.verifier), str(other.verifier), ledger.now + SECOND)
    with pytest.raises(Unavailable, match="not at hand"):
        await site.publisher(ledger).step()
    assert site.published().size == 5


async def test_given_a_new_epoch_that_continues_the_older_one_when_published_then_it_is_a_log_of_its_own(
    site, ledger
):
    ledger.append(600)
    publisher = site.publisher(ledger)
    await site.publish_all(publisher)
    ledger.go_on_in_new_epoch(550)
    ledger.append(20)
    await site.publish_all(publisher)
    assert audit(site, ledger, epoch=2).name == "test.local/ledger/2"
    assert site.published(1).size == 600, "the older one stays served"
    ledger.append(20)
    await site.publish_all(site.publisher(ledger))
    assert audit(site, ledger, epoch=2).size == 591


async def test_given_a_new_epoch_that_continues_something_else_when_published_then_it_halts(tmp_path):
    for case in ("other root", "other history", "not even said"):
        site, ledger = Site(tmp_path / case), MemoryLedger()
        ledger.append(600)
        await site.publish_all(site.publisher(ledger))
        if case == "other history":
            ledger.entries = ledger.entries[:500]
            ledger.append(100, "another history")
        ledger.go_on_in_new_epoch(550, b"?" * 32 if case == "other root" else None)
        if case == "not even said":
            ledger.entries[-1] = ledger.entries[0]._replace(position=551)
            with pytest.raises(NotBegun):
                await site.publisher(ledger).step()
        else:
            assert (await site.publisher(ledger).step()).state is State.HALTED
        assert site.folder.note(2) is None and site.signed("test.local/ledger/2") is None


async def test_given_a_new_epoch_after_events_that_were_never_signed_then_it_must_contain_what_was(tmp_path):
    for honest in (True, False):
        site, ledger = Site(tmp_path / str(honest)), MemoryLedger()
        ledger.append(300)
        await site.publish_all(site.publisher(ledger))
        if not honest:
            ledger.entries = ledger.entries[:290]
            ledger.append(10, "another history")
        ledger.append(100)
        ledger.go_on_in_new_epoch(380)
        step = await site.publish_all(site.publisher(ledger))
        assert (step.state is State.HALTED) is not honest


async def test_given_the_database_is_in_an_older_epoch_when_started_then_it_halts(site, ledger):
    ledger.append(10)
    await site.publish_all(site.publisher(ledger))
    ledger.go_on_in_new_epoch(8)
    await site.publish_all(site.publisher(ledger))
    ledger.epoch = 1
    ledger.append(50)
    assert (await site.publisher(ledger).step()).state is State.HALTED
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "behind"


def test_given_a_large_backlog_when_it_is_signed_as_it_goes_then_each_size_is_one_the_head_can_confirm():
    for position in (1, 65_536, 70_000, 1_000_000, 1_048_575, 12_345_678):
        size = 0
        while size < position:
            reached = next_size(size, position)
            bits = [bit for bit in range(64) if position >> bit & 1]
            sums = {sum(1 << bit for bit in bits[at:]) for at in range(len(bits))}
            assert reached in sums and reached > size
            assert reached == position or reached - size >= BACKLOG_EVENTS
            size = reached


async def test_given_paths_that_lead_elsewhere_when_read_then_they_are_not_found(site, ledger):
    ledger.append(300)
    await site.publish_all(site.publisher(ledger))
    for bad in ("../../signer.sqlite", "tile/0/../0/000", "halt", "tile/0/000/", "", "tile/0/000.p/0", "1"):
        with pytest.raises(ConsentError) as raised:
            site.folder.read(1, bad)
        assert raised.value.code == "not_found"
    # Beyond the checkpoint nothing is given to strangers, even if it is there.
    site.folder.write_tile(1, Tile(0, 1, 60), bytes(32 * 60))
    with pytest.raises(ConsentError):
        site.folder.published(1, "tile/0/001.p/60")
    assert site.folder.published(1, "tile/0/001.p/44")
    assert site.folder.published(1, "tile/0/000.p/7") == site.folder.published(1, "tile/0/000")[: 7 * 32]


async def test_given_what_is_signed_when_a_head_is_behind_it_then_nothing_may_be_appended(site, ledger):
    seconds = [0.0]
    guard = Guard(site.folder, lambda: seconds[0])
    empty = await ledger.read_head()
    guard.require_current(empty)  # nothing was ever published
    ledger.append(20)
    at_20 = await ledger.read_head()
    await site.publish_all(site.publisher(ledger))
    guard.require_current(empty)  # read a moment ago
    seconds[0] += 1.0
    with pytest.raises(HeldBack, match="consent-ledger recover"):
        guard.require_current(empty)
    guard.require_current(at_20)
    assert guard.signed_size() == (1, 20)
    ledger.go_on_in_new_epoch(10)
    guard.require_current(await ledger.read_head())  # the new epoch is about to be published
    await site.publish_all(site.publisher(ledger))
    seconds[0] += 1.0
    with pytest.raises(HeldBack):
        guard.require_current(at_20)
    site.folder.halt("test", "found by a test")
    seconds[0] += 1.0
    with pytest.raises(HeldBack, match="found by a test"):
        guard.signed_size()
    site.folder.clear_halt()
    seconds[0] += 1.0
    guard.require_current(await ledger.read_head())


def test_given_a_folder_that_nobody_made_when_written_then_only_its_owner_reads_it(tmp_path):
    for write in (
        lambda one: one.election(),
        lambda one: one.halt("a", "b"),
        lambda one: one.publish(1, b"", True),
    ):
        folder = LogFolder(tmp_path / str(id(write)))
        write(folder)
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_given_a_halt_when_another_is_found_then_the_first_stays(site):
    site.folder.halt("first", "why")
    assert site.folder.halt("second", "why not").reason == "first"
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "first"
    (site.folder.path / "halt").write_bytes(b"\x00")
    halt = site.folder.halted()
    assert halt is not None and halt.reason == "unreadable"
    site.folder.clear_halt()
    assert site.folder.halted() is None


def _signers(site: Site) -> set[bytes]:
    note = site.folder.note(1)
    assert note is not None
    return {signature.key_hash for signature in parse_note(note).signatures}
