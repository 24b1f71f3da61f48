"""The key store: an AES-256 key for each person on each stream, outside the database and its backups.

Destroying keys makes the fields sealed with them unreadable for ever, while the ledger's bytes and
proofs stay as they are: all keys of a person erase that person, all keys of a stream that workspace,
and neither touches what others sealed. The rules:

1. A key is durable before anything is sealed with it.
2. A destroyed key leaves no copy in the store's files: SQLite overwrites what it deletes, there is
   no write-ahead log, and the rollback journal is removed at commit. (Blocks that a file system
   frees are beyond this: they hold wrapped keys only, useless without the master key.)
3. Of several processes that meet a new person at once, one makes the key and all use it.
4. Nothing here is remembered between two calls: what another process destroyed is gone here too,
   and a file that was put back in its place is seen for what it is.
5. The log says what is erased, and this store how far it has followed (`applied`). It keeps the
   events that it applied, so that it and the log can each tell the other what a restore forgot.
6. Nothing is sealed on an erased stream any more. A person who was erased may act again, under new keys.
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
_TABLES = (
    "create_master_check",
    "create_keys",
    "create_index_of_streams",
    "create_erasures",
    "create_index_of_erased",
    "create_applied",
)


class PersonKey(NamedTuple):
    """A person's key on one stream, and the id that sealed fields name it by."""

    key_id: str
    key: bytes


class HeldKey(NamedTuple):
    """A key that stands, without the key itself: its id, and the stream that it seals on."""

    key_id: str
    stream: str


class Erasure(NamedTuple):
    """An erasure as the log records it: `person` (a ref) or `stream` is given, the other is empty.

    `event` is the stored event; `epoch` the log's when it was applied.
    """

    epoch: int
    position: int
    event_id: str
    person: str
    stream: str
    key_ids: tuple[str, ...]
    event: bytes


class Noted(NamedTuple):
    """An erasure as this store remembers it."""

    epoch: int
    position: int
    event: bytes


class Applied(NamedTuple):
    """The last event of the log's erasures that is applied; position 0 and no id before the first."""

    position: int
    event_id: str


class KeyStoreFailed(ConsentError):
    """The key store cannot be used; the message says why. Nothing was sealed or destroyed."""

    def __init__(self, detail: str) -> None:
        super().__init__("unavailable", detail)


class KeyErased(ConsentError):
    """The key was destroyed: nobody can read the field any more."""

    def __init__(self, key_id: str) -> None:
        super().__init__("erased", f"it was sealed under key {key_id}, which was destroyed by an erasure")


class StreamErased(ConsentError):
    """The stream was erased: nothing is sealed on it any more."""

    def __init__(self, stream: str, position: int) -> None:
        super().__init__("erased", f"{stream} was erased at position {position}; nothing is sealed for it")


class KeyUnknown(ConsentError):
    """The store never had the key: it is another ledger's, or was restored from too old a copy."""

    def __init__(self, key_id: str) -> None:
        super().__init__("unavailable", f"the key store does not know key {key_id}")


class KeyStore(Protocol):
    """Where the keys of persons are. Every method may block, and is safe to call from any thread.

    All raise KeyStoreFailed if the store cannot be used.
    """

    def keys_for(self, wanted: Sequence[tuple[str, str]]) -> list[PersonKey]:
        """The key of each (stream, subject), in the order given, made where there was none, all or nothing.

        They are durable before this returns. Raises StreamErased for a stream that was erased, and
        WrongMasterKey.
        """

    def key_of(self, key_id: str) -> bytes:
        """The key of an id. Raises KeyErased, KeyUnknown or WrongMasterKey."""

    def ref_of(self, subject: str) -> str:
        """The ref of a person: 64 hexadecimal digits, the same for the same person, telling nothing of it."""

    def keys_of_person(self, person: str) -> list[HeldKey]:
        """The keys that stand for a person, by its ref, oldest first."""

    def keys_of_stream(self, stream: str) -> list[str]:
        """The ids of the keys that stand for a stream, oldest first."""

    def erasures_of(self, person: str) -> list[int]:
        """The positions at which a person was erased."""

    def applied(self) -> Applied:
        """How far the log's erasures are applied."""

    def erase(self, erasures: Sequence[Erasure], applied: Applied) -> None:
        """Destroy the keys of each: those it names, and for a stream every other that it has. Durable.

        Each is kept in the list, and `applied` remembered, in the same commit. Erasing again changes nothing.
        """

    def erasures(self) -> list[Noted]:
        """Every erasure that was ever applied to this store, in the order in which they were."""


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
            for table in _TABLES:
                database.execute(STATEMENTS[table])
            known = database.execute(STATEMENTS["read_master_check"]).fetchone()
            if known is None:
                database.execute(STATEMENTS["insert_master_check"], (master.wrap(_CHECK, _CHECK),))
            elif master.unwrap(known[0], _CHECK) != _CHECK:
                raise WrongMasterKey(f"the key store {path} belongs to another master key")

    # -- sealing ---------------------------------------------------------------------------------------------

    def keys_for(self, wanted: Sequence[tuple[str, str]]) -> list[PersonKey]:
        """See KeyStore. One commit for all new keys; none, and no wait, if there are none."""
        places = [(stream, self._master.person(subject)) for stream, subject in wanted]
        with self._connection() as database:
            known = {place: self._find(database, *place) for place in places}
        if not all(known.values()):
            with self._transaction() as database:
                # Looked for again under the lock: another process may have made it meanwhile.
                known = {
                    place: self._find(database, *place) or self._add(database, *place) for place in places
                }
        found = [known[place] for place in places]
        return [key for key in found if key is not None]

    def key_of(self, key_id: str) -> bytes:
        """See KeyStore."""
        with self._connection() as database:
            row = database.execute(STATEMENTS["key_of_id"], (key_id,)).fetchone()
        if row is None:
            raise KeyUnknown(key_id)
        stream, person, wrapped = row
        if wrapped is None:
            raise KeyErased(key_id)
        return self._master.unwrap(wrapped, _bound(key_id, stream, person))

    def _find(self, database: sqlite3.Connection, stream: str, person: bytes) -> PersonKey | None:
        erased = database.execute(STATEMENTS["erasures_of_stream"], (stream,)).fetchone()
        if erased is not None:
            raise StreamErased(stream, erased[0])
        row = database.execute(STATEMENTS["key_of_person_on_stream"], (person, stream)).fetchone()
        if row is None:
            return None
        key_id, wrapped = row
        return PersonKey(key_id, self._master.unwrap(wrapped, _bound(key_id, stream, person)))

    def _add(self, database: sqlite3.Connection, stream: str, person: bytes) -> PersonKey:
        made = PersonKey(secrets.token_hex(16), secrets.token_bytes(KEY_BYTES))
        wrapped = self._master.wrap(made.key, _bound(made.key_id, stream, person))
        database.execute(STATEMENTS["insert_key"], (made.key_id, stream, person, wrapped))
        return made

    # -- erasing ---------------------------------------------------------------------------------------------

    def ref_of(self, subject: str) -> str:
        """See KeyStore. No I/O."""
        return self._master.person(subject).hex()

    def keys_of_person(self, person: str) -> list[HeldKey]:
        """See KeyStore."""
        with self._connection() as database:
            rows = database.execute(STATEMENTS["keys_of_person"], (bytes.fromhex(person),)).fetchall()
        return [HeldKey(*row) for row in rows]

    def keys_of_stream(self, stream: str) -> list[str]:
        """See KeyStore."""
        with self._connection() as database:
            return [row[0] for row in database.execute(STATEMENTS["keys_of_stream"], (stream,))]

    def erasures_of(self, person: str) -> list[int]:
        """See KeyStore."""
        with self._connection() as database:
            return [row[0] for row in database.execute(STATEMENTS["erasures_of_person"], (person,))]

    def applied(self) -> Applied:
        """See KeyStore."""
        with self._connection() as database:
            row = database.execute(STATEMENTS["read_applied"]).fetchone()
        return Applied(0, "") if row is None else Applied(*row)

    def erase(self, erasures: Sequence[Erasure], applied: Applied) -> None:
        """See KeyStore."""
        with self._transaction() as database:
            for one in erasures:
                database.executemany(STATEMENTS["destroy_key"], [(key_id,) for key_id in one.key_ids])
                if one.stream:
                    database.execute(STATEMENTS["destroy_keys_of_stream"], (one.stream,))
                noted = (
                    one.event_id,
                    one.epoch,
                    one.position,
                    one.person or None,
                    one.stream or None,
                    one.event,
                )
                database.execute(STATEMENTS["insert_erasure"], noted)
            database.execute(STATEMENTS["set_applied"], applied)

    def erasures(self) -> list[Noted]:
        """See KeyStore."""
        with self._connection() as database:
            return [Noted(*row) for row in database.execute(STATEMENTS["all_erasures"])]

    # -- the file --------------------------------------------------------------------------------------------

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


def _bound(key_id: str, stream: str, person: bytes) -> bytes:
    """What a wrapped key is bound to: it opens in no other row. Ids and streams hold no zero byte."""
    return key_id.encode() + b"\0" + stream.encode() + b"\0" + person
