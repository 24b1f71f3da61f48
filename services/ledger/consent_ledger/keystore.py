"""The key store: one AES-256 key a person, outside the ledger's database and its backups.

Destroying a person's key makes every sealed field of that person unreadable for ever, while the
ledger's bytes and proofs stay as they are. The rules:

1. A key is durable before anything is sealed with it.
2. A destroyed key leaves no copy in the store's files: SQLite overwrites what it deletes, there is
   no write-ahead log, and the rollback journal is removed at commit. (Blocks that a file system
   frees are beyond this: they hold wrapped keys only, useless without the master key.)
3. Of several processes that meet a new person at once, one makes the key and all use it.
4. Nothing here is remembered between two calls: what another process destroyed is gone here too.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

from consent_domain.errors import ConsentError
from consent_plumbing.sql import Statements

from consent_ledger.master_key import MasterKey, WrongMasterKey

STATEMENTS = Statements(Path(__file__).parent / "keystore_statements")
KEY_BYTES = 32
BUSY_SECONDS_MAX = 5.0
_CHECK = b"consent-ledger key store"


class PersonKey(NamedTuple):
    """A person's key and the id that sealed fields name it by."""

    key_id: str
    key: bytes


class KeyStoreFailed(ConsentError):
    """The key store cannot be used; the message says why. Nothing was sealed."""

    def __init__(self, detail: str) -> None:
        super().__init__("unavailable", detail)


class KeyErased(ConsentError):
    """The key was destroyed: the person is erased, and nobody can read the field any more."""

    def __init__(self, key_id: str) -> None:
        super().__init__("not_found", f"the person of key {key_id} was erased")


class KeyUnknown(ConsentError):
    """The store never had the key: it is another ledger's, or was restored from too old a copy."""

    def __init__(self, key_id: str) -> None:
        super().__init__("unavailable", f"the key store does not know key {key_id}")


class KeyStore(Protocol):
    """Where the keys of persons are. Every method may block, and is safe to call from any thread."""

    def keys_for(self, subjects: Sequence[str]) -> list[PersonKey]:
        """The key of each subject, in the order given, made where there was none, all or nothing.

        They are durable before this returns. Raises KeyStoreFailed or WrongMasterKey.
        """

    def key_of(self, key_id: str) -> bytes:
        """The key of an id. Raises KeyErased, KeyUnknown, KeyStoreFailed or WrongMasterKey."""

    def destroy(self, subject: str) -> str | None:
        """Destroy the subject's key, durably, and return its id; None if the subject has none.

        The same subject gets another key when it is next sealed. Raises KeyStoreFailed.
        """


class SqliteKeyStore:
    """A key store in one SQLite file (mode 0600), for all processes of a host."""

    def __init__(self, path: Path, master: MasterKey) -> None:
        """Open the store, made now if there is none. The folder must exist.

        Raises WrongMasterKey if another master key made it, KeyStoreFailed if it cannot be used.
        """
        self._path = path
        self._master = master
        # Threads of one process wait here, without SQLite's polling.
        self._writing = Lock()
        self._create_private()
        with self._transaction() as database:
            database.execute(STATEMENTS["create_master_check"])
            database.execute(STATEMENTS["create_keys"])
            known = database.execute(STATEMENTS["read_master_check"]).fetchone()
            if known is None:
                database.execute(STATEMENTS["insert_master_check"], (master.wrap(_CHECK, _CHECK),))
            elif master.unwrap(known[0], _CHECK) != _CHECK:
                raise WrongMasterKey(f"the key store {path} belongs to another master key")

    def keys_for(self, subjects: Sequence[str]) -> list[PersonKey]:
        """See KeyStore. One commit for all new persons; none, and no wait, if there are none."""
        persons = [self._master.person(subject) for subject in subjects]
        with self._connection() as database:
            known = {person: self._find(database, person) for person in persons}
        if not all(known.values()):
            with self._transaction() as database:
                # Looked for again under the lock: another process may have made it meanwhile.
                known = {
                    person: self._find(database, person) or self._add(database, person) for person in persons
                }
        found = [known[person] for person in persons]
        return [key for key in found if key is not None]

    def key_of(self, key_id: str) -> bytes:
        """See KeyStore."""
        with self._connection() as database:
            row = database.execute(STATEMENTS["key_of_id"], (key_id,)).fetchone()
        if row is None:
            raise KeyUnknown(key_id)
        person, wrapped = row
        if wrapped is None:
            raise KeyErased(key_id)
        return self._master.unwrap(wrapped, _bound(key_id, person))

    def destroy(self, subject: str) -> str | None:
        """See KeyStore."""
        with self._transaction() as database:
            rows = database.execute(STATEMENTS["destroy_key"], (self._master.person(subject),)).fetchall()
        return rows[0][0] if rows else None

    def _find(self, database: sqlite3.Connection, person: bytes) -> PersonKey | None:
        row = database.execute(STATEMENTS["key_of_person"], (person,)).fetchone()
        if row is None:
            return None
        key_id, wrapped = row
        return PersonKey(key_id, self._master.unwrap(wrapped, _bound(key_id, person)))

    def _add(self, database: sqlite3.Connection, person: bytes) -> PersonKey:
        made = PersonKey(secrets.token_hex(16), secrets.token_bytes(KEY_BYTES))
        wrapped = self._master.wrap(made.key, _bound(made.key_id, person))
        database.execute(STATEMENTS["insert_key"], (made.key_id, person, wrapped))
        return made

    def _create_private(self) -> None:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            mode = self._path.stat().st_mode
        except OSError as error:
            raise KeyStoreFailed(f"the key store {self._path} cannot be opened: {error.strerror}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyStoreFailed(f"others may read the key store {self._path}; run chmod 600 on it")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use (about 0.1 ms): none is shared by threads or over a fork."""
        try:
            database = sqlite3.connect(
                # `rw` makes no file: a store that somebody removed is a failure, not an empty store.
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_SECONDS_MAX,
                isolation_level=None,
            )
            try:
                for setting in ("overwrite_deleted", "journal_without_copies", "sync_every_commit"):
                    database.execute(STATEMENTS[setting]).fetchall()
                yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise KeyStoreFailed(f"the key store {self._path} failed: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits when left, rolls back on any exception. The file is locked for writing meanwhile."""
        with self._writing, self._connection() as database:
            database.execute(STATEMENTS["begin"])
            try:
                yield database
            except BaseException:
                database.rollback()
                raise
            database.commit()


def _bound(key_id: str, person: bytes) -> bytes:
    """What a wrapped key is bound to: it opens in no other row."""
    return key_id.encode() + b"\0" + person
