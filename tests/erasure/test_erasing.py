"""Erasing, attacked: crashes between the event and the keys, races, and files that are put back."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from consent_domain.commands import EnrolWorkspace, ErasePerson, EraseWorkspace
from consent_domain.errors import ConsentError
from consent_ledger.erasures import LOST, Erasures
from consent_ledger.identity import SystemIds
from consent_ledger.key_ring import Principal
from consent_ledger.keystore import KeyErased, SqliteKeyStore
from consent_ledger.master_key import LocalMasterKey
from servers import fresh_database
from writing import ADMIN, OTHER, Desk, Interrupted, audit, desk, enrol, fetch, opt_out

SUBJECT = "ada.lovelace@example.com"
THIRD = Principal("cy", "admin", None, None, "Cy")
ERASE = EraseWorkspace(workspace="w1", reason="the customer asked")
ERASURES = "SELECT position, type, stream, body FROM ledger.events WHERE type LIKE '%-erased.v1' ORDER BY 1"


@pytest.fixture
def keys(tmp_path: Path) -> SqliteKeyStore:
    return SqliteKeyStore(tmp_path / "keys.sqlite", LocalMasterKey(b"\1" * 32))


@asynccontextmanager
async def at_work(url: str, keys: SqliteKeyStore, **more: Any) -> AsyncIterator[Desk]:
    """A desk that has applied what there is, as a worker has before it is ready."""
    async with desk(url, keys=keys, **more) as working:
        await working.erasures.apply()
        yield working


async def asked(working: Desk, *workspaces: str, subject: str = SUBJECT) -> list[int]:
    """Workspaces, each with an opt-out of the subject; the positions of the opt-outs."""
    positions = []
    for workspace in workspaces:
        await working.write(enrol(workspace))
        positions.append((await working.write(opt_out(workspace, subject))).last_position)
    return positions


async def erase(working: Desk) -> None:
    assert (await working.write(ERASE)).answer["proposed"]
    outcome = await working.write(ERASE, OTHER)
    assert outcome.answer["erased"] and outcome.answer["destroyed"], outcome


async def seen(working: Desk, position: int) -> str:
    """What a look shows: the subject, or the code of the refusal."""
    try:
        return (await working.unsealer.look(position, "uma", "a test")).subject
    except ConsentError as error:
        return error.code


def person(keys: SqliteKeyStore, subject: str = SUBJECT) -> ErasePerson:
    return ErasePerson(person=keys.ref_of(subject))


def held(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


# -- what is erased ------------------------------------------------------------------------------------------


async def test_given_evidence_when_its_person_is_erased_then_no_byte_of_the_log_changes(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    url = migrated_database_url
    async with at_work(url, keys) as working:
        first, second = await asked(working, "w1", "w2")
        (others,) = await asked(working, "w3", subject="other@example.com")
        assert await seen(working, first) == SUBJECT
        before = await fetch(url, "SELECT * FROM ledger.events ORDER BY position")
        outcome = await working.write(person(keys))
        assert (outcome.answer["keys"], outcome.answer["destroyed"]) == (2, True)
        assert [await seen(working, one) for one in (first, second, others)] == [
            "erased",
            "erased",
            "other@example.com",
        ]
        after = await fetch(url, "SELECT * FROM ledger.events ORDER BY position")
        assert after[: len(before)] == before, "bytes and leaf hashes are what they were"
        assert await audit(url) == len(before) + 1
        again = await working.write(person(keys))
        assert (again.status, again.answer["keys"], again.last_position) == ("not_applied", 0, 0)
        unknown = await working.write(person(keys, "nobody@example.com"))
        assert unknown.error_code == "unknown_person"


async def test_given_an_erased_person_who_acts_again_then_only_what_came_before_is_gone(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        (before,) = await asked(working, "w1")
        first = await working.write(person(keys), key="once")
        after = (await working.write(opt_out("w1", SUBJECT))).last_position
        again = await working.write(person(keys), key="once")
        assert again.replayed and again.last_position == first.last_position
        assert [await seen(working, one) for one in (before, after)] == ["erased", SUBJECT]
        assert len(await fetch(migrated_database_url, ERASURES)) == 1


async def test_given_an_answered_request_when_it_is_sent_again_after_the_erasure_then_the_answer_is_the_same(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        await working.write(enrol("w1"))
        first = await working.write(opt_out("w1", SUBJECT), key="once")
        await working.write(person(keys))
        again = await working.write(opt_out("w1", SUBJECT), key="once")
        assert again.replayed and again.last_position == first.last_position
        assert (await working.write(opt_out("w1", "bo@example.com"), key="once")).error_code == (
            "idempotency_key_reused"
        )


async def test_given_a_workspace_when_it_is_erased_then_the_person_elsewhere_is_not(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        gone, kept = await asked(working, "w1", "w2")
        await erase(working)
        assert [await seen(working, one) for one in (gone, kept)] == ["erased", SUBJECT]
        refused = await working.write(opt_out("w1", SUBJECT))
        assert refused.error_code == "erased"
        assert (await working.write(opt_out("w1"))).error_code == "wrong_state"
        assert keys.keys_of_stream("workspace/w1") == []


async def test_given_a_dry_run_or_a_proposal_when_answered_then_every_key_stands(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        (position,) = await asked(working, "w1")
        assert (await working.write(person(keys), dry_run=True)).answer["keys"] == 1
        assert "destroyed" not in (await working.write(ERASE)).answer
        assert (await working.write(ERASE, OTHER, dry_run=True)).answer["erased"]
        assert await seen(working, position) == SUBJECT


async def test_given_a_look_when_anything_becomes_of_it_then_it_was_recorded_before(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        (position,) = await asked(working, "w1")
        assert await seen(working, position) == SUBJECT
        await working.write(person(keys))
        assert await seen(working, position) == "erased"
        assert await seen(working, 2) == "not_found"
        assert await seen(working, 10_000) == "not_found"
        rows = await fetch(migrated_database_url, "TABLE ledger.unsealings")
        assert [(row["number"], row["position"], row["principal"]) for row in rows] == [
            (1, position, "uma"),
            (2, position, "uma"),
        ]


# -- crashes -------------------------------------------------------------------------------------------------


async def test_given_a_crash_after_the_event_when_any_process_starts_then_the_keys_are_destroyed(
    migrated_database_url: str, keys: SqliteKeyStore, tmp_path: Path
) -> None:
    file, away = tmp_path / "keys.sqlite", tmp_path / "away"

    async def take_the_key_store_away() -> None:
        file.rename(away)

    stores: list[Interrupted] = []

    def around(store: Any) -> Any:
        stores.append(Interrupted(store, "commit", take_the_key_store_away, after=True))
        return stores[0]

    async with at_work(migrated_database_url, keys, around=around) as working:
        (position,) = await asked(working, "w1")
        stores[0].armed = True
        outcome = await working.write(person(keys))
        assert (outcome.status, outcome.answer["destroyed"]) == ("applied", False)
        assert working.erasures.failure, "a process that could not destroy is not ready"
        assert await seen(working, position) == "unavailable"
    away.rename(file)
    assert len(keys.keys_of_person(keys.ref_of(SUBJECT))) == 1
    async with desk(migrated_database_url, keys=keys) as next_process:
        assert next_process.erasures.failure
        await next_process.erasures.apply()
        assert next_process.erasures.failure is None
        assert keys.keys_of_person(keys.ref_of(SUBJECT)) == []
        assert await seen(next_process, position) == "erased"


async def test_given_an_erasure_that_nobody_destroyed_when_somebody_looks_then_it_is_destroyed_first(
    migrated_database_url: str, keys: SqliteKeyStore, tmp_path: Path
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        (position,) = await asked(working, "w1")
        shutil.copy(tmp_path / "keys.sqlite", tmp_path / "copy")
        await working.write(person(keys))
        shutil.copy(tmp_path / "copy", tmp_path / "keys.sqlite")
        # The same process, which applied it once already and does not look for it in its memory.
        assert await seen(working, position) == "erased"


# -- races ---------------------------------------------------------------------------------------------------


async def test_given_a_person_who_acts_while_being_erased_then_nothing_from_before_the_erasure_opens(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        (before,) = await asked(working, "w0")
        names = [f"w{number}" for number in range(1, 13)]
        for name in names:
            await working.write(enrol(name))
        erasing = [working.write(person(keys), who) for who in (ADMIN, OTHER)]
        outcomes = await asyncio.gather(*(working.write(opt_out(name, SUBJECT)) for name in names), *erasing)
        assert not [one for one in outcomes if one.error_code]
        last = (await fetch(migrated_database_url, ERASURES))[-1]["position"]
        for position in (before, *(outcome.last_position for outcome in outcomes[: len(names)])):
            shown = await seen(working, position)
            assert shown == "erased" or (shown == SUBJECT and position > last), position
        listed = {
            key for row in await fetch(migrated_database_url, ERASURES) for key in _key_ids(row["body"])
        }
        for key_id in listed:
            with pytest.raises(KeyErased):
                keys.key_of(key_id)


def _key_ids(stored: bytes) -> list[str]:
    found: list[str] = msgspec.json.decode(stored)["data"]["keyIds"]
    return found


async def test_given_two_who_confirm_at_once_then_the_workspace_is_erased_once(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        (position,) = await asked(working, "w1")
        await working.write(ERASE)
        outcomes = await asyncio.gather(*(working.write(ERASE, who) for who in (OTHER, THIRD, OTHER)))
        assert all(outcome.answer["erased"] and outcome.answer["destroyed"] for outcome in outcomes)
        assert sum(outcome.last_position > 0 for outcome in outcomes) == 1
        assert await seen(working, position) == "erased"
        rows = await fetch(
            migrated_database_url, "SELECT type FROM ledger.events WHERE stream = 'workspace/w1'"
        )
        assert [row["type"] for row in rows].count("workspace-erased.v1") == 1


async def test_given_two_who_ask_at_once_then_one_proposes_and_the_other_confirms(
    migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        await asked(working, "w1")
        outcomes = await asyncio.gather(*(working.write(ERASE, who) for who in (ADMIN, ADMIN, OTHER)))
        codes = sorted(outcome.error_code for outcome in outcomes)
        assert codes in (["", "", "second_person_required"], ["", "", ""])
        (row,) = await fetch(migrated_database_url, ERASURES)
        body = msgspec.json.decode(row["body"])["data"]
        assert body["approvedBy"] != body["recordedBy"]["principal"]


# -- files that are put back ---------------------------------------------------------------------------------


async def test_given_an_old_key_store_when_it_is_put_back_then_every_erasure_since_is_applied_again(
    migrated_database_url: str, keys: SqliteKeyStore, tmp_path: Path
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        positions = await asked(working, "w1", "w2")
        (others,) = await asked(working, "w3", subject="other@example.com")
        shutil.copy(tmp_path / "keys.sqlite", tmp_path / "backup")
        await erase(working)
        await working.write(person(keys))
        again = (await working.write(opt_out("w3", SUBJECT))).last_position
    (tmp_path / "backup").rename(tmp_path / "keys.sqlite")
    assert len(keys.keys_of_person(keys.ref_of(SUBJECT))) == 2
    async with at_work(migrated_database_url, keys) as restored:
        assert [await seen(restored, one) for one in positions] == ["erased", "erased"]
        assert await seen(restored, others) == "other@example.com"
        assert await seen(restored, again) == "unavailable", "its key was made after the backup: it is lost"
        assert keys.keys_of_person(keys.ref_of(SUBJECT)) == []
        assert (await restored.write(opt_out("w1", SUBJECT))).error_code == "erased"
        assert len(keys.erasures()) == 2


async def test_given_an_old_log_when_it_is_put_back_then_keys_stay_destroyed_and_a_new_epoch_erases_again(
    postgres_url: str, migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    url = migrated_database_url
    async with at_work(url, keys) as working:
        position, elsewhere = await asked(working, "w1", "w2")
    name = urlsplit(url).path.removeprefix("/")
    async with fresh_database(postgres_url, template=name) as backup:
        async with at_work(url, keys) as working:
            await erase(working)
            await working.write(person(keys))
            await working.write(EnrolWorkspace(workspace="late", plan="free", region="eu"))
            late = EraseWorkspace(workspace="late", reason="never mind")
            await working.write(late)
            await working.write(late, OTHER)
        async with at_work(backup, keys) as restored:
            assert restored.erasures.failure == LOST, "it is not ready: the log may still be recovered"
            assert await seen(restored, position) == "erased"
            assert await seen(restored, elsewhere) == "erased"
            assert (await restored.write(opt_out("w1", SUBJECT))).error_code == "erased"
            assert await fetch(backup, ERASURES) == []
            fresh = (await restored.write(opt_out("w2", "new@example.com"))).last_position
            await restored.write(person(keys, "new@example.com"))
            assert await seen(restored, fresh) == "erased", "what is erased meanwhile is destroyed too"
            await fetch(backup, "UPDATE ledger.head SET epoch = 2")
            await restored.erasures.apply()
            assert restored.erasures.failure is None
            rows = await fetch(backup, ERASURES)
            assert [row["stream"] for row in rows] == ["log/ledger", "workspace/w1", "log/ledger"]
            assert [msgspec.json.decode(row["body"])["data"].get("provenance") for row in rows] == [
                None,
                "repeated",
                "repeated",
            ]
            assert (await restored.write(opt_out("w1"))).error_code == "wrong_state"
        other = Erasures(restored.pool, keys, restored.committer, SystemIds())
        assert other.failure
        async with at_work(backup, keys) as once_more:
            assert once_more.erasures.failure is None
            assert await fetch(backup, ERASURES) == rows, "nothing is repeated twice"
            assert await audit(backup) == rows[-1]["position"]


async def test_given_a_recovered_log_when_the_erasures_are_back_then_it_is_as_if_nothing_had_been(
    postgres_url: str, migrated_database_url: str, keys: SqliteKeyStore
) -> None:
    url = migrated_database_url
    async with at_work(url, keys) as working:
        (position,) = await asked(working, "w1")
    async with fresh_database(postgres_url, template=urlsplit(url).path.removeprefix("/")) as backup:
        async with at_work(url, keys) as working:
            await erase(working)
        async with desk(backup, keys=keys) as restored:
            await restored.erasures.apply()
            assert restored.erasures.failure == LOST
        async with at_work(url, keys) as recovered:
            assert recovered.erasures.failure is None
            assert await seen(recovered, position) == "erased"


# -- what is left in the files -------------------------------------------------------------------------------


async def test_given_erasures_then_neither_keys_nor_persons_are_left_in_the_key_stores_bytes(
    migrated_database_url: str, keys: SqliteKeyStore, tmp_path: Path
) -> None:
    async with at_work(migrated_database_url, keys) as working:
        await asked(working, *(f"w{number}" for number in range(1, 8)))
        wrapped = await asyncio.to_thread(_wrapped, tmp_path / "keys.sqlite")
        assert len(wrapped) == 7
        assert all(one in held(tmp_path) for one in wrapped)
        await erase(working)
        await working.write(person(keys))
        left = held(tmp_path)
        assert not [one for one in wrapped if one in left or one[12:44] in left]
        assert bytes.fromhex(keys.ref_of(SUBJECT)) not in left
        assert SUBJECT.encode() not in left


def _wrapped(path: Path) -> list[bytes]:
    with sqlite3.connect(path) as database:
        return [row[0] for row in database.execute("SELECT wrapped FROM keys WHERE wrapped IS NOT NULL")]
