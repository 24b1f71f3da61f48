"""Everything that a superuser of the database or of the disk can do, and what `fsck` says of it."""

from __future__ import annotations

import pytest
from consent_domain import merkle
from consent_domain.errors import ConsentError
from consent_domain.tiles import ENTRIES, Tile, path
from consent_ledger.recovery.fsck import RECOVERED, RESTORED
from publishing import require_tiles
from recovering import Host, kinds, positions

COUNT = 700
AT = 300


async def test_given_a_sound_ledger_when_checked_then_everything_signed_is_compared_and_nothing_is_halted(
    host: Host,
) -> None:
    await host.append(COUNT)
    checked = await host.fsck()
    assert (checked.findings, checked.unproven, checked.tiles_repaired) == ([], [], 0)
    assert {one.size for one in checked.claims} == {COUNT}
    assert {one.where for one in checked.claims} == {
        "the published 1/checkpoint",
        "the published 1/checkpoint.witnessed",
        "the signer's memory of consent.test/ledger",
    }
    assert host.log.halted() is None


async def test_given_events_that_are_not_signed_yet_then_they_are_checked_too(host: Host) -> None:
    appender = await host.append(COUNT)
    await appender.append([])
    await host.tamper("UPDATE ledger.events SET type = 'run-registered.v1' WHERE position = {at}", at=COUNT)
    assert positions(await host.fsck()) == [COUNT]


async def test_given_an_empty_ledger_then_it_is_sound(host: Host) -> None:
    await host.append(0)
    assert (await host.fsck()).findings == []


@pytest.mark.parametrize(
    "lost", [Tile(0, 0, 256), Tile(0, 2, 188), Tile(1, 0, 2), Tile(ENTRIES, 1, 256), Tile(ENTRIES, 2, 188)]
)
@pytest.mark.parametrize("how", ["missing", "cut", "wrong"])
async def test_given_a_tile_that_is_missing_or_damaged_then_it_is_made_again(
    host: Host, lost: Tile, how: str
) -> None:
    appender = await host.append(COUNT)
    file = host.log.path / "1" / path(lost)
    data = file.read_bytes()
    file.unlink()
    if how != "missing":
        file.write_bytes(data[:-1] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    checked = await host.fsck()
    assert (checked.findings, checked.tiles_repaired, host.log.halted()) == ([], 1, None)
    require_tiles(host.log, 1, [event.body for event in appender.log])
    assert (await host.fsck()).tiles_repaired == 0


async def test_given_all_tiles_are_lost_then_all_are_made_again(host: Host) -> None:
    appender = await host.append(COUNT)
    for file in [one for one in (host.log.path / "1" / "tile").rglob("*") if one.is_file()]:
        file.unlink()
    assert (await host.fsck()).tiles_repaired == 7
    require_tiles(host.log, 1, [event.body for event in appender.log])


SPACE = "UPDATE ledger.events SET body = body || ' '::bytea WHERE position = {at}"
REHASH = "UPDATE ledger.events SET leaf_hash = sha256('\\x00'::bytea || body) WHERE position = {at}"


async def test_given_a_changed_body_then_the_event_is_named_and_what_differs_and_the_log_is_halted(
    host: Host,
) -> None:
    await host.append(COUNT)
    await host.tamper(
        "UPDATE ledger.events SET body = convert_to(regexp_replace(convert_from(body, 'UTF8'), "
        "'staff-1', 'staff-2'), 'UTF8') WHERE position = {at}",
        at=AT,
    )
    checked = await host.fsck()
    assert positions(checked) == [AT]
    said = " ".join(one.detail for one in checked.findings)
    assert "do not have the hash" in said and "another data.recordedBy.principal" in said
    assert "staff" not in said, "what an event holds is for nobody who only checks"
    halt = host.log.halted()
    assert halt is not None and halt.reason == "event_damaged" and str(AT) in halt.detail


async def test_given_a_changed_body_and_its_hash_too_then_the_tiles_say_which_event_it_is(host: Host) -> None:
    await host.append(COUNT)
    await host.tamper(SPACE, REHASH, at=AT)
    checked = await host.fsck()
    assert positions(checked) == [AT]
    assert {"event_damaged", "forked", "head_damaged"} == kinds(checked)


async def test_given_everything_rewritten_to_fit_then_what_was_signed_contradicts_it(host: Host) -> None:
    """Body, hash and the head's range: the database alone is of one piece again."""
    await host.append(COUNT)
    await host.tamper(SPACE, REHASH, at=AT)
    await host.make_head_fit()
    checked = await host.fsck()
    assert kinds(checked) == {"forked", "event_damaged"}
    assert positions(checked) == [AT]
    for file in [one for one in (host.log.path / "1").rglob("*") if one.is_file()]:
        file.unlink()
    checked = await host.fsck()
    assert kinds(checked) == {"forked"}, "the signer remembers"


async def test_given_a_damaged_event_then_no_tile_is_made_from_it_and_no_halt_is_lifted(host: Host) -> None:
    await host.append(COUNT)
    lost = host.log.path / "1" / path(Tile(0, 0, 256))
    lost.unlink()
    await host.tamper(SPACE, REHASH, at=AT)
    checked = await host.fsck(clear=True)
    assert checked.tiles_repaired == 0 and not lost.exists()
    assert host.log.halted() is not None


@pytest.mark.parametrize(
    "change",
    [
        "stream = 'workspace/other'",
        "id = gen_random_uuid()",
        "type = 'workspace-closed.v1'",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "version = version + 1000",
        "leaf_hash = sha256('')",
    ],
)
async def test_given_a_column_that_says_something_else_than_its_event_then_it_is_found(
    host: Host, change: str
) -> None:
    await host.append(COUNT)
    await host.tamper("UPDATE ledger.events SET {change} WHERE position = {at}", change=change, at=AT)
    checked = await host.fsck()
    assert AT in positions(checked)
    assert kinds(checked) == {"event_damaged"}


async def test_given_two_events_swapped_then_both_are_found(host: Host) -> None:
    await host.append(COUNT)
    await host.tamper(
        "UPDATE ledger.events SET position = 100000 WHERE position = {at}",
        "UPDATE ledger.events SET position = {at} WHERE position = {next}",
        "UPDATE ledger.events SET position = {next} WHERE position = 100000",
        at=AT,
        next=AT + 1,
    )
    assert set(positions(await host.fsck())) >= {AT, AT + 1}


async def test_given_an_event_deleted_in_the_middle_then_it_is_missed(host: Host) -> None:
    await host.append(COUNT)
    await host.tamper("DELETE FROM ledger.events WHERE position = {at}", at=AT)
    checked = await host.fsck()
    assert f"the event at {AT} is missing" in [one.detail for one in checked.findings]


@pytest.mark.parametrize("head", [COUNT, COUNT - 10])
async def test_given_the_last_events_deleted_then_it_is_found(host: Host, head: int) -> None:
    appender = await host.append(COUNT)
    await appender.append([])
    await host.tamper("DELETE FROM ledger.events WHERE position > {last}", last=COUNT - 10)
    if head < COUNT:
        short = b"".join(_range_of([event.body for event in appender.log[:head]]))
        await host.tamper(
            "UPDATE ledger.head SET position = {head}, range = '\\x{range}', recorded_at = "
            "(SELECT recorded_at FROM ledger.events WHERE position = {head})",
            head=head,
            range=short.hex(),
        )
    checked = await host.fsck()
    assert ("behind" if head < COUNT else "event_damaged") in kinds(checked)
    assert host.log.halted() is not None


async def test_given_a_wrong_head_then_it_is_found(host: Host) -> None:
    await host.append(COUNT)
    await host.tamper("UPDATE ledger.head SET epoch = 2, recorded_at = recorded_at + interval '1 s'")
    assert kinds(await host.fsck()) == {"head_damaged"}


async def test_given_a_checkpoint_of_another_key_then_it_is_said_and_the_signer_is_believed(
    host: Host,
) -> None:
    await host.append(COUNT)
    file = host.log.path / "1" / "checkpoint"
    file.write_bytes(file.read_bytes().replace(b"consent.test/ledger\n", b"consent.test/other\n", 1))
    checked = await host.fsck()
    assert kinds(checked) == {"checkpoint_damaged"}
    assert host.log.halted() is None


async def test_given_a_halted_log_then_only_a_clean_run_that_is_told_to_lifts_it(host: Host) -> None:
    await host.append(COUNT)
    host.log.halt("behind", "whatever")
    assert (await host.fsck()).halt is not None
    checked = await host.fsck(clear=True)
    assert (checked.halt, checked.cleared is not None, host.log.halted()) == (None, True, None)


async def test_given_a_ledger_that_was_put_back_then_its_halt_stays_until_it_was_recovered(
    host: Host,
) -> None:
    await host.append(COUNT)
    host.log.halt_anew(RESTORED, "a backup was put back")
    with pytest.raises(ConsentError, match="recover"):
        await host.fsck(clear=True)
    assert host.log.halted() is not None
    host.log.halt_anew(RECOVERED, "all was taken back")
    assert (await host.fsck(clear=True)).cleared is not None


def _range_of(bodies: list[bytes]) -> list[bytes]:
    hashes: list[bytes] = []
    for size, body in enumerate(bodies):
        merkle.append(size, hashes, merkle.leaf_hash(body))
    return hashes
