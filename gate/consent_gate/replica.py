"""The replica of a host: a folder that all processes share, one of them writes, and any may read.

    leader.lock          held by the process that follows the ledger
    current              names the environment in use, the boot it was written in, and its map size
    <name>/              an LMDB environment (`cells` says what is in it)

Rules:

1. Rows, position and watermark change in one transaction.
2. Nothing is written through to the disk (`sync=False`): a replica of another boot may be
   torn, so it is thrown away without being opened.
3. A snapshot is built in an environment of its own and switched to when complete. The one it
   replaces is marked, so that readers move on within the next check.
4. A map is never grown under its readers: when full, the replica is rewritten into a larger one.
5. What is damaged, or could have been written by another user, permits nothing. Damage is healed by
   whoever follows, who fetches everything anew (`damage`).
6. A replica says whose word it is: the log it was folded from, the key that vouched for its pages, or the
   URL that they came from. Whoever asks for another one reads nothing of it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import msgspec
from consent_domain.errors import ConsentError
from consent_domain.feed import Row
from consent_domain.instants import Micros
from msgspec.structs import replace

from consent_gate.boot import boot_id
from consent_gate.building import PREFIX, Build, OrderedBuild, copy_in_order, new_name
from consent_gate.cells import FORMAT, Meta
from consent_gate.damage import DamageReports, is_damage
from consent_gate.environments import MAP_BYTES, environment
from consent_gate.folders import make_private, write_private
from consent_gate.marks import Mark, noted, standing_at
from consent_gate.store import Change, Snapshot, Store

_MAP_BYTES_MAX = 1 << 44
_NAME = re.compile(r"replica-[0-9a-f]{16}")


class Recorded(NamedTuple):
    """An event as the ledger stored it."""

    position: int
    stream: str
    body: bytes


class _Current(msgspec.Struct, frozen=True):
    environment: str
    boot: str
    format: int
    map_bytes: int


class Replica:
    """The folder as one process sees it. Reading is for anybody of this user, changing for whoever leads."""

    def __init__(self, folder: Path, map_bytes: int = MAP_BYTES, source: str = "") -> None:
        """`source` names whose word the replica must be; without one, it is read whosever it is."""
        self.folder = folder
        self.source = source
        self.problem = ""
        """Why the environment in use could not be opened, empty if it could."""
        self.map_bytes = map_bytes
        self._store: Store | None = None
        self._name = ""
        self._reports = DamageReports(folder)

    @classmethod
    def open(cls, folder: Path | str, map_bytes: int = MAP_BYTES, source: str = "") -> Replica:
        """The replica at `folder`, made if it is not there.

        Raises ConsentError `unavailable` if it cannot be, `unsafe_folder` if others may write into it.
        """
        replica = cls(Path(folder), map_bytes, source)
        replica.make_folder()
        return replica

    def make_folder(self) -> None:
        """Make the folder if it is not there, or no longer. Raises as `open` does."""
        make_private(self.folder)

    # -- reading ---------------------------------------------------------------------------------------------

    def store(self) -> Store | None:
        """The environment in use, None if there is none of this boot, or none that can be read; `problem`
        says why then. Costs a file read.

        Raises ConsentError `unsafe_folder` if others could have written it, `unavailable` if there is no
        address space for it.
        """
        current = self._read_current()
        if current is None:
            self._store, self._name = None, ""
            return None
        held = self._store
        if held is None or self._name != current.environment or not _is_usable(held):
            try:
                held = Store(environment(self.folder / current.environment, current.map_bytes))
            except (ConsentError, lmdb.Error, OSError) as error:
                # Often it was removed since `current` was read; the next call finds the one switched to.
                self.problem = str(error)
                if isinstance(error, ConsentError) and error.code != "damaged":
                    raise
                return None
            self._store, self._name, self.problem = held, current.environment, ""
        return held

    @property
    def meta(self) -> Meta | None:
        """What the replica stands on, None if there is none of this boot, or it is damaged.

        Raises lmdb.Error if it cannot be read now, and as `store` does.
        """
        store = self.store()
        if store is None:
            return None
        try:
            with store.snapshot() as snapshot:
                return snapshot.meta
        except Exception as error:
            if is_damage(error):
                return None
            raise

    @property
    def position(self) -> int:
        """The last position whose consequences every check on this host sees; 0 for none."""
        meta = self.meta
        return meta.position if meta is not None and meta.complete else 0

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """All facts as of one position. Raises ConsentError `unavailable` if there is no replica."""
        with self._require().snapshot() as snapshot:
            yield snapshot

    # -- changing --------------------------------------------------------------------------------------------

    def apply_rows(self, rows: Iterable[Row], through: int, time: Micros, mark: Mark | None = None) -> None:
        """Take the rows changed since `position`, all of them, and stand at `through`.

        `time` is the ledger's when they were read, or later.

        Raises ConsentError `wrong_state` if that is behind; lmdb.Error if it cannot be kept.
        """

        def rows_in(change: Change) -> None:
            if through < change.meta.position:
                raise ConsentError("wrong_state", f"at {change.meta.position} already, and not at {through}")
            for row in rows:
                change.put_row(*row)
                change.note(row.kind, row.id, row.position)
            change.meta = noted(standing_at(change.meta, through, time), mark)

        self._change(rows_in)

    def apply_events(self, events: Sequence[Recorded], mark: Mark | None = None) -> None:
        """Fold events that follow each other and the replica's position; stand at the last one.

        Raises ConsentError `wrong_state` for a gap, and applies nothing then; lmdb.Error as above.
        """

        def events_in(change: Change) -> None:
            for event in events:
                if event.position != change.meta.position + 1:
                    raise ConsentError(
                        "wrong_state", f"at {change.meta.position}, and {event.position} does not follow"
                    )
                change.fold(*event)
            change.meta = noted(change.meta, mark)

        self._change(events_in)

    def note_watermark(self, mark: Mark) -> None:
        """Count a watermark, if the replica has reached it and knows none that is newer."""
        self._change(lambda change: setattr(change, "meta", noted(change.meta, mark)))

    def forsake(self) -> None:
        """Answer no more from what is there: it is to be fetched anew."""
        if self.store() is None:
            return
        try:
            self._change(lambda change: setattr(change, "meta", replace(change.meta, complete=False)))
        except (ConsentError, OSError, lmdb.Error):
            self.abandon()

    def abandon(self) -> None:
        """Give up what is there, which cannot even be marked. Who reads it now does so until it is stale."""
        (self.folder / "current").unlink(missing_ok=True)
        held = self._store
        if held is not None:
            _mark_superseded(held)
        self._store, self._name = None, ""

    def halt(self, reason: str) -> None:
        """Deny everything on this host, from the next check on; empty: no longer."""
        if self.store() is not None:
            self._change(lambda change: setattr(change, "meta", replace(change.meta, halted=reason)))

    def reader_check(self) -> int:
        """Free the reader slots of processes that died; how many."""
        store = self.store()
        return 0 if store is None else int(store.environment.lmdb.reader_check())

    def heed_reports(self) -> None:
        """Give up the environment in use if somebody found it damaged, so that it is fetched anew."""
        current = self._read_current()
        if current is not None and self._reports.heed(current.environment):
            self.abandon()

    def build(self, origin: str, epoch: int, view_generation: int = 0) -> Build:
        """Begin a replica anew. What it replaces answers no more. See `Meta` for `view_generation`."""
        self.forsake()
        return Build(self, self._new_meta(origin, epoch, view_generation))

    def build_in_order(self, origin: str, epoch: int, view_generation: int = 0) -> OrderedBuild:
        """Begin a replica whose cells come in order. What is there answers on until it is replaced."""
        return OrderedBuild(self, self._new_meta(origin, epoch, view_generation))

    def clear_others(self) -> None:
        """Remove every environment but the one in use: half-built ones, and those of another boot or source.

        Nothing else in the folder is touched.
        """
        meta = self.meta
        if meta is not None and meta.source != self.source:
            self.abandon()
        current = self._read_current()
        kept = "" if current is None else current.environment
        for path in self.folder.glob(f"{PREFIX}*"):
            if path.name != kept:
                shutil.rmtree(path, ignore_errors=True)
        for left in self.folder.glob("current.*"):
            left.unlink(missing_ok=True)

    # -- inside ----------------------------------------------------------------------------------------------

    def _new_meta(self, origin: str, epoch: int, view_generation: int) -> Meta:
        return Meta(FORMAT, boot_id(), origin, epoch, source=self.source, view_generation=view_generation)

    def _require(self) -> Store:
        store = self.store()
        if store is None:
            raise ConsentError("unavailable", self.problem or "there is no replica yet; it is being fetched")
        return store

    def _change(self, apply: Callable[[Change], None]) -> None:
        store = self._require()
        try:
            with store.change() as change:
                self._require_own(change.meta)
                apply(change)
        except lmdb.MapFullError:
            self._grow(store)
            with self._require().change() as change:
                apply(change)
        except Exception as error:
            if is_damage(error):
                self.abandon()
            raise

    def _require_own(self, meta: Meta) -> None:
        if meta.source != self.source:
            raise ConsentError(
                "other_origin", f"{self.folder} holds the word of {meta.source}, not of {self.source}"
            )

    def _grow(self, full: Store) -> None:
        map_bytes = 2 * int(full.environment.lmdb.info()["map_size"])
        name = new_name()
        larger = environment(self.folder / name, map_bytes, create=True)
        copy_in_order(full, Store(larger))
        self.switch(name, map_bytes)

    def switch(self, name: str, map_bytes: int) -> None:
        """Use the environment of that name from now on, for who has built it."""
        replaced = self.store()
        current = _Current(name, boot_id(), FORMAT, map_bytes)
        temporary = self.folder / f"current.{secrets.token_hex(4)}"
        write_private(temporary, msgspec.json.encode(current))
        os.replace(temporary, self.folder / "current")
        if replaced is not None:
            _mark_superseded(replaced)
        self.clear_others()

    def _read_current(self) -> _Current | None:
        try:
            current = msgspec.json.decode((self.folder / "current").read_bytes(), type=_Current)
        except (OSError, msgspec.MsgspecError):
            return None
        ours = current.boot == boot_id() and current.format == FORMAT
        sound = _NAME.fullmatch(current.environment) and 0 < current.map_bytes <= _MAP_BYTES_MAX
        return current if ours and sound and (self.folder / current.environment).is_dir() else None


def _is_usable(store: Store) -> bool:
    return store.environment.pid == os.getpid() and store.environment.is_in_place


def _mark_superseded(store: Store) -> None:
    try:
        with store.change() as change:
            change.meta = replace(change.meta, superseded=True)
    except Exception:
        # No page is free for the mark, or nothing of it can be read any more. Readers look at `current`
        # again as soon as their watermark is stale.
        return
