"""Sealing and the key store: attacks first. What was erased, moved or changed is never read."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from consent_domain.errors import ConsentError
from consent_domain.events import Sealed
from consent_ledger.keystore import (
    STATEMENTS,
    Applied,
    Erasure,
    KeyErased,
    KeyStoreFailed,
    KeyUnknown,
    SqliteKeyStore,
    StreamErased,
)
from consent_ledger.master_key import LocalMasterKey, WrongMasterKey, ensure_master_key, load_master_key
from consent_ledger.sealing import SUBJECT_BYTES_MAX, Place, Sealer, Tampered
from hypothesis import given
from hypothesis import strategies as some

SUBJECT = "ada.lovelace@example.com"
STREAM = "workspace/W1"
EVENT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
OTHER_EVENT = UUID("01890a5d-ac96-774b-bcce-b302099a8058")
FIELD = "requester"


@pytest.fixture
def master(tmp_path: Path) -> LocalMasterKey:
    return ensure_master_key(tmp_path / "master.key")


@pytest.fixture
def store(tmp_path: Path, master: LocalMasterKey) -> SqliteKeyStore:
    return SqliteKeyStore(tmp_path / "keys.sqlite", master)


@pytest.fixture
def sealer(store: SqliteKeyStore) -> Sealer:
    return Sealer(store)


def files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def places(*subjects: str, stream: str = STREAM) -> list[tuple[str, str]]:
    return [(stream, subject) for subject in subjects]


def erasure(number: int, person: str, stream: str, *key_ids: str) -> Erasure:
    return Erasure(1, number, f"event-{number}", person, stream, key_ids, b"{}")


def erase_person(store: SqliteKeyStore, subject: str, number: int = 1) -> list[str]:
    """As the log would have it: the keys that stand are named, and destroyed."""
    person = store.ref_of(subject)
    key_ids = [key.key_id for key in store.keys_of_person(person)]
    store.erase([erasure(number, person, "", *key_ids)], Applied(number, f"event-{number}"))
    return key_ids


def wrapped_keys(path: Path) -> list[bytes]:
    with sqlite3.connect(path) as database:
        return [row[0] for row in database.execute("SELECT wrapped FROM keys WHERE wrapped IS NOT NULL")]


# -- a sealed field opens only where it was written ---------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "event", "field"),
    [
        ("workspace/W2", EVENT, FIELD),
        ("organisation/W1", EVENT, FIELD),
        (STREAM, OTHER_EVENT, FIELD),
        (STREAM, EVENT, "applicant"),
        (STREAM, EVENT, ""),
    ],
)
async def test_given_a_sealed_field_when_it_is_moved_then_it_does_not_open(
    sealer: Sealer, stream: str, event: UUID, field: str
) -> None:
    sealed = await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    with pytest.raises(Tampered):
        await sealer.unseal(sealed, stream, event, field)


async def test_given_a_sealed_field_when_any_bit_is_flipped_then_it_does_not_open(sealer: Sealer) -> None:
    sealed = await sealer.seal("x", STREAM, EVENT, FIELD)
    whole = sealed.nonce + sealed.ciphertext
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        broken = Sealed(key_id=sealed.key_id, nonce=bytes(changed[:12]), ciphertext=bytes(changed[12:]))
        with pytest.raises(Tampered):
            await sealer.unseal(broken, STREAM, EVENT, FIELD)


@pytest.mark.parametrize(
    ("nonce", "ciphertext"), [(b"", b""), (b"\0" * 12, b""), (b"\0" * 12, b"short"), (b"", b"\0" * 40)]
)
async def test_given_a_cut_field_when_unsealed_then_it_is_tampered_not_a_crash(
    sealer: Sealer, nonce: bytes, ciphertext: bytes
) -> None:
    sealed = await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    with pytest.raises(Tampered):
        cut = Sealed(key_id=sealed.key_id, nonce=nonce, ciphertext=ciphertext)
        await sealer.unseal(cut, STREAM, EVENT, FIELD)


async def test_given_two_persons_when_their_key_ids_are_swapped_then_neither_opens(sealer: Sealer) -> None:
    one = await sealer.seal("one@example.com", STREAM, EVENT, FIELD)
    other = await sealer.seal("other@example.com", STREAM, EVENT, FIELD)
    swapped = Sealed(key_id=other.key_id, nonce=one.nonce, ciphertext=one.ciphertext)
    with pytest.raises(Tampered):
        await sealer.unseal(swapped, STREAM, EVENT, FIELD)


@given(some.tuples(some.text(), some.text()), some.tuples(some.text(), some.text()))
def test_two_places_are_never_written_alike(one: tuple[str, str], other: tuple[str, str]) -> None:
    def written(parts: tuple[str, str]) -> bytes:
        return Place(parts[0], EVENT, parts[1]).authenticated()

    assert (written(one) == written(other)) == (one == other)


async def test_given_one_subject_sealed_twice_then_no_two_ciphertexts_or_nonces_are_equal(
    sealer: Sealer,
) -> None:
    sealed = await sealer.seal_many([(SUBJECT, Place(STREAM, EVENT, FIELD))] * 50)
    assert len({one.nonce for one in sealed}) == len({one.ciphertext for one in sealed}) == 50
    assert len({one.key_id for one in sealed}) == 1


@pytest.mark.parametrize("subject", ["\ud800", "a" * (SUBJECT_BYTES_MAX + 1), "é" * SUBJECT_BYTES_MAX])
async def test_given_a_subject_that_cannot_be_stored_then_it_is_refused_and_no_key_is_made(
    tmp_path: Path, sealer: Sealer, subject: str
) -> None:
    with pytest.raises(ConsentError):
        await sealer.seal(subject, STREAM, EVENT, FIELD)
    assert wrapped_keys(tmp_path / "keys.sqlite") == []


@pytest.mark.parametrize(
    "subject", ["", SUBJECT, "名前 <n@例え.jp>", "a" * SUBJECT_BYTES_MAX, "line\nline\0"]
)
async def test_given_a_sealed_field_where_it_was_written_then_it_opens(sealer: Sealer, subject: str) -> None:
    sealed = await sealer.seal(subject, STREAM, EVENT, FIELD)
    assert await sealer.unseal(sealed, STREAM, EVENT, FIELD) == subject


# -- erasing -------------------------------------------------------------------------------------------


async def test_given_destroyed_keys_when_unsealed_then_the_person_is_erased_for_every_process(
    tmp_path: Path, master: LocalMasterKey, store: SqliteKeyStore, sealer: Sealer
) -> None:
    elsewhere = Sealer(SqliteKeyStore(tmp_path / "keys.sqlite", master))
    sealed = {stream: await sealer.seal(SUBJECT, stream, EVENT, FIELD) for stream in (STREAM, "workspace/W2")}
    for stream, field in sealed.items():
        assert await elsewhere.unseal(field, stream, EVENT, FIELD) == SUBJECT
    assert erase_person(store, SUBJECT) == [field.key_id for field in sealed.values()]
    for reader in (sealer, elsewhere):
        for stream, field in sealed.items():
            with pytest.raises(KeyErased):
                await reader.unseal(field, stream, EVENT, FIELD)
    assert erase_person(store, SUBJECT, 2) == []


async def test_given_one_person_on_two_streams_when_one_stream_is_erased_then_the_other_still_opens(
    store: SqliteKeyStore, sealer: Sealer
) -> None:
    gone = await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    kept = await sealer.seal(SUBJECT, "workspace/W2", EVENT, FIELD)
    others = await sealer.seal("other@example.com", STREAM, EVENT, FIELD)
    assert gone.key_id != kept.key_id
    store.erase([erasure(1, "", STREAM, gone.key_id)], Applied(1, "event-1"))
    for field in (gone, others):  # also the one that the erasure does not name
        with pytest.raises(KeyErased):
            await sealer.unseal(field, STREAM, EVENT, FIELD)
    assert await sealer.unseal(kept, "workspace/W2", EVENT, FIELD) == SUBJECT
    with pytest.raises(StreamErased):
        await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    with pytest.raises(StreamErased):
        store.keys_for([("workspace/W2", SUBJECT), (STREAM, SUBJECT)])


async def test_given_another_spelling_of_an_address_when_it_is_erased_then_all_are(
    store: SqliteKeyStore, sealer: Sealer
) -> None:
    sealed = await sealer.seal("Ada.Lovelace@Example.com", STREAM, EVENT, FIELD)
    assert erase_person(store, " ada.lovelace@example.COM ") == [sealed.key_id]


async def test_given_an_erased_person_when_sealed_again_then_another_key_is_used(
    store: SqliteKeyStore, sealer: Sealer
) -> None:
    before = await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    erase_person(store, SUBJECT)
    after = await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    assert after.key_id != before.key_id
    # The same erasure, applied again, does not reach what came after it.
    store.erase([erasure(1, store.ref_of(SUBJECT), "", before.key_id)], Applied(1, "event-1"))
    assert await sealer.unseal(after, STREAM, EVENT, FIELD) == SUBJECT
    with pytest.raises(KeyErased):
        await sealer.unseal(before, STREAM, EVENT, FIELD)


def test_given_a_key_that_the_store_forgot_when_it_is_erased_then_it_is_erased_and_not_unknown(
    store: SqliteKeyStore,
) -> None:
    store.erase([erasure(1, "00" * 32, "", "ab" * 16)], Applied(1, "event-1"))
    with pytest.raises(KeyErased):
        store.key_of("ab" * 16)


def test_given_many_persons_when_some_are_erased_then_no_file_holds_their_wrapped_keys(
    tmp_path: Path, store: SqliteKeyStore
) -> None:
    people = [f"person-{number}@example.com" for number in range(900)]
    for start in range(0, len(people), 37):
        for stream in ("workspace/W1", f"workspace/W{start}", f"workspace/N{start % 5}"):
            store.keys_for(places(*people[start : start + 37], stream=stream))
    before = set(wrapped_keys(tmp_path / "keys.sqlite"))
    for number, person in enumerate(people[::7], 1):
        erase_person(store, person, number)
    for number in range(3):
        store.erase([erasure(10_000 + number, "", f"workspace/N{number}")], Applied(10_000 + number, "x"))
    gone = before - set(wrapped_keys(tmp_path / "keys.sqlite"))
    assert len(gone) > 3 * len(people[::7])
    left = files_of(tmp_path)
    assert not [wrapped for wrapped in gone if wrapped in left or wrapped[12:44] in left]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.sqlite", "master.key"]


def test_given_a_person_erased_then_not_even_the_index_of_the_person_is_left(
    tmp_path: Path, master: LocalMasterKey, store: SqliteKeyStore
) -> None:
    store.keys_for(places(SUBJECT))
    assert master.person(SUBJECT) in files_of(tmp_path)
    erase_person(store, SUBJECT)
    assert master.person(SUBJECT) not in files_of(tmp_path)


def test_given_erasures_when_applied_again_or_in_another_order_then_the_list_holds_each_once(
    store: SqliteKeyStore,
) -> None:
    assert store.applied() == Applied(0, "")
    one, other = erasure(7, "ab" * 32, ""), erasure(9, "", STREAM)
    for again in ([one, other], [other], [one]):
        store.erase(again, Applied(9, "event-9"))
    assert [noted.position for noted in store.erasures()] == [7, 9]
    assert store.applied() == Applied(9, "event-9")
    assert store.erasures_of("ab" * 32) == [7]


# -- what the files tell -------------------------------------------------------------------------------


async def test_given_persons_sealed_then_no_subject_and_no_plain_key_is_in_any_file(
    tmp_path: Path, store: SqliteKeyStore, sealer: Sealer
) -> None:
    sealed = await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    found = files_of(tmp_path)
    key = store.key_of(sealed.key_id)
    for secret in (SUBJECT.encode(), b"ada.lovelace", SUBJECT.encode("utf-16-le"), key, key.hex().encode()):
        assert secret not in found
    assert SUBJECT.encode() not in sealed.ciphertext


def test_given_an_open_umask_then_the_files_are_still_private(tmp_path: Path) -> None:
    earlier = os.umask(0)
    try:
        store = SqliteKeyStore(tmp_path / "keys.sqlite", ensure_master_key(tmp_path / "master.key"))
        store.keys_for(places(SUBJECT))
    finally:
        os.umask(earlier)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["keys.sqlite", "master.key"])
def test_given_a_file_that_others_may_read_then_it_is_refused(
    tmp_path: Path, store: SqliteKeyStore, name: str
) -> None:
    (tmp_path / name).chmod(0o640)
    with pytest.raises((KeyStoreFailed, WrongMasterKey), match="chmod 600"):
        SqliteKeyStore(tmp_path / "keys.sqlite", ensure_master_key(tmp_path / "master.key"))


# -- the master key ------------------------------------------------------------------------------------


async def test_given_another_master_key_when_the_store_is_opened_then_it_says_so(
    tmp_path: Path, store: SqliteKeyStore, sealer: Sealer
) -> None:
    await sealer.seal(SUBJECT, STREAM, EVENT, FIELD)
    (tmp_path / "master.key").unlink()
    with pytest.raises(WrongMasterKey, match="another master key"):
        SqliteKeyStore(tmp_path / "keys.sqlite", ensure_master_key(tmp_path / "master.key"))


def test_given_a_key_moved_into_another_persons_row_then_it_does_not_open(
    tmp_path: Path, store: SqliteKeyStore
) -> None:
    victim, attacker = store.keys_for(places("victim@example.com", "attacker@example.com"))
    with sqlite3.connect(tmp_path / "keys.sqlite") as database:
        database.execute(
            "UPDATE keys SET wrapped = (SELECT wrapped FROM keys WHERE key_id = ?) WHERE key_id = ?",
            (attacker.key_id, victim.key_id),
        )
    with pytest.raises(WrongMasterKey, match="changed"):
        store.key_of(victim.key_id)
    with pytest.raises(WrongMasterKey):
        store.keys_for(places("victim@example.com"))


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"\0" * 31), b"\xff" * 44])
def test_given_a_file_that_holds_no_key_then_it_is_refused_and_not_replaced(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(WrongMasterKey):
        ensure_master_key(path)
    assert path.read_bytes() == content


def test_a_master_key_comes_from_the_environment_or_the_file_and_never_from_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    made = ensure_master_key(path)
    environment = {"CONSENT_MASTER_KEY": path.read_text().strip()}
    index = made.person(SUBJECT)
    assert load_master_key(path, {}).person(SUBJECT) == index
    assert load_master_key(None, environment).person(SUBJECT) == index
    with pytest.raises(WrongMasterKey, match="both"):
        load_master_key(path, environment)
    with pytest.raises(WrongMasterKey, match="set"):
        load_master_key(None, {})
    with pytest.raises(WrongMasterKey, match="cannot be read"):
        load_master_key(tmp_path / "absent", {})
    with pytest.raises(WrongMasterKey, match="base64"):
        load_master_key(None, {"CONSENT_MASTER_KEY": "?"})


# -- the statements ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_a_statement_takes_the_parameters_and_gives_the_columns_that_its_header_lists(
    tmp_path: Path, store: SqliteKeyStore, name: str
) -> None:
    header = STATEMENTS.headers[name]

    def listed(text: str) -> list[str]:
        return [] if text == "none" else [entry.strip() for entry in text.split(",")]

    parameters = [entry.split()[0] for entry in listed(header.parameters)]
    assert sorted(set(re.findall(r"\?\d", STATEMENTS[name]))) == parameters
    of_kind: dict[str, object] = {"text": "1", "blob": b"1", "integer": 1}
    given = [of_kind[entry.rsplit(" ", 1)[1]] for entry in listed(header.parameters)]
    if name == "insert_erasure":
        given[3] = None  # a person or a stream, not both
    database = sqlite3.connect(tmp_path / "keys.sqlite", isolation_level=None)
    try:
        if name == "insert_master_check":
            database.execute("DELETE FROM master_check")
        cursor = database.execute(STATEMENTS[name], given)
        columns = [column[0] for column in cursor.description or []]
    finally:
        database.close()
    assert columns == [entry.split()[0] for entry in listed(header.columns)]


# -- a store that fails --------------------------------------------------------------------------------


def test_given_a_store_that_was_removed_then_nothing_is_sealed_and_no_empty_one_takes_its_place(
    tmp_path: Path, store: SqliteKeyStore
) -> None:
    (tmp_path / "keys.sqlite").unlink()
    with pytest.raises(KeyStoreFailed):
        store.keys_for(places(SUBJECT))
    assert not (tmp_path / "keys.sqlite").exists()


def test_given_a_key_of_another_store_then_it_is_unknown_not_erased(store: SqliteKeyStore) -> None:
    with pytest.raises(KeyUnknown):
        store.key_of("0" * 32)


@pytest.mark.parametrize("path", ["absent/keys.sqlite", "."])
def test_given_a_place_where_no_store_can_be_then_it_says_so(
    tmp_path: Path, master: LocalMasterKey, path: str
) -> None:
    with pytest.raises(KeyStoreFailed):
        SqliteKeyStore(tmp_path / path, master)


def test_given_a_file_that_is_no_database_then_it_says_so_and_leaves_it(
    tmp_path: Path, master: LocalMasterKey
) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"something else " * 100)
    path.chmod(0o600)
    with pytest.raises(KeyStoreFailed):
        SqliteKeyStore(path, master)
    assert path.read_bytes().startswith(b"something else")


# -- several at once -----------------------------------------------------------------------------------

RACER = """
import sys
from pathlib import Path
from consent_ledger.keystore import SqliteKeyStore
from consent_ledger.master_key import ensure_master_key
folder = Path(sys.argv[1])
store = SqliteKeyStore(folder / "keys.sqlite", ensure_master_key(folder / "master.key"))
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    print(store.keys_for([("workspace/W1", f"person-{number}")])[0].key.hex(), flush=True)
"""


def racer(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RACER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_given_processes_that_meet_the_same_new_persons_at_once_then_each_person_has_one_key(
    tmp_path: Path,
) -> None:
    racers = [racer(tmp_path) for _ in range(3)]
    try:
        for one in racers:
            assert one.stdout and one.stdout.readline() == "ready\n"
        for one in racers:
            assert one.stdin
            one.stdin.write("go\n")
            one.stdin.flush()
        keys = [one.communicate(timeout=30)[0].split() for one in racers]
    finally:
        for one in racers:
            one.kill()
            one.wait()
    assert len(keys[0]) == 20
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[0])) == 20


def test_given_a_process_killed_while_it_makes_keys_then_what_it_returned_is_there(tmp_path: Path) -> None:
    process = racer(tmp_path)
    try:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        returned = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    store = SqliteKeyStore(tmp_path / "keys.sqlite", ensure_master_key(tmp_path / "master.key"))
    found = [key.key.hex() for key in store.keys_for(places(*(f"person-{number}" for number in range(5))))]
    assert found == returned


async def test_given_many_tasks_and_one_new_person_then_one_key_is_made(
    tmp_path: Path, sealer: Sealer
) -> None:
    sealed = await asyncio.gather(*(sealer.seal(SUBJECT, STREAM, EVENT, FIELD) for _ in range(50)))
    assert len({one.key_id for one in sealed}) == 1
    assert len(wrapped_keys(tmp_path / "keys.sqlite")) == 1


def test_given_a_batch_of_new_and_known_persons_then_the_keys_come_in_the_order_asked(
    store: SqliteKeyStore,
) -> None:
    first = store.keys_for(places("b", "a", "b"))
    assert first[0] == first[2] != first[1]
    again = store.keys_for(places("a", "c", "b"))
    assert again[0] == first[1]
    assert again[2] == first[0]
    assert store.keys_for([]) == []
