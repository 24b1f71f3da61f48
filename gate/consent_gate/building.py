"""Replicas on their way: environments beside the one in use, which is switched to when they are complete."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import lmdb
from consent_domain.errors import ConsentError
from consent_domain.feed import Row
from consent_domain.instants import Micros
from msgspec.structs import replace

from consent_gate.cells import Meta
from consent_gate.environments import environment
from consent_gate.marks import Mark, noted, standing_at
from consent_gate.store import Store, put_meta

if TYPE_CHECKING:
    from consent_gate.replica import Replica

PREFIX = "replica-"
_COPY_ROWS = 10_000


class Build:
    """A replica on its way: rows in any order, as many as there are, then `finish`."""

    def __init__(self, replica: Replica, meta: Meta) -> None:
        self._replica = replica
        self._meta = meta
        self._map_bytes = replica.map_bytes
        self._name = new_name()
        self._store = Store(environment(replica.folder / f"{self._name}.rows", self._map_bytes, create=True))
        with self._store.change(meta):
            pass

    def add(self, rows: Iterable[Row]) -> None:
        """Take more rows; a later one of the same id replaces an earlier one. Raises lmdb.Error."""
        rows = list(rows)
        try:
            with self._store.change() as change:
                for row in rows:
                    change.put_row(*row)
        except lmdb.MapFullError:
            self._grow()
            self.add(rows)

    def finish(self, through: int, time: Micros = 0, mark: Mark | None = None) -> None:
        """Write the rows in order, so that pages are full, and switch to them, standing at `through`."""
        with self._store.change() as change:
            change.meta = noted(standing_at(replace(change.meta, complete=True), through, time), mark)
        ordered = environment(self._replica.folder / self._name, self._map_bytes, create=True)
        copy_in_order(self._store, Store(ordered))
        self._replica.switch(self._name, self._map_bytes)

    def _grow(self) -> None:
        self._map_bytes *= 2
        larger = environment(
            self._replica.folder / f"{self._name}.{self._map_bytes}", self._map_bytes, create=True
        )
        copy_in_order(self._store, Store(larger))
        self._store = Store(larger)


class OrderedBuild:
    """A replica on its way whose cells come in the order of their keys, about half a microsecond each."""

    def __init__(self, replica: Replica, meta: Meta) -> None:
        self._replica = replica
        self._meta = meta
        self._name = new_name()
        self._map_bytes = replica.map_bytes
        self._environment = environment(replica.folder / self._name, self._map_bytes, create=True)

    def add(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Take cells that come behind all before. Raises ConsentError `damaged` otherwise, lmdb.Error."""
        while True:
            try:
                with self._environment.lmdb.begin(write=True) as transaction:
                    cells = zip(keys, values, strict=True)
                    if transaction.cursor().putmulti(cells, append=True) != (len(keys), len(keys)):
                        raise ConsentError("damaged", "the cells of a replica did not come in order")
                return
            except lmdb.MapFullError:
                # Nobody else has opened it yet.
                self._map_bytes *= 2
                self._environment.lmdb.set_mapsize(self._map_bytes)

    def finish(self, through: int, time: Micros, asked: int = 0) -> None:
        """Switch to the cells, standing at `through` since `time`.

        `asked` is the boot clock (ns) from which their age counts, below 0 for before the boot; 0 says that
        only a watermark to come makes them fresh.
        """
        meta = replace(standing_at(self._meta, through, time), complete=True)
        if asked:
            meta = replace(meta, watermark_position=through, watermark_time=time, watermark_asked=asked)
        with self._environment.lmdb.begin(write=True) as transaction:
            put_meta(transaction, meta)
        self._replica.switch(self._name, self._map_bytes)

    def abandon(self) -> None:
        """Take away what came so far."""
        shutil.rmtree(self._replica.folder / self._name, ignore_errors=True)


def copy_in_order(source: Store, target: Store) -> None:
    """All cells of an environment into an empty one, in the order of their keys, so that pages are full."""
    with source.environment.lmdb.begin() as reading:
        rows = iter(reading.cursor())
        with target.environment.lmdb.begin(write=True) as writing:
            cursor = writing.cursor()
            while chunk := list(islice(rows, _COPY_ROWS)):
                cursor.putmulti(chunk, append=True)


def new_name() -> str:
    """Of an environment that there is not."""
    return f"{PREFIX}{secrets.token_hex(8)}"
