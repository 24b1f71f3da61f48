"""What an export consists of, and `manifest.json`, which lists it.

An export of positions A to B of a log whose checkpoint covers `size` has

- `checkpoint`, the signed note; `keys.json`; `README.md`; `manifest.json`
- `tile/entries/…`: the bundles in which A to B are, whole (a bundle holds 256)
- `tile/0/…`: their hashes, and the last, partial tile if there is one
- `tile/1/…` and above: all of them, 8 kB for 65,536 events
- `policies/SHA-256`: the words of policies, where they were at hand

so that the hashes lead to the root, whichever part was exported. The manifest finds what was lost on the
way; it is signed by nobody and proves nothing: the checkpoint does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Protocol

import msgspec
from consent_domain.checkpoints import Checkpoint, log_name
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.proofs import ProofInvalid
from consent_domain.purposes import Wire
from consent_domain.tiles import ENTRIES, WIDTH, Tile, path

from consent_gate.audit.sources import CHECKPOINT, POLICIES, LogSource, require_path

FORMAT = 1
MANIFEST, KEYS, README = "manifest.json", "keys.json", "README.md"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Manifest(Wire, frozen=True, kw_only=True):
    """`first` and `last` are positions that were asked for; `files` maps each path to its SHA-256."""

    format: int
    origin: str
    epoch: int
    log: str
    size: int
    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    files: dict[str, str]


class Export(Protocol):
    """A `LogSource` that knows all its files: a folder or an archive."""

    def read(self, path: str) -> bytes:
        """As `LogSource.read`."""

    def names(self) -> Iterator[str]:
        """The paths of all files."""

    def close(self) -> None:
        """As `LogSource.close`."""


_decode = msgspec.json.Decoder(Manifest).decode


def tiles_in(first: int, last: int, size: int) -> Iterator[Tile]:
    """The tiles and bundles of an export, the highest level first and each bundle after its hashes:
    whoever reads them in this order has always seen what a tile is compared with. An empty log has none."""
    begin, end = (first - 1) // WIDTH, (last - 1) // WIDTH + 1
    counts = _counts(size)
    for level in range(len(counts) - 1, 0, -1):
        for index in range(-(-counts[level] // WIDTH)):
            yield Tile(level, index, min(WIDTH, counts[level] - index * WIDTH))
    for index in range(begin, end) if size else ():
        width = min(WIDTH, size - index * WIDTH)
        yield Tile(0, index, width)
        yield Tile(ENTRIES, index, width)
    if size % WIDTH and end <= size // WIDTH:
        yield Tile(0, size // WIDTH, size % WIDTH)


def tiles_count(first: int, last: int, size: int) -> int:
    """How many tiles and bundles `tiles_in` gives, give or take one."""
    return sum(-(-count // WIDTH) for count in _counts(size)[1:]) + 2 * (last // WIDTH - first // WIDTH + 1)


def _counts(size: int) -> list[int]:
    """How many hashes each level of tiles has, up to the last that has any."""
    counts = []
    while size:
        counts.append(size)
        size //= WIDTH
    return counts


def paths_in(manifest: Manifest) -> set[str]:
    """The paths that an export must have, but for the manifest itself and policies' texts."""
    tiles = tiles_in(manifest.first, manifest.last, manifest.size)
    return {CHECKPOINT, KEYS, README, *map(path, tiles)}


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`: sorted, a file a line, so that people can compare two."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


def read_manifest(source: LogSource) -> Manifest:
    """The manifest of an export, checked against itself. Raises Unreadable; ProofInvalid if there is none."""
    try:
        manifest = _decode(source.read(MANIFEST))
    except ConsentError as error:
        if error.code != "not_found":
            raise
        raise ProofInvalid(f"this is no export, or not a whole one: {error.detail}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"{MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise Unreadable(f"the export has format {manifest.format}, and this program reads format {FORMAT}")
    begins_and_ends = 1 <= manifest.first <= manifest.last <= manifest.size
    if not (begins_and_ends or (manifest.first, manifest.last, manifest.size) == (1, 0, 0)):
        raise Unreadable(f"an export from {manifest.first} to {manifest.last} of {manifest.size} cannot be")
    if manifest.epoch < 1 or manifest.log != log_name(manifest.origin, manifest.epoch):
        raise Unreadable(f"{MANIFEST} calls epoch {manifest.epoch} of {manifest.origin!r} {manifest.log!r}")
    for name, digest in manifest.files.items():
        require_path(name)
        if _SHA256.fullmatch(digest) is None:
            raise Unreadable(f"{MANIFEST} gives no SHA-256 for {name}")
    return manifest


def require_files(manifest: Manifest, names: Iterable[str]) -> None:
    """Raise ProofInvalid unless the manifest and the export have exactly the files that belong there."""
    listed, found = set(manifest.files), set(names) - {MANIFEST}
    tiles = tiles_count(manifest.first, manifest.last, manifest.size)
    if tiles > 2 * len(listed) + WIDTH:
        # Before as many paths as a stranger's number says are made.
        raise ProofInvalid(f"{len(listed)} files are listed in {MANIFEST}, and about {tiles} belong there")
    needed = paths_in(manifest)
    texts = {name for name in listed if name.startswith(POLICIES)}
    for missing, where in ((needed - listed, f"in {MANIFEST}"), (listed - found, "in the export")):
        if missing:
            raise ProofInvalid(f"{_first(missing)} missing {where}")
    for extra, where in ((listed - needed - texts, f"in {MANIFEST}"), (found - listed, "in the export")):
        if extra:
            raise ProofInvalid(f"{_first(extra)} too much {where}: nothing tells what it is")


def require_about(manifest: Manifest, checkpoint: Checkpoint) -> None:
    """Raise ProofInvalid unless the export says of itself what its checkpoint says."""
    if (manifest.log, manifest.size) != (checkpoint.name, checkpoint.size):
        raise ProofInvalid(
            f"{MANIFEST} is about {manifest.size} entries of {manifest.log}, and {CHECKPOINT} about "
            f"{checkpoint.size} of {checkpoint.name}"
        )


class ListedSource:
    """The files of an export, each compared with its SHA-256 in the manifest when it is read."""

    def __init__(self, source: LogSource, manifest: Manifest) -> None:
        self._source = source
        self._files = manifest.files
        self.unread = set(manifest.files)

    def read(self, path: str) -> bytes:
        """As `LogSource.read`; raises ProofInvalid for a file that is another."""
        data = self._source.read(path)
        if self._files.get(path) != sha256(data).hexdigest():
            raise ProofInvalid(f"{path} was changed: its SHA-256 is not the one in {MANIFEST}")
        self.unread.discard(path)
        return data

    def close(self) -> None:
        """As `LogSource.close`."""
        self._source.close()


def _first(names: set[str]) -> str:
    few = sorted(names)[:3]
    more = f" and {len(names) - len(few)} more" if len(names) > len(few) else ""
    return f"{', '.join(name[:200] for name in few)}{more} {'is' if len(names) == 1 else 'are'}"
