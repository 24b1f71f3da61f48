"""What tests of the published log share: a ledger in memory, a place to publish to, ways to die, an audit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from consent_domain import merkle, tiles
from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.envelope import encode
from consent_domain.events import LOG_STREAM, Body, KeyRotated, LogContinued, RecordedBy
from consent_domain.instants import SECOND, Micros, moment_of
from consent_domain.notes import parse_note
from consent_domain.tiles import ENTRIES, Tile
from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import Signer, Verifier
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.keys import load_seeds, make_log_key, next_file
from consent_ledger.log.publication import NO_WITNESSES, Publication
from consent_ledger.log.publisher import Publisher, State, Step
from consent_ledger.log.seams import Entry, LogStore
from consent_ledger.log.signer import Signed, SignerState
from consent_ledger.seams import Head, Stored

ORIGIN = "test.local/ledger"
OPERATOR = RecordedBy(principal="operator", authentication="shell")
START: Micros = 20_000 * 86_400 * SECOND


class Killed(BaseException):
    """The process ends here, between two lines."""


class MemoryLedger:
    """`LogStore` in memory: what PostgreSQL would answer, whatever was done to it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.epoch = 1
        self.now = START
        self.reads = 0

    def append(self, count: int, words: str = "") -> None:
        """Record so many events, no two alike."""
        for _ in range(count):
            position = len(self.entries) + 1
            body = f"event {position} of epoch {self.epoch} {words}".encode()
            self.entries.append(Entry(position, "workspace/acme", body, merkle.leaf_hash(body)))
            self.now += SECOND // 100

    def append_event(self, body: Body) -> None:
        """Record an event of the log itself."""
        position = len(self.entries) + 1
        encoded = encode(position, str(UUID(int=position)), ORIGIN, LOG_STREAM, self.now, body)
        self.entries.append(Entry(position, LOG_STREAM, encoded, merkle.leaf_hash(encoded)))
        self.now += SECOND // 100

    def rotate(self, old: str, new: str, until: Micros) -> None:
        """Record a rotation of keys."""
        self.append_event(
            KeyRotated(recorded_by=OPERATOR, old_key=old, new_key=new, overlap_until=moment_of(until))
        )

    def go_on_in_new_epoch(self, size: int, root: bytes | None = None) -> None:
        """What recovery does where nothing has what stood above `size`."""
        self.entries = self.entries[:size]
        self.epoch += 1
        self.append_event(
            LogContinued(
                recorded_by=OPERATOR,
                origin=ORIGIN,
                epoch=self.epoch,
                size=str(size),
                root=root or self.root(size),
            )
        )

    def change_body(self, position: int, consistently: bool = False) -> None:
        """What a superuser of the database can do to an event."""
        entry = self.entries[position - 1]
        body = entry.body + b" changed"
        hash_ = merkle.leaf_hash(body) if consistently else entry.leaf_hash
        self._range = self._hashes(len(self.entries))
        self.entries[position - 1] = entry._replace(body=body, leaf_hash=hash_)

    _range: list[bytes] | None = None

    def _hashes(self, size: int) -> list[bytes]:
        hashes: list[bytes] = []
        for number, entry in enumerate(self.entries[:size]):
            merkle.append(number, hashes, entry.leaf_hash)
        return hashes

    def root(self, size: int) -> bytes:
        return merkle.root(self._hashes(size))

    async def read_head(self) -> Head:
        self.reads += 1
        hashes = self._range if self._range is not None else self._hashes(len(self.entries))
        return Head(ORIGIN, self.epoch, len(self.entries), self.now, merkle.join(hashes), self.now)

    async def entries_after(self, after: int, rows_max: int) -> list[Entry]:
        return self.entries[after : after + rows_max]

    async def events_of_stream(self, stream: str) -> Sequence[Stored]:
        own = [entry for entry in self.entries if entry.stream == stream]
        return [Stored(entry.position, stream, n, entry.body) for n, entry in enumerate(own, 1)]


class Site:
    """A folder for the log, the signer's state and its key, as one host has them."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.folder = LogFolder(path / "log")
        self.state_file = path / "signer.sqlite"
        self.key_file = path / "log.key"
        self.state = SignerState(self.state_file)
        make_log_key(self.key_file, self.state, ORIGIN)
        self.seconds = 0.0

    @property
    def verifier(self) -> Verifier:
        return Signer(ORIGIN, self.key_file.read_bytes()).verifier

    @property
    def next_verifier(self) -> Verifier:
        return Signer(ORIGIN, next_file(self.key_file).read_bytes()).verifier

    def publisher(
        self,
        store: LogStore,
        folder: LogFolder | None = None,
        state: SignerState | None = None,
        publication: Publication | None = None,
        begin: bool = False,
    ) -> Publisher:
        folder = folder or self.folder
        publication = publication or Publication(folder, NO_WITNESSES)
        return Publisher(
            folder,
            store,
            state or self.state,
            lambda: load_seeds(self.key_file, {}),
            ORIGIN,
            lambda: self.seconds,
            publication.publish,
            begin,
        )

    async def publish_all(self, publisher: Publisher) -> Step:
        """Steps until everything committed is published, or the log is halted."""
        while True:
            step = await publisher.step(wanted=True)
            if step.state in (State.IDLE, State.HALTED):
                return step

    def published(self, epoch: int = 1) -> Checkpoint:
        note = self.folder.note(epoch)
        assert note is not None, "nothing is published"
        return parse_checkpoint(parse_note(note).text)

    def signed(self, name: str = ORIGIN) -> Signed | None:
        return self.state.last(name)


def audit(site: Site, ledger: MemoryLedger, epoch: int = 1, keys: Sequence[Verifier] = ()) -> Checkpoint:
    """The published log, read as a stranger would: signed, and every tile what the events make of it."""
    note = site.folder.note(epoch)
    assert note is not None, "nothing is published"
    name = ORIGIN if epoch == 1 else f"{ORIGIN}/{epoch}"
    known = [key.renamed(name) for key in keys or (site.verifier,)]
    checkpoint = open_checkpoint(note, known).checkpoint
    bodies = [entry.body for entry in ledger.entries[: checkpoint.size]]
    require_tiles(site.folder, epoch, bodies)
    assert checkpoint.root == ledger.root(checkpoint.size)
    return checkpoint


def require_tiles(folder: LogFolder, epoch: int, bodies: Sequence[bytes]) -> None:
    """Every tile and bundle of the tree of these events, made anew and compared."""
    levels = [[merkle.leaf_hash(body) for body in bodies]]
    for tile in tiles.tiles_of(0, len(bodies)):
        first = tile.index * tiles.WIDTH
        if tile.level == ENTRIES:
            expected = tiles.encode_entries(bodies[first : first + tile.width])
        else:
            while tile.level >= len(levels):
                below = levels[-1]
                levels.append(
                    [
                        tiles.reduce_tile(b"".join(below[at : at + tiles.WIDTH]))
                        for at in range(0, len(below) - tiles.WIDTH + 1, tiles.WIDTH)
                    ]
                )
            expected = b"".join(levels[tile.level][first : first + tile.width])
        assert folder.read(epoch, tiles.path(tile)) == expected, tiles.path(tile)


class Fate:
    """Decides at which of all the moments of writing the process dies: at number `after`, from 0 on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def moment(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


class MortalFolder(LogFolder):
    """A folder whose process may die before and after everything it writes, and in the middle of tiles."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(path)
        self._fate = fate

    def write_tiles(self, epoch: int, written: Sequence[tuple[Tile, bytes]]) -> None:
        self._fate.moment()
        half = list(written)
        random.Random(len(half)).shuffle(half)
        super().write_tiles(epoch, half[: len(half) // 2])
        self._fate.moment()
        super().write_tiles(epoch, half[len(half) // 2 :])
        self._fate.moment()

    def drop_partials(self, epoch: int, full: Any) -> None:
        super().drop_partials(epoch, full)
        self._fate.moment()

    def publish(self, epoch: int, note: bytes, witnessed: bool) -> None:
        self._fate.moment()
        super().publish(epoch, note, witnessed)
        self._fate.moment()


class MortalState(SignerState):
    """A signer's state whose process may die before and after it remembers."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(path)
        self._fate = fate

    def swap(self, name: str, expected: Signed, signed: Signed, at: Micros) -> None:
        self._fate.moment()
        super().swap(name, expected, signed, at)
        self._fate.moment()
