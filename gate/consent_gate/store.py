"""One environment of a replica: its facts read in one transaction, and changed in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from consent_domain.envelope import Event, decode
from consent_domain.errors import Unreadable
from consent_domain.events import Body, LogContinued
from consent_domain.evolve import evolve, quarantine
from consent_domain.facts import (
    Book,
    Facts,
    OrganisationFacts,
    WorkspaceFacts,
    home_of,
    pack,
    unpack_book,
    unpack_organisation,
    unpack_workspace,
)
from consent_domain.identifiers import is_id
from msgspec.structs import replace

from consent_gate import cells
from consent_gate.cells import Meta
from consent_gate.damage import report_damage
from consent_gate.environments import Environment

CHANGES_KEPT = 100_000
"""Positions back to which a replica knows whose facts were changed: a few megabytes."""
_UNPACK: dict[str, Any] = {
    "workspace": unpack_workspace,
    "organisation": unpack_organisation,
    "book": unpack_book,
}


class Snapshot:
    """The facts of one transaction: `consent_domain.ruling.Snapshot`. Not to be used after it ended."""

    def __init__(self, transaction: Any, meta: Meta, environment: Path) -> None:
        """`environment` is where it is, which is reported if it is found damaged."""
        self._transaction = transaction
        self._environment = environment
        self.meta = meta
        self._book: Book | None = None

    @property
    def book(self) -> Book:
        if self._book is None:
            value = self._get(cells.BOOK_KEY)
            self._book = Book() if value is None else unpack_book(memoryview(value)[1:])
        return self._book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """Raises ConsentError `damaged`, lmdb.Error or msgspec.MsgspecError if the replica is broken."""
        value = self._get(name.encode()) if is_id(name) else None
        return None if value is None else self.workspace_of(value)

    def workspace_of(self, value: bytes) -> WorkspaceFacts:
        """The facts in a workspace's cell."""
        if value[:1] == cells.PLAIN:
            return cells.plain_facts(value, self.class_of(cells.decode_plain(value)[0]))
        assert value[:1] == cells.OWN, "under an id there are only cells of workspaces"
        return unpack_workspace(memoryview(value)[1:])

    def class_of(self, number: int) -> cells.WorkspaceClass:
        """What the plain workspaces of class `number` share. Raises as `workspace` does."""
        value = self._get(cells.class_key(number))
        if value is None:
            raise cells.damaged(cells.class_key(number))  # a class is put before its first member
        return cells.decode_class(value)

    def organisation(self, name: str) -> OrganisationFacts | None:
        """Raises as `workspace` does."""
        value = self._get(cells.organisation_key(name)) if is_id(name) else None
        return None if value is None else unpack_organisation(memoryview(value)[1:])

    def organisations(self) -> Iterator[tuple[str, OrganisationFacts]]:
        """(id, facts) of every organisation, in the order of ids as bytes. Raises as `workspace` does."""
        cursor = self._transaction.cursor()
        prefix = cells.organisation_key("")
        for key, value in iter(cursor) if cursor.set_range(prefix) else ():
            if not key.startswith(prefix):
                return
            facts = unpack_organisation(memoryview(self._sound(key, value))[1:])
            yield key[len(prefix) :].decode(), facts

    def cells(self) -> Iterator[tuple[bytes, bytes]]:
        """(id, cell) of every workspace, in the order of ids as bytes. Raises as `workspace` does."""
        cursor = self._transaction.cursor()
        rows = iter(cursor) if cursor.set_range(cells.FIRST_WORKSPACE_KEY) else ()
        return ((key, self._sound(key, value)) for key, value in rows)

    def changes_after(self, position: int) -> list[tuple[str, str]] | None:
        """(kind, id) of all whose facts were changed after a position that this environment stood at.

        None if that is too long ago to be known. Raises as `workspace` does.
        """
        if not 0 <= self.meta.position - position <= CHANGES_KEPT:
            return None
        cursor = self._transaction.cursor()
        found: list[tuple[str, str]] = []
        for key, value in iter(cursor) if cursor.set_range(cells.change_key(position + 1)) else ():
            change = cells.changed(key)
            if change is None:
                break
            cells.unsummed(key, value)
            found.append(change)
        return found

    def _get(self, key: bytes) -> bytes | None:
        value = self._transaction.get(key)
        return None if value is None else self._sound(key, value)

    def _sound(self, key: bytes, stored: bytes) -> bytes:
        if crc32(stored, crc32(key)) == cells.SOUND:
            return stored[: -cells.SUM_BYTES]
        report_damage(self._environment)
        raise cells.damaged(key)


class Change:
    """One write transaction: rows and what the replica stands on, together or not at all."""

    def __init__(self, transaction: Any, meta: Meta, classes: dict[bytes, int], environment: Path) -> None:
        self._transaction = transaction
        self._classes = classes
        self._snapshot = Snapshot(transaction, meta, environment)
        self._has_noted = False
        self.meta = meta

    def facts(self, kind: str, name: str) -> Facts | None:
        """What is known so far."""
        if kind == "workspace":
            return self._snapshot.workspace(name)
        if kind == "organisation":
            return self._snapshot.organisation(name)
        return self._snapshot.book

    def put(self, kind: str, name: str, facts: Facts | None) -> None:
        """Replace the facts of `kind` and `name`; what binds many begins a new generation."""
        if isinstance(facts, WorkspaceFacts):
            self._put(name.encode(), self._cell(facts))
            return
        if isinstance(facts, OrganisationFacts):
            self._put(cells.organisation_key(name), b"O" + pack(facts))
        elif isinstance(facts, Book):
            self._put(cells.BOOK_KEY, b"B" + pack(facts))
            self._snapshot._book = facts
        self.meta = replace(self.meta, generation=self.meta.generation + 1)

    def put_row(self, kind: str, name: str, position: int, packed: bytes) -> None:
        """`put` of facts as the feed brings them."""
        self.put(kind, name, facts_of_row(kind, name, position, packed))

    def fold(self, position: int, stream: str, body: bytes) -> None:
        """Fold the stored bytes of the event at `position` into the facts they concern, and stand there."""
        event: Event | None = None
        try:
            event = decode(body)
            if (event.position, event.stream) != (position, stream):
                raise Unreadable("the bytes name another position or stream than the ledger does")
        except Unreadable:
            event = None
        home = home_of(stream)
        if home is not None:
            before = self.facts(*home)
            after = _folded(before, event, stream, position)
            if after != before:
                self.put(*home, after)
                self.note(*home, position)
        meta = self.meta
        if event is None:
            self.meta = replace(meta, position=position)
            return
        self.meta = replace(
            meta,
            position=position,
            time=max(meta.time, event.time),
            epoch=epoch_continued(event.body, meta.epoch),
        )

    def note(self, kind: str, name: str, position: int) -> None:
        """Remember, for a while, that the event at `position` changed these facts."""
        self._put(cells.change_key(position, kind, name), b"")
        self._has_noted = True

    def forget(self) -> None:
        """Forget the changes that are too long ago."""
        if not self._has_noted:
            return
        kept_from = cells.change_key(max(0, self.meta.position - CHANGES_KEPT + 1))
        cursor = self._transaction.cursor()
        found = cursor.set_range(cells.change_key(0))
        while found and cells.changed(cursor.key()) is not None and cursor.key() < kept_from:
            found = cursor.delete()

    def _cell(self, facts: WorkspaceFacts) -> bytes:
        if facts.is_plain:
            number = self._class_number(cells.class_of(facts))
            plain = None if number is None else cells.encode_plain(number, facts)
            if plain is not None:
                return plain
        return cells.OWN + pack(facts)

    def _class_number(self, shared: bytes) -> int | None:
        number = self._classes.get(shared)
        if number is None and len(self._classes) < cells.CLASS_COUNT_MAX:
            number = self._classes[shared] = len(self._classes)
            self._put(cells.class_key(number), shared)
        return number

    def _put(self, key: bytes, value: bytes) -> None:
        self._transaction.put(key, cells.summed(key, value))


def facts_of_row(kind: str, name: str, position: int, packed: bytes) -> Facts | None:
    """The facts that a row of the feed packs. Those that this version does not read in full are
    quarantined: a member it does not know might deny."""
    try:
        facts: Facts = _UNPACK[kind](packed)
        if pack(facts) == packed:
            return facts
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return quarantine(None, f"{_STREAM_KIND[kind]}/{name}", position)


def epoch_continued(body: Body | None, epoch: int) -> int:
    """The epoch after an event. Only the very next one follows: what a missed one took back is still held."""
    return body.epoch if isinstance(body, LogContinued) and body.epoch == epoch + 1 else epoch


def _folded(before: Facts | None, event: Event | None, stream: str, position: int) -> Facts | None:
    if event is not None:
        try:
            return evolve(before, event)
        except Exception:
            # An event that no handler could have written is as good as one that cannot be read.
            return quarantine(before, stream, position)
    return quarantine(before, stream, position)


_STREAM_KIND = {"workspace": "workspace", "organisation": "organisation", "book": "policy"}


class Store:
    """The reading and writing side of one environment. One process writes; LMDB lets no second one."""

    def __init__(self, held: Environment) -> None:
        self.environment = held
        self._classes: dict[bytes, int] | None = None

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """A short read transaction: while it lasts, no page that it can see is used again."""
        with self.environment.lmdb.begin() as transaction:
            yield Snapshot(transaction, read_meta(transaction), self.environment.path)

    @contextmanager
    def change(self, first: Meta | None = None) -> Iterator[Change]:
        """A write transaction, from and to this thread. `first` is the meta of an empty environment.

        Raises lmdb.MapFullError, lmdb.DiskError or lmdb.Error; nothing of the change is kept then.
        """
        try:
            with self.environment.lmdb.begin(write=True) as transaction:
                if self._classes is None:
                    self._classes = _read_classes(transaction)
                meta = first or read_meta(transaction)
                change = Change(transaction, meta, self._classes, self.environment.path)
                yield change
                change.forget()
                put_meta(transaction, change.meta)
        except BaseException:
            self._classes = None  # numbers given in a transaction that was not kept
            raise
        self.environment.fill_up()


def read_meta(transaction: Any) -> Meta:
    """Raises ConsentError `damaged` or msgspec.MsgspecError for an environment that holds none."""
    value = transaction.get(cells.META_KEY)
    if value is None:
        raise cells.damaged(cells.META_KEY)  # an environment is filled before it is switched to
    return cells.decode_meta(cells.unsummed(cells.META_KEY, value))


def put_meta(transaction: Any, meta: Meta) -> None:
    """What the environment stands on, from the end of the transaction on."""
    transaction.put(cells.META_KEY, cells.summed(cells.META_KEY, cells.encode_meta(meta)))


def _read_classes(transaction: Any) -> dict[bytes, int]:
    classes: dict[bytes, int] = {}
    cursor = transaction.cursor()
    if cursor.set_range(cells.class_key(0)):
        for key, value in cursor:
            if key[:1] != b"\x02":
                break
            classes[cells.unsummed(key, value)] = int.from_bytes(key[1:], "big")
    return classes
