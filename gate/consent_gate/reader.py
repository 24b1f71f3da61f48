"""The reading side of a check: one short transaction, and everything that was worked out for it before.

LMDB numbers its transactions. As long as a new read transaction has the number of the last one,
nothing at all has changed, and the meta need not be read; every other number has a `View` of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token
from consent_domain.instants import Micros

from consent_gate.cells import Meta, encode_instant
from consent_gate.classes import Tables
from consent_gate.damage import is_damage, report_damage
from consent_gate.replica import Replica
from consent_gate.store import Snapshot, Store, read_meta

_SWITCHES_MAX = 3


class View(NamedTuple):
    """What is known of the replica as of one of its transactions."""

    pid: int
    store: Store
    begin: Callable[[], Any]
    transaction_id: int
    meta: Meta
    position: int
    at: Micros
    at_bytes: bytes
    asked: int
    tables: Tables
    problem: str
    """Why nothing can be decided however fresh it is: `catching_up`, `halted`, or nothing."""

    @property
    def token(self) -> Token:
        """The position that answers stand on."""
        return Token(self.meta.origin, self.meta.epoch, self.meta.position)


class Reader:
    """Reads the replica in use, wherever it has moved to."""

    def __init__(
        self,
        replica: Replica,
        forked: Callable[[], None] = lambda: None,
        until: Callable[[], Micros | None] = lambda: None,
    ) -> None:
        """`forked` is called in a child process, before it reads for the first time.

        `until`, asked for each environment that is opened, is what `consent_domain.grounds.Case` says: by
        then, later than the replica's own time, answers must still hold.
        """
        self._replica = replica
        self._forked = forked
        self._until = until
        self.view: View | None = None
        """What was read last."""

    def begin(self) -> tuple[Any, View]:
        """A read transaction and the view that fits it; the caller aborts it.

        Raises ConsentError `unavailable` if there is no replica, and as LMDB does.
        """
        view = self.view
        if view is not None and view.pid == getpid():
            transaction = view.begin()
            if transaction.id() == view.transaction_id:
                return transaction, view
            return self.look(transaction, view)
        if view is not None:
            self.view = None
            self._forked()
        return self._open()

    def open_again(self) -> None:
        """Look which environment is in use: the mark on the one read so far may never have been set."""
        store, view = self._replica.store(), self.view
        if store is None or (view is not None and view.store is not store):
            self.view = None

    def look(self, transaction: Any, before: View) -> tuple[Any, View]:
        """`begin` for a transaction that is newer than the last view; it is gone on with, or aborted."""
        try:
            meta = read_meta(transaction)
            if not meta.superseded:
                view = self.aged(_view_of(before.store, transaction.id(), meta, before, self._until()))
                self.view = view
                return transaction, view
        except BaseException:
            transaction.abort()
            raise
        transaction.abort()
        return self._open()

    def complain(self, error: Exception) -> None:
        """Have the replica fetched anew if the error says that it is damaged. Never raises."""
        view = self.view
        if view is not None and is_damage(error):
            report_damage(view.store.environment.path)

    def aged(self, view: View) -> View:
        """The view as old as it is, if anything but its watermark says so."""
        return view

    def _open(self) -> tuple[Any, View]:
        for _ in range(_SWITCHES_MAX):
            store = self._replica.store()
            if store is None:
                break
            transaction = store.environment.lmdb.begin()
            try:
                meta = read_meta(transaction)
                if not meta.superseded:
                    self._require_source(meta)
                    view = self.aged(_view_of(store, transaction.id(), meta, None, self._until()))
                    self.view = view
                    return transaction, view
            except BaseException as error:
                transaction.abort()
                if is_damage(error):
                    report_damage(store.environment.path)
                raise
            transaction.abort()
        self.view = None
        raise ConsentError(
            "unavailable",
            self._replica.problem or "there is no replica to read yet; it is being fetched",
        )

    def _require_source(self, meta: Meta) -> None:
        wanted = self._replica.source
        if wanted and meta.source != wanted:
            raise ConsentError(
                "other_origin",
                f"{self._replica.folder} holds the word of {meta.source or 'nobody'}, and this gate wants "
                f"that of {wanted}: give it a folder of its own",
            )


def _view_of(
    store: Store, transaction_id: int, meta: Meta, before: View | None, until: Micros | None
) -> View:
    same = until is None and before is not None and before.meta.generation == meta.generation
    older = before.tables if before is not None and same else None
    at = meta.time
    kept = older is not None and before is not None and before.at == at
    return View(
        getpid(),
        store,
        store.environment.lmdb.begin,
        transaction_id,
        meta,
        meta.position,
        at,
        encode_instant(at),
        meta.watermark_asked,
        older if kept and older is not None else Tables(older, at, until),
        "halted" if meta.halted else "" if meta.complete and meta.watermark_asked else "catching_up",
    )


def snapshot_of(transaction: Any, view: View) -> Snapshot:
    """The facts that the transaction sees."""
    return Snapshot(transaction, view.meta, view.store.environment.path)
