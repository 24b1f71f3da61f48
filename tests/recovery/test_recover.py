"""A database of an earlier moment: what was signed comes back, and what cannot is said, in a new epoch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError
from consent_domain.events import LogContinued
from consent_domain.tiles import ENTRIES, Tile, path
from consent_gate.checkpoints import open_checkpoint
from consent_ledger.log.publisher import State
from consent_ledger.log.signer import SignerState
from consent_ledger.recovery.importing import import_export
from consent_plumbing.nats import STREAM, STREAM_SUBJECTS
from ledger_events import ORIGIN, Appender, enrolled
from publishing import require_tiles
from recovering import Host, unseen

BACKUP, SIGNED = 600, 900
Another = Callable[[], Awaitable[str]]


@pytest_asyncio.fixture
async def lost(host: Host, empty_database: Another) -> Host:
    """Backed up at 600, signed up to 900, and put back in another database."""
    appender = await host.append(BACKUP)
    made = await host.backup("backup")
    await host.append_more(appender, SIGNED - BACKUP)
    host.before = await host.events()  # type: ignore[attr-defined]
    host.appender = appender  # type: ignore[attr-defined]
    host.database_url = await empty_database()
    await host.restore(made)
    return host


def before(host: Host) -> list[tuple[object, ...]]:
    return host.before  # type: ignore[attr-defined,no-any-return]


async def require_continued(host: Host, size: int, epoch: int) -> None:
    """The event that begins the epoch stands right behind `size` events, and the head is in the epoch."""
    events = await host.events()
    assert len(events) == size + 1
    body = decode(events[-1][6]).body
    assert isinstance(body, LogContinued)
    assert (body.epoch, body.size, body.origin) == (epoch, str(size), ORIGIN)
    assert (await host.head())[1:4] == (ORIGIN, epoch, size + 1)


async def test_given_the_published_tiles_then_every_signed_event_comes_back_byte_for_byte(lost: Host) -> None:
    assert (await lost.publish()).state is State.HALTED
    done = await lost.recover()
    assert [tuple(one) for one in done.taken] == [("the published tiles", BACKUP + 1, SIGNED)]
    assert (done.size, done.signed, done.gone, done.epoch) == (SIGNED, SIGNED, 0, 2)
    assert (await lost.events())[:-1] == before(lost)
    await require_continued(lost, SIGNED, 2)
    halt = lost.log.halted()
    assert halt is not None and halt.reason == "recovered"
    checked = await lost.fsck(clear=True)
    assert (checked.findings, checked.unproven, lost.log.halted()) == ([], [], None)
    assert (await lost.publish()).state is State.IDLE
    require_tiles(lost.log, 2, [event[6] for event in await lost.events()])
    note = lost.log.note(2)
    assert note is not None
    opened = open_checkpoint(note, [lost.verifier.renamed(f"{ORIGIN}/2")])
    assert opened.checkpoint.size == SIGNED + 1
    assert (await lost.fsck()).findings == []


async def test_given_a_dry_run_then_the_same_is_said_and_nothing_is_changed(lost: Host) -> None:
    events, halt = await lost.events(), lost.log.halted()
    done = await lost.recover(dry_run=True)
    assert (done.size, done.epoch, done.dry_run) == (SIGNED, 2, True)
    assert (await lost.events(), lost.log.halted()) == (events, halt)
    assert (await lost.recover()).size == SIGNED


async def test_given_no_tiles_but_an_export_then_that_gives_them(lost: Host) -> None:
    made = lost.export("export", first=BACKUP - 50)
    for file in [one for one in (lost.log.path / "1/tile").rglob("*") if one.is_file()]:
        file.unlink()
    done = await lost.recover(exports=[made])
    assert done.taken[0].source == "the export export" and done.size == SIGNED
    assert (await lost.events())[:-1] == before(lost)


async def test_given_a_hole_in_the_tiles_that_an_export_fills_then_both_are_used(lost: Host) -> None:
    made = lost.export("export", first=600, last=800)
    (lost.log.path / "1" / path(Tile(ENTRIES, 2, 256))).unlink()
    done = await lost.recover(exports=[made])
    assert {one.source for one in done.taken} == {"the published tiles", "the export export"}
    assert (await lost.events())[:-1] == before(lost)


async def test_given_nothing_that_holds_them_then_what_is_gone_is_said_and_an_epoch_begins(
    lost: Host,
) -> None:
    (lost.log.path / "1" / path(Tile(ENTRIES, 2, 256))).unlink()
    done = await lost.recover()
    assert (done.size, done.gone, done.taken) == (BACKUP, SIGNED - BACKUP, [])
    assert any("601" in note for note in done.notes)
    await require_continued(lost, BACKUP, 2)
    checked = await lost.fsck(clear=True)
    assert checked.findings == [] and lost.log.halted() is None
    assert (await lost.publish()).state is State.IDLE


async def test_given_a_part_of_the_tiles_then_events_up_to_the_hole_come_back(lost: Host) -> None:
    (lost.log.path / "1" / path(Tile(ENTRIES, 3, SIGNED - 768))).unlink()
    done = await lost.recover()
    assert (done.size, done.gone) == (768, SIGNED - 768)
    assert (await lost.events())[:-1] == before(lost)[:768]
    await lost.fsck(clear=True)
    assert (await lost.publish()).state is State.IDLE
    assert (await lost.fsck()).findings == []


async def test_given_a_forged_bundle_then_it_is_not_taken(lost: Host) -> None:
    file = lost.log.path / "1" / path(Tile(ENTRIES, 2, 256))
    file.write_bytes(file.read_bytes().replace(b"more-700", b"more-7oo"))
    done = await lost.recover()
    assert done.size == BACKUP
    assert any("not what the log signed" in note for note in done.notes)


async def test_given_a_database_of_another_history_then_nothing_is_recovered(
    lost: Host, empty_database: Another, tmp_path: Path
) -> None:
    other = Host(tmp_path / "other", await empty_database())
    await other.append(BACKUP, seed=2)
    await other.close()
    lost.database_url = other.database_url
    with pytest.raises(ConsentError, match="began with others") as refused:
        await lost.recover()
    assert refused.value.code == "damaged"
    assert len(await lost.events()) == BACKUP


async def test_given_a_damaged_event_then_nothing_is_recovered(lost: Host) -> None:
    await lost.tamper("UPDATE ledger.events SET body = body || ' '::bytea WHERE position = 7")
    with pytest.raises(ConsentError, match="the event at 7"):
        await lost.recover()
    assert len(await lost.events()) == BACKUP


async def test_given_it_happens_again_from_one_backup_then_the_second_epoch_comes_back_and_a_third_begins(
    lost: Host, empty_database: Another
) -> None:
    backup = lost.folder / "backup"
    await lost.recover()
    await lost.fsck(clear=True)
    await lost.publish()
    kept = await lost.events()
    lost.database_url = await empty_database()
    await lost.restore(backup)
    done = await lost.recover()
    assert (done.size, done.epoch) == (SIGNED + 1, 3)
    assert (await lost.events())[:-1] == kept
    checked = await lost.fsck(clear=True)
    assert checked.findings == [] and checked.unproven == []
    assert (await lost.publish()).state is State.IDLE


async def test_given_an_epoch_that_only_the_signer_remembers_then_it_is_never_begun_again(
    lost: Host,
) -> None:
    SignerState(lost.folder / "signer.sqlite").begin(f"{ORIGIN}/2")
    with pytest.raises(ConsentError, match="epoch 3 is the first"):
        await lost.recover(epoch=2)
    assert (await lost.recover(dry_run=True)).epoch == 3
    assert (await lost.recover(epoch=7)).epoch == 7
    assert (await lost.fsck(clear=True)).findings == []


async def test_given_an_imported_ledger_and_no_files_of_the_old_host_then_it_goes_on_in_a_new_epoch(
    lost: Host, empty_database: Another, tmp_path: Path
) -> None:
    made = lost.export("export")
    fresh = Host(tmp_path / "fresh", await empty_database())
    fresh.key_file.write_bytes(lost.key_file.read_bytes())
    await import_export(fresh.settings, made, [str(lost.verifier)], unseen)
    await fresh.recover()
    assert (await fresh.fsck(clear=True)).findings == []
    assert (await fresh.publish(begin=True)).state is State.IDLE
    assert (await fresh.events())[:-1] == before(lost)


# -- the same epoch ------------------------------------------------------------------------------------------


async def test_given_nobody_who_could_say_that_more_was_recorded_then_the_epoch_may_not_stay(
    lost: Host,
) -> None:
    with pytest.raises(ConsentError, match="NATS does not answer"):
        await lost.recover(same_epoch=True)
    assert len(await lost.events()) == BACKUP


async def test_given_nats_without_more_and_all_that_was_signed_then_the_epoch_may_stay(
    lost: Host, nats_url: str
) -> None:
    await emptied(nats_url)
    lost.nats_url = nats_url
    done = await lost.recover(same_epoch=True)
    assert (done.epoch, done.position, done.size) == (1, SIGNED, SIGNED)
    assert await lost.events() == before(lost)
    assert (await lost.fsck(clear=True)).findings == []
    assert (await lost.publish()).state is State.IDLE


async def test_given_signed_events_that_are_gone_then_the_epoch_may_not_stay(
    lost: Host, nats_url: str
) -> None:
    await emptied(nats_url)
    lost.nats_url = nats_url
    (lost.log.path / "1" / path(Tile(ENTRIES, 3, SIGNED - 768))).unlink()
    with pytest.raises(ConsentError, match="900 events were signed"):
        await lost.recover(same_epoch=True)


# -- JetStream -----------------------------------------------------------------------------------------------


async def emptied(nats_url: str) -> nats.aio.client.Client:
    """A connection to a server without the stream."""
    client = await nats.connect(nats_url)
    try:
        await client.jetstream().delete_stream(STREAM)
    except nats.js.errors.NotFoundError:
        pass
    return client


@pytest_asyncio.fixture
async def relayed(lost: Host, nats_url: str) -> AsyncIterator[Host]:
    """Twenty events more than were ever signed, relayed from event 551 on."""
    client = await emptied(nats_url)
    stream = client.jetstream()
    await stream.add_stream(name=STREAM, subjects=[STREAM_SUBJECTS])
    appender: Appender = lost.appender  # type: ignore[attr-defined]
    await appender.append([enrolled(f"late-{n}") for n in range(20)])
    for event in appender.log[550:]:
        await stream.publish("consent.v1.events.x.v1", event.body)
    lost.nats_url = nats_url
    yield lost
    await stream.delete_stream(STREAM)
    await client.close()


async def test_given_events_that_only_jetstream_holds_then_nothing_is_done_before_somebody_decides(
    relayed: Host,
) -> None:
    with pytest.raises(ConsentError, match="901 to 920"):
        await relayed.recover()
    assert len(await relayed.events()) == BACKUP


async def test_given_they_are_asked_for_then_they_come_back_too(relayed: Host) -> None:
    done = await relayed.recover(from_jetstream=True)
    assert [tuple(one) for one in done.taken] == [
        ("the published tiles", BACKUP + 1, SIGNED),
        ("JetStream", SIGNED + 1, SIGNED + 20),
    ]
    appender: Appender = relayed.appender  # type: ignore[attr-defined]
    assert [event[6] for event in await relayed.events()][:-1] == [event.body for event in appender.log]
    assert (await relayed.fsck(clear=True)).findings == []


async def test_given_they_are_given_up_then_it_is_said_that_they_are_gone(relayed: Host) -> None:
    done = await relayed.recover(without_jetstream=True)
    assert (done.size, done.known, done.gone) == (SIGNED, SIGNED + 20, 20)


async def test_given_they_are_known_then_the_epoch_may_not_stay(relayed: Host) -> None:
    with pytest.raises(ConsentError, match="920 is known"):
        await relayed.recover(same_epoch=True, without_jetstream=True)


async def test_given_no_tiles_then_jetstream_gives_what_the_signed_root_proves(relayed: Host) -> None:
    for file in [one for one in (relayed.log.path / "1/tile").rglob("*") if one.is_file()]:
        file.unlink()
    done = await relayed.recover(from_jetstream=True)
    assert [tuple(one) for one in done.taken] == [("JetStream", BACKUP + 1, SIGNED + 20)]
    assert (await relayed.events())[:SIGNED] == before(relayed)


async def test_given_no_tiles_and_a_stream_that_was_changed_then_the_signed_root_refuses_it(
    relayed: Host, nats_url: str
) -> None:
    for file in [one for one in (relayed.log.path / "1/tile").rglob("*") if one.is_file()]:
        file.unlink()
    client = await emptied(nats_url)
    stream = client.jetstream()
    await stream.add_stream(name=STREAM, subjects=[STREAM_SUBJECTS])
    appender: Appender = relayed.appender  # type: ignore[attr-defined]
    for event in appender.log[550:]:
        await stream.publish("consent.v1.events.x.v1", event.body.replace(b"more-700", b"more-7oo"))
    await client.close()
    with pytest.raises(ConsentError, match="not what was signed"):
        await relayed.recover(from_jetstream=True)
    assert len(await relayed.events()) == BACKUP


async def test_given_a_stream_of_another_history_then_it_is_refused(relayed: Host, nats_url: str) -> None:
    client = await emptied(nats_url)
    stream = client.jetstream()
    await stream.add_stream(name=STREAM, subjects=[STREAM_SUBJECTS])
    appender: Appender = relayed.appender  # type: ignore[attr-defined]
    for event in appender.log[550:]:
        await stream.publish("consent.v1.events.x.v1", event.body.replace(b"staff-1", b"staff-2"))
    await client.close()
    with pytest.raises(ConsentError, match="must link it"):
        await relayed.recover(from_jetstream=True)
    with pytest.raises(ConsentError, match="another history"):
        await relayed.recover(same_epoch=True)
    assert len(await relayed.events()) == BACKUP
    assert (await relayed.recover()).gone == 0, "it says nothing of this history"


async def test_given_a_stream_that_lost_the_link_then_what_it_knows_is_said_to_be_gone(
    relayed: Host, nats_url: str
) -> None:
    client = await nats.connect(nats_url)
    stream = client.jetstream()
    # Sequence 1 is event 551: what is left begins behind the last event that was signed.
    await stream.purge_stream(STREAM, seq=SIGNED - 550 + 2)
    await client.close()
    done = await relayed.recover()
    assert (done.size, done.known, done.gone) == (SIGNED, SIGNED + 20, 20)
    assert any("not there any more" in note for note in done.notes)


async def test_given_somebody_who_writes_meanwhile_then_nothing_is_recovered(lost: Host) -> None:
    """The head moves between the look and the lock."""
    async with lost.database() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM ledger.head FOR UPDATE")
        recovering = asyncio.create_task(lost.recover())
        await asyncio.sleep(1.0)
        await connection.execute("UPDATE ledger.head SET epoch = 9")
        await transaction.commit()
    with pytest.raises(ConsentError, match="meanwhile"):
        await recovering
    assert len(await lost.events()) == BACKUP
