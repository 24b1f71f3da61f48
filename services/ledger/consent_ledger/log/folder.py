"""The folder of the log: what is published, as files that any web server could serve.

    1/checkpoint                latest signed note of the first epoch, cosignatures as they came
    1/checkpoint.witnessed      the latest that satisfied the witness policy
    1/keys.json                 the keys that sign it, and from when until when
    1/tile/0/x001/234           hash tiles and bundles of entries, at the paths of consent_domain.tiles
    2/…                         the second epoch: tiles never change, so each epoch has its own
    halt                        the log is damaged: nobody serves, appends or signs while this is here
    publisher.lock              held (flock) by the one process that publishes
    publisher.json              what that process says of itself

Rules: (1) A file appears whole or not at all, and is durable once the call returned. (2) Tiles are
written before the checkpoint that covers them. (3) A partial tile may go once the full one is there:
`read` cuts it out of that. (4) Only `consent_domain.tiles` says what is a path of a tile, so no
path leads out of the folder.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from consent_domain import tiles
from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.merkle import HASH_BYTES
from consent_domain.notes import parse_note
from consent_domain.tiles import ENTRIES, WIDTH, Tile
from consent_gate.election import Election

CHECKPOINT = "checkpoint"
WITNESSED = "checkpoint.witnessed"
KEYS = "keys.json"
HALT = "halt"
STATUS = "publisher.json"
LOCK = "publisher.lock"
SYNCS_AT_ONCE = 8
UNFINISHED_SECONDS_MAX = 600.0
_UNFINISHED = "unfinished"


class Halt(msgspec.Struct, frozen=True):
    """Why everything stands still: a word for programs, a sentence for people, and since when (RFC 3339)."""

    reason: str
    detail: str
    at: str


class WitnessStatus(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is known of a witness. `state`: new, cosigning, failing, refusing, ahead (it has seen a larger
    tree than there is), without_url. `size` is the largest checkpoint that it cosigned for us."""

    name: str
    url: str
    state: str
    size: int = 0
    cosigned_at: str = ""
    failures: int = 0
    detail: str = ""


class Status(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What the publisher says of itself: at every checkpoint, and every few seconds without one.

    `size` is the published checkpoint's, `position` the head's when it was read last; `lacking` are
    the words for what the witness policy still misses. Times are RFC 3339.
    """

    at: str
    epoch: int
    position: int
    size: int
    published_at: str
    witnessed_size: int
    lacking: str
    witnesses: list[WitnessStatus]


class KeyPeriod(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A verifier key and the time (RFC 3339) from and until which it signs; empty: from the first
    checkpoint, until it is rotated."""

    key: str
    signs_from: str = ""
    signs_until: str = ""


class PublicKeys(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What `keys.json` holds: all keys that ever signed checkpoints called `name`, oldest first."""

    origin: str
    epoch: int
    name: str
    verifier_keys: list[str]
    periods: list[KeyPeriod]


class LogFolder:
    """For any number of processes that read, one that publishes, and any that halts."""

    def __init__(self, path: Path | str) -> None:
        """Nothing is made before something is written."""
        self.path = Path(path)

    # What is read. All of it is fast enough for a thread of its own only where noted.

    def read(self, epoch: int, path: str) -> bytes:
        """A file of an epoch's log, by its path below the log's prefix: a tile, `checkpoint`,
        `checkpoint.witnessed` or `keys.json`. One file, read at once: call it in a thread.

        A partial tile that is gone is cut out of the full one. Nothing is verified; a tile may be newer
        than the checkpoint: `published` says what belongs to it. Raises ConsentError `not_found` for
        any other path or a file that is missing, `damaged` for a full tile that cannot be cut,
        `unavailable` if the disk does not answer.
        """
        if path in (CHECKPOINT, WITNESSED, KEYS):
            return self._read(epoch, path)
        return self.read_tile(epoch, tiles.parse(path))

    def read_tile(self, epoch: int, tile: Tile) -> bytes:
        """The bytes of a tile, as `read`."""
        try:
            return self._read(epoch, tiles.path(tile))
        except ConsentError as error:
            if error.code != "not_found" or tile.width == WIDTH:
                raise
            full = self._read(epoch, tiles.path(tile._replace(width=WIDTH)))
            return _cut(tile, full)

    def published(self, epoch: int, path: str) -> bytes:
        """As `read`, but a tile only if the published checkpoint covers it: what strangers may be given.

        Tiles above the checkpoint may yet be replaced, after a crash before they were signed.
        """
        if path in (CHECKPOINT, WITNESSED, KEYS):
            return self._read(epoch, path)
        tile = tiles.parse(path)
        checkpoint = self.checkpoint(epoch)
        if checkpoint is None or not is_part(tile, checkpoint.size):
            raise ConsentError("not_found", f"the published checkpoint has no {path}")
        return self.read_tile(epoch, tile)

    def missing_tile(self, epoch: int, size: int) -> Tile | None:
        """The first tile or bundle of a tree of `size` leaves that is not there, or is shorter or longer
        than it can be; None if all are. Only sizes are looked at: 10 µs a tile."""
        for tile in tiles.tiles_of(0, size):
            if not self._has(epoch, tile) and not self._has(epoch, tile._replace(width=WIDTH)):
                return tile
        return None

    def _has(self, epoch: int, tile: Tile) -> bool:
        try:
            found = self._file(epoch, tiles.path(tile)).stat().st_size
        except OSError:
            return False
        return found >= 2 * tile.width if tile.level == ENTRIES else found == tile.width * HASH_BYTES

    def checkpoint(self, epoch: int, path: str = CHECKPOINT) -> Checkpoint | None:
        """What the epoch's published note (or the one at WITNESSED) says; None if there is none.

        Its signatures are not looked at. Raises ConsentError `damaged` if it is no checkpoint,
        `unavailable` if the disk does not answer.
        """
        note = self.note(epoch, path)
        if note is None:
            return None
        try:
            return parse_checkpoint(parse_note(note).text)
        except ConsentError as error:
            raise ConsentError("damaged", f"{self._file(epoch, path)}: {error.detail}") from error

    def note(self, epoch: int, path: str = CHECKPOINT) -> bytes | None:
        """The epoch's published note, or the one at WITNESSED; None if there is none."""
        try:
            return self._read(epoch, path)
        except ConsentError as error:
            if error.code == "not_found":
                return None
            raise

    def keys(self, epoch: int) -> PublicKeys | None:
        """The keys that sign the epoch's checkpoints; None before the first. Raises `damaged`."""
        try:
            return msgspec.json.decode(self._read(epoch, KEYS), type=PublicKeys)
        except msgspec.MsgspecError as error:
            raise ConsentError("damaged", f"{self._file(epoch, KEYS)}: {error}") from error
        except ConsentError as error:
            if error.code == "not_found":
                return None
            raise

    def epochs(self) -> list[int]:
        """The epochs that have a checkpoint, in order. Raises ConsentError `unavailable`."""
        try:
            names = [entry.name for entry in os.scandir(self.path)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unavailable(self.path, error) from error
        numbers = (int(name) for name in names if name.isascii() and name.isdigit() and len(name) <= 10)
        return sorted(number for number in numbers if self._file(number, CHECKPOINT).exists())

    def current_epoch(self) -> int:
        """The latest epoch that has a checkpoint; 0 before the first."""
        return max(self.epochs(), default=0)

    def halted(self) -> Halt | None:
        """Why everything stands still, None if it does not. One `open`: cheap enough for every answer.

        A halt that cannot be read halts.
        """
        try:
            return msgspec.json.decode((self.path / HALT).read_bytes(), type=Halt)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            return Halt("unreadable", f"{self.path / HALT} cannot be read: {error}", "")

    def status(self) -> Status | None:
        """What the publisher said last; None if it never did or it cannot be read."""
        try:
            return msgspec.json.decode((self.path / STATUS).read_bytes(), type=Status)
        except (OSError, msgspec.MsgspecError):
            return None

    # What is written. Everything raises OSError where the disk refuses, and nothing half-written stays.

    def write_tile(self, epoch: int, tile: Tile, data: bytes) -> None:
        """One tile, durable."""
        self.write_tiles(epoch, [(tile, data)])

    def write_tiles(self, epoch: int, written: Sequence[tuple[Tile, bytes]]) -> None:
        """Tiles, durable together: all are written before the first is waited for. Those there with the
        same bytes stay. Call it in a thread."""
        files = [(self._file(epoch, tiles.path(tile)), data) for tile, data in written]
        self._write([(file, data) for file, data in files if not _holds(file, data)])

    def drop_partials(self, epoch: int, full: Iterable[Tile]) -> None:
        """Remove the partial tiles of tiles that are there in full; `read` cuts them out of those."""
        for tile in full:
            file = self._file(epoch, tiles.path(tile._replace(width=WIDTH)))
            folder = file.with_name(f"{file.name}.p")
            if not file.exists() or not folder.exists():
                continue
            for partial in os.scandir(folder):
                os.unlink(partial.path)
            folder.rmdir()

    def publish(self, epoch: int, note: bytes, witnessed: bool) -> None:
        """Replace the checkpoint; if it is `witnessed`, the one that satisfied the policy too. Durable."""
        paths = (CHECKPOINT, WITNESSED) if witnessed else (CHECKPOINT,)
        self._write([(self._file(epoch, path), note) for path in paths])

    def publish_witnessed(self, epoch: int, note: bytes) -> None:
        """Replace only the checkpoint that satisfied the policy: a newer one is published already."""
        self._write([(self._file(epoch, WITNESSED), note)])

    def write_keys(self, keys: PublicKeys) -> None:
        """Replace the epoch's `keys.json`."""
        content = msgspec.json.format(msgspec.json.encode(keys)) + b"\n"
        self._write([(self._file(keys.epoch, KEYS), content)])

    def tell(self, status: Status) -> None:
        """Replace what the publisher says of itself; not durable, it is only true now."""
        self._write([(self.path / STATUS, msgspec.json.encode(status))], durable=False)

    def halt(self, reason: str, detail: str) -> Halt:
        """Make everything stand still, durable. The first halt stays; it is what is returned."""
        halt = Halt(reason, detail, datetime.now(UTC).isoformat(timespec="milliseconds"))
        unfinished = self._unfinished()
        _write_durable(unfinished, msgspec.json.encode(halt))
        try:
            os.link(unfinished, self.path / HALT)  # unlike a rename it never replaces the first
        except FileExistsError:
            return self.halted() or halt
        finally:
            unfinished.unlink()
        _sync(self.path)
        return halt

    def halt_anew(self, reason: str, detail: str) -> Halt:
        """Make everything stand still for this reason and no earlier one, durable: what puts the log back
        in order step by step says by it which step is next."""
        halt = Halt(reason, detail, datetime.now(UTC).isoformat(timespec="milliseconds"))
        self.path.mkdir(parents=True, exist_ok=True)
        self._write([(self.path / HALT, msgspec.json.encode(halt))])
        return halt

    def clear_halt(self) -> None:
        """Let everything go on: after a clean `fsck`, and nobody else's to call."""
        (self.path / HALT).unlink(missing_ok=True)
        _sync(self.path)

    def election(self) -> Election:
        """A candidacy for being the one that publishes; makes the folder."""
        self._make()
        return Election(self.path, LOCK)

    def sweep(self) -> None:
        """Remove what killed processes left unfinished. What is young may be somebody's who still writes."""
        with suppress(FileNotFoundError):
            for left in os.scandir(self.path / _UNFINISHED):
                with suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > UNFINISHED_SECONDS_MAX:
                        os.unlink(left.path)

    def _read(self, epoch: int, path: str) -> bytes:
        file = self._file(epoch, path)
        try:
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ConsentError("not_found", f"the log of epoch {epoch} has no {path}") from None
        except OSError as error:
            raise _unavailable(file, error) from error

    def _file(self, epoch: int, path: str) -> Path:
        """Where a file of an epoch is; `path` is one of ours or was written by `tiles.path`."""
        return self.path / str(epoch) / path

    def _make(self) -> None:
        """The folder itself is its owner's only, unless somebody made it before: entries name customers."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _unfinished(self) -> Path:
        self._make()
        folder = self.path / _UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        return folder / secrets.token_hex(8)

    def _write(self, files: Sequence[tuple[Path, bytes]], durable: bool = True) -> None:
        """Files beside their places, then made durable, then renamed, then the folders made durable.

        A crash leaves whole files only. Synced at once, several share what the file system writes for them.
        """
        unfinished: list[tuple[Path, Path]] = []
        made: set[Path] = set()
        try:
            for file, data in files:
                unfinished.append((self._unfinished(), file))
                made |= _make_folders(file.parent, self.path)
                unfinished[-1][0].write_bytes(data)
            if durable:
                _sync_all([temporary for temporary, _ in unfinished])
            for temporary, file in unfinished:
                os.replace(temporary, file)
        except OSError:
            for temporary, _ in unfinished:
                temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync_all([*(made | {file.parent for file, _ in files})])


def is_part(tile: Tile, size: int) -> bool:
    """Whether a tree of `size` leaves has all of the tile."""
    leaves = size >> (tiles.HEIGHT * max(tile.level, 0))
    return tile.index * WIDTH + tile.width <= leaves


def _cut(tile: Tile, full: bytes) -> bytes:
    """The partial tile out of the full one's bytes. Raises ConsentError `damaged`."""
    try:
        if tile.level == ENTRIES:
            return tiles.encode_entries(tiles.decode_entries(full, WIDTH)[: tile.width])
        return tiles.tile_bytes(tile._replace(width=WIDTH), full)[: tile.width * HASH_BYTES]
    except Unreadable as error:
        raise ConsentError("damaged", str(error)) from error


def _holds(file: Path, data: bytes) -> bool:
    try:
        return file.stat().st_size == len(data) and file.read_bytes() == data
    except OSError:
        return False


def _make_folders(folder: Path, above: Path) -> set[Path]:
    """Make a folder; those whose entries changed by it and must be made durable, `above` at the highest."""
    changed: set[Path] = set()
    while not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for made in (folder, *folder.parents):
            changed.add(made)
            if made == above:
                break
    return changed


def _write_durable(file: Path, data: bytes) -> None:
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(paths: Sequence[Path]) -> None:
    if len(paths) == 1:
        return _sync(paths[0])
    with ThreadPoolExecutor(SYNCS_AT_ONCE) as threads:
        list(threads.map(_sync, paths))
    return None


def _unavailable(file: Path, error: OSError) -> ConsentError:
    return ConsentError("unavailable", f"{file} cannot be read: {error.strerror}")
