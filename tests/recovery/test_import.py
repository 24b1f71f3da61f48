"""A ledger from an export: proven, byte for byte, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.seeds import make_seed, read_seed
from consent_gate.signatures import Signer
from consent_ledger.recovery.importing import Imported, import_export
from ledger_events import ORIGIN, Draft
from recovering import Host, unseen
from signed_logs import relist

COUNT = 3_000
Another = Callable[[], Awaitable[str]]


async def bring(host: Host, path: Path, key: str = "") -> Imported:
    return await import_export(host.settings, path, [key or str(host.verifier)], unseen)


@pytest.mark.parametrize("name", ["export", "export.tar", "export.tar.gz"])
async def test_given_an_export_then_events_versions_times_and_head_are_as_they_were(
    host: Host, empty_database: Another, name: str
) -> None:
    await host.append(COUNT)
    before, head = await host.events(), await host.head()
    made = host.export(name)
    host.database_url = await empty_database()
    done = await bring(host, made)
    assert (done.position, done.epoch) == (COUNT, 1)
    assert await host.events() == before
    assert await host.head() == head
    halt = host.log.halted()
    assert halt is not None and halt.reason == "restored"
    with pytest.raises(ConsentError, match="not empty"):
        await bring(host, made)


async def test_given_an_event_that_this_version_cannot_read_then_it_is_stored_as_it_is(
    host: Host, empty_database: Another
) -> None:
    appender = await host.append(5)
    body = appender.log[-1].body.replace(b"00000000000000000005", b"00000000000000000006")
    body = body.replace(b'"effect":"none"', b'"effect":"narrows"')
    kind = body.split(b'"type":"')[1].split(b'"')[0]
    later = body.replace(b'"type":"' + kind, b'"type":"something-new.v9').replace(b"09:05:00", b"09:07:00")
    await appender.append([Draft(appender.log[-1].stream, later)])
    await host.tamper(
        "UPDATE ledger.events SET type = 'something-new.v9', recorded_at = '2026-01-31T09:07:00Z', "
        "id = (convert_from(body, 'UTF8')::json->>'id')::uuid WHERE position = 6",
        "UPDATE ledger.head SET recorded_at = '2026-01-31T09:07:00Z'",
    )
    await host.publish()
    assert (await host.fsck()).findings == []
    before = await host.events()
    made = host.export("export")
    host.database_url = await empty_database()
    await bring(host, made)
    assert await host.events() == before


async def test_given_a_text_that_a_policy_names_then_it_is_kept(host: Host, empty_database: Another) -> None:
    await host.append(0)
    words = b"How we use your data"
    digest = sha256(words).hexdigest()
    await host.tamper(
        "UPDATE ledger.events SET body = convert_to(replace(convert_from(body, 'UTF8'), "
        "'{old}', '{new}'), 'UTF8') WHERE position = 1",
        "UPDATE ledger.events SET leaf_hash = sha256('\\x00'::bytea || body) WHERE position = 1",
        old="0" * 64,
        new=digest,
    )
    await host.make_head_fit()
    fresh = Host(host.folder / "fresh", host.database_url)
    await fresh.publish()
    made = fresh.export("export", texts=[words])
    fresh.database_url = await empty_database()
    assert (await bring(fresh, made)).texts == 1
    async with fresh.database() as connection:
        assert await connection.fetchval("SELECT body FROM ledger.blobs") == words


def forge_entry(export: Path) -> None:
    bundle = export / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b"staff-1", b"staff-2", 1))
    relist(export)


def drop_tile(export: Path) -> None:
    (export / "tile/0/003").unlink()


def add_file(export: Path) -> None:
    (export / "tile/0/099").write_bytes(b"x" * 8192)


def later_epoch(export: Path) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    (export / "manifest.json").write_text(json.dumps(manifest | {"epoch": 2, "log": f"{ORIGIN}/2"}))


@pytest.mark.parametrize("hurt", [forge_entry, drop_tile, add_file, later_epoch])
async def test_given_an_export_that_does_not_prove_itself_then_nothing_is_imported(
    host: Host, empty_database: Another, hurt: Callable[[Path], None]
) -> None:
    await host.append(COUNT)
    made = host.export("export")
    hurt(made)
    host.database_url = await empty_database()
    with pytest.raises(ConsentError):
        await bring(host, made)
    assert await host.events() == []
    assert (await host.head())[3] == 0
    assert host.log.halted() is None


async def test_given_a_part_of_a_log_or_another_ones_key_or_ledger_then_it_is_refused(
    host: Host, empty_database: Another, tmp_path: Path
) -> None:
    await host.append(COUNT)
    part, whole = host.export("part", first=2), host.export("whole")
    host.database_url = await empty_database()
    with pytest.raises(ConsentError, match="begins at event 2"):
        await bring(host, part)
    make_seed(tmp_path / "other.key")
    other = Signer(ORIGIN, read_seed(tmp_path / "other.key", "log key")).verifier
    with pytest.raises(ConsentError, match="signed by no key"):
        await bring(host, whole, str(other))
    assert await host.events() == []
