"""`VerifiedTree`: what a checkpoint's root proves of the files of a log, and nothing else of them.

The tiles at the right edge of the tree, the partial ones, fold to the root (RFC 6962 §2.1). Every
full tile folds to a hash in the tile above it. So a tile is believed when it was compared with one
that is believed, from the root downwards; and an entry, when its hash is in a believed tile of level 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.merkle import HASH_BYTES
from consent_domain.proofs import ProofInvalid, inclusion, range_root
from consent_domain.tiles import (
    ENTRIES,
    HEIGHT,
    TILES_KEPT,
    WIDTH,
    Tile,
    TileHashes,
    decode_entries,
    leaf_hashes,
    path,
    reduce_tile,
    tile_bytes,
)

from consent_gate.audit.sources import LogSource


class VerifiedTree:
    """The tree that a checkpoint is about, over the files of `source`.

    Reads the right edge at once; raises ProofInvalid if it does not fold to the root. All else is
    read when it is asked for, and verified then. Whatever is wrong raises ProofInvalid or Unreadable
    with the path of the tile or the position of the event.
    """

    def __init__(self, source: LogSource, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.size = checkpoint.size
        self._source = source
        self._hashes = lru_cache(TILES_KEPT)(self._load)
        self.subtree = TileHashes(lambda tile: self._hashes(tile.level, tile.index), self.size)
        """The perfect subtrees of the tree, verified: a `consent_domain.proofs.Subtree`."""
        if range_root(self.subtree, 0, self.size) != checkpoint.root:
            raise ProofInvalid(
                f"the tiles do not lead to the root that the checkpoint of {checkpoint.name} "
                f"of {self.size} entries names"
            )

    def hashes(self, level: int, index: int) -> bytes:
        """The joined hashes of the tile `index` of `level`, verified."""
        return self._hashes(level, index)

    def tile(self, level: int, index: int) -> Tile:
        """The tile or bundle (`ENTRIES`) with the width that it has in this tree."""
        count = self.size if level == ENTRIES else self.size >> (HEIGHT * level)
        width = min(WIDTH, count - index * WIDTH)
        if index < 0 or width <= 0:
            raise ProofInvalid(f"a tree of {self.size} entries has no tile {index} of level {level}")
        return Tile(level, index, width)

    def bundle(self, index: int) -> list[bytes]:
        """The entries of the bundle `index`, at positions from 256 · index + 1, verified.

        About 1.5 µs an entry. An entry that is not in the tree raises ProofInvalid with its position.
        """
        tile = self.tile(ENTRIES, index)
        data, width = self._read(tile)
        try:
            entries = decode_entries(data, width)
        except Unreadable as error:
            raise Unreadable(f"{path(tile)}: {error.detail}") from error
        entries = entries[: tile.width]
        expected = self._hashes(0, index)
        found = leaf_hashes(entries)
        if found != expected:
            at = next(n for n in range(0, len(expected), HASH_BYTES) if found[n:][:32] != expected[n:][:32])
            position = index * WIDTH + at // HASH_BYTES + 1
            raise ProofInvalid(
                f"event {position} in {path(tile)} is not what the log signed: its hash is not in the tree",
                position=position,
            )
        return entries

    def bundles(self, first: int, last: int) -> Iterator[tuple[int, list[bytes]]]:
        """The entries `first` to `last`, verified, in runs: the position of the first, and they."""
        self.require_position(first)
        self.require_position(last)
        for index in range((first - 1) // WIDTH, (last - 1) // WIDTH + 1):
            begin = index * WIDTH + 1
            entries = self.bundle(index)
            skipped = max(first - begin, 0)
            yield begin + skipped, entries[skipped : last - begin + 1]

    def entries(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Position and bytes of the entries `first` to `last`, verified."""
        for begin, entries in self.bundles(first, last):
            yield from enumerate(entries, begin)

    def root_of(self, size: int) -> bytes:
        """The root that the first `size` entries have: what an earlier checkpoint of this log must name."""
        if not 0 <= size <= self.size:
            raise ProofInvalid(f"a tree of {self.size} entries has no first {size}")
        return range_root(self.subtree, 0, size)

    def inclusion(self, position: int) -> list[bytes]:
        """The proof that the event at `position` is in the tree."""
        self.require_position(position)
        return inclusion(self.subtree, position - 1, 0, self.size)

    def require_position(self, position: int) -> None:
        """Raise ConsentError `not_found` or `beyond_checkpoint` unless the tree has this position."""
        if position < 1:
            raise ConsentError("not_found", f"there is no event {position}: positions count from 1")
        if position > self.size:
            raise ConsentError(
                "beyond_checkpoint",
                f"event {position} is not covered: the checkpoint covers 1 to {self.size}",
            )

    def _load(self, level: int, index: int) -> bytes:
        tile = self.tile(level, index)
        data, width = self._read(tile)
        data = tile_bytes(tile._replace(width=width), data)[: tile.width * HASH_BYTES]
        if tile.width < WIDTH:
            # The right edge: believed once it has folded to the root, before which nobody else is asked.
            return data
        place, above = index % WIDTH * HASH_BYTES, self._hashes(level + 1, index // WIDTH)
        if reduce_tile(data) != above[place : place + HASH_BYTES]:
            raise ProofInvalid(f"{path(tile)} does not fold to its hash in the tile above")
        return data

    def _read(self, tile: Tile) -> tuple[bytes, int]:
        """A tile's file and how wide it is: logs may drop partial tiles once the full one is there."""
        try:
            return self._source.read(path(tile)), tile.width
        except ConsentError as error:
            if error.code != "not_found" or tile.width == WIDTH:
                raise
            missing = error
        try:
            return self._source.read(path(tile._replace(width=WIDTH))), WIDTH
        except ConsentError as error:
            if error.code != "not_found":
                raise
            raise missing from None
