"""What a monitor remembers: one SQLite file in a folder of its own, durable, changed at once or not at all.

It holds the newest checkpoint of each epoch's log, and everything that was folded so far: each stream's
facts and requests, policies, open deadlines. So a look reads only what is new, and needs memory for no
more than a batch of events and the streams they are about, however large the ledger is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from consent_domain.errors import ConsentError
from consent_domain.facts import (
    Book,
    OrganisationFacts,
    WorkspaceFacts,
    pack,
    unpack_book,
    unpack_organisation,
    unpack_workspace,
)
from consent_domain.instants import Micros
from consent_domain.requests import Request
from consent_domain.state import BookState, StreamState

from consent_gate.audit.monitor.alarms import Alarm
from consent_gate.election import Election
from consent_gate.sqlite_files import Connection, SqliteFile

VERSION = 1
"""Of the file's layout, its `user_version`."""
FILE, LOCK = "monitor.sqlite", "monitor.lock"

_STATEMENTS = Path(__file__).parent / "statements"
_TABLES = (
    "create_followed",
    "create_checkpoints",
    "create_streams",
    "create_deadlines",
    "create_index_of_due",
    "create_alarms",
)


class Keys(msgspec.Struct, frozen=True):
    """What rotations in the log changed of the pinned keys: `accepted` count too; `retired` no more, from
    an instant on."""

    accepted: tuple[str, ...] = ()
    retired: dict[str, Micros] = {}


class Followed(NamedTuple):
    """How far the log called `log` was followed. Position 0: nothing yet, and origin and log are empty."""

    origin: str
    log: str
    position: int
    keys: Keys
    everybody: BookState


class Deadline(NamedTuple):
    """An open request that was due; `position` is that of its newest event."""

    stream: str
    request: str
    due_at: Micros
    position: int


_decode_keys = msgspec.json.Decoder(Keys).decode
_decode_book = msgspec.msgpack.Decoder(tuple[bytes, dict[str, str], dict[str, int], int]).decode
_decode_requests = msgspec.msgpack.Decoder(dict[str, Request]).decode
_decode_alarm = msgspec.json.Decoder(Alarm).decode


class Memory:
    """The file. One process at a time may use it."""

    def __init__(self, folder: Path) -> None:
        """What is in `folder`, made if it is not there.

        Raises ConsentError `unavailable` if another monitor uses it or it cannot be written, `damaged` if it
        was spoilt.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._election = Election(folder, LOCK)
            leads = self._election.lead()
        except OSError as error:
            raise ConsentError("unavailable", f"{folder} cannot be used: {error.strerror}") from error
        if not leads:
            raise ConsentError("unavailable", f"another monitor uses {folder}")
        self._file = SqliteFile(folder / FILE, "the monitor's memory", _STATEMENTS)
        if not self._file.path.exists():
            self._file.make(_TABLES, VERSION, _nothing_followed)
        self._file.require_whole(VERSION)

    def close(self) -> None:
        """Let another monitor use the folder."""
        self._election.resign()

    def followed(self) -> Followed:
        """How far the log was followed."""
        with self._file.reading() as connection:
            origin, log, position, keys, book = connection.run("followed").fetchone()
        try:
            return Followed(origin, log, position, _decode_keys(keys), _unpack_everybody(book))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._file.damaged(error) from error

    def checkpoint(self, log: str) -> bytes | None:
        """The newest checkpoint that was seen of a log."""
        with self._file.reading() as connection:
            row = connection.run("checkpoint", log).fetchone()
        return None if row is None else row[0]

    def keep_checkpoint(self, log: str, note: bytes) -> None:
        """Keep a checkpoint as the newest of its log."""
        with self._file.transaction() as connection:
            connection.run("keep_checkpoint", log, note)

    def keep(
        self,
        followed: Followed,
        streams: Mapping[str, StreamState],
        alarms: Collection[Alarm],
        now_seconds: int,
        anew: bool = False,
    ) -> None:
        """Keep what a batch of events came to, all at once; `anew` forgets what was folded before it."""
        with self._file.transaction() as connection:
            if anew:
                connection.run("forget_streams")
                connection.run("forget_deadlines")
            keys, book = msgspec.json.encode(followed.keys), _pack_everybody(followed.everybody)
            connection.run("set_followed", followed.origin, followed.log, followed.position, keys, book)
            for name, state in streams.items():
                _keep_stream(connection, name, state)
            _keep_alarms(connection, alarms, now_seconds)

    def keep_alarms(self, alarms: Collection[Alarm], now_seconds: int) -> None:
        """Keep alarms, so that they are told although this process ends now; one that is known stays."""
        if alarms:
            with self._file.transaction() as connection:
                _keep_alarms(connection, alarms, now_seconds)

    @contextmanager
    def facts(self, book: Book) -> Iterator[StoredFacts]:
        """What was folded, beside what holds for everybody."""
        with self._file.reading() as connection:
            yield StoredFacts(connection, book)

    def overdue(self, now: Micros, rows_max: int) -> list[Deadline]:
        """Requests that were due before `now` and are open still, the longest overdue first."""
        with self._file.reading() as connection:
            return [Deadline(*row) for row in connection.run("overdue", now, rows_max)]

    def untold(self, rows_max: int) -> list[Alarm]:
        """Alarms of which the webhook was not told yet."""
        with self._file.reading() as connection:
            return [_decode_alarm(row[1]) for row in connection.run("untold_alarms", rows_max)]

    def are_told(self, alarms: Collection[Alarm]) -> None:
        """Note that the webhook was told of alarms."""
        with self._file.transaction() as connection:
            for one in alarms:
                connection.run("alarm_is_told", one.key)


class StoredFacts:
    """The facts that were folded. Use as a `consent_domain.ruling.Snapshot`."""

    def __init__(self, connection: Connection, book: Book) -> None:
        self._connection = connection
        self._book = book

    @property
    def book(self) -> Book:
        """What holds for everybody."""
        return self._book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """The facts of a workspace."""
        state = self.stream(f"workspace/{name}")
        return state.facts if state and isinstance(state.facts, WorkspaceFacts) else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        """The facts of an organisation."""
        state = self.stream(f"organisation/{name}")
        return state.facts if state and isinstance(state.facts, OrganisationFacts) else None

    def stream(self, name: str) -> StreamState | None:
        """A stream as it was folded, None if it has no event."""
        row = self._connection.run("stream", name).fetchone()
        return None if row is None else _unpack_stream(name, *row)

    def workspace_near(self, chance: float) -> str | None:
        """A workspace, any of them by a random `chance` from 0 to 1; None if there is none."""
        last = self._connection.run("last_stream").fetchone()[0]
        if last is None:
            return None
        row = self._connection.run("workspace_from", 1 + int(chance * last)).fetchone()
        row = row or self._connection.run("workspace_from", 0).fetchone()
        return None if row is None else str(row[0]).removeprefix("workspace/")


def _nothing_followed(connection: Connection) -> None:
    connection.run("insert_followed", msgspec.json.encode(Keys()), _pack_everybody(BookState()))


def _keep_alarms(connection: Connection, alarms: Collection[Alarm], now_seconds: int) -> None:
    for one in alarms:
        connection.run("keep_alarm", one.key, msgspec.json.encode(one), now_seconds)


def _keep_stream(connection: Connection, name: str, state: StreamState) -> None:
    facts = None if state.facts is None else pack(state.facts)
    requests = msgspec.msgpack.encode(state.requests)
    connection.run("keep_stream", name, state.version, state.position, facts, requests)
    connection.run("drop_deadlines", name)
    for request in state.requests.values():
        if request.is_open and request.due_at is not None:
            connection.run("keep_deadline", name, request.id, request.due_at, request.last_position)


def _unpack_stream(
    name: str, version: int, position: int, facts: bytes | None, requests: bytes
) -> StreamState:
    """A stream without its erasure proposal, which permits nothing and decides nothing."""
    unpacked: WorkspaceFacts | OrganisationFacts | None = None
    if facts is not None:
        is_workspace = name.startswith("workspace/")
        unpacked = unpack_workspace(facts) if is_workspace else unpack_organisation(facts)
    return StreamState(version, position, unpacked, _decode_requests(requests))


def _pack_everybody(state: BookState) -> bytes:
    return msgspec.msgpack.encode((pack(state.book), state.proposals, state.versions, state.position))


def _unpack_everybody(packed: bytes) -> BookState:
    book, proposals, versions, position = _decode_book(packed)
    return BookState(unpack_book(book), proposals, versions, position)
