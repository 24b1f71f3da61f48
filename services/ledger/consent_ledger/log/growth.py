"""A tree that grows at its right edge: what it needs of the old tiles, and the new ones it makes.

It keeps the partial tiles of every level and the partial bundle, nothing else: 8 kB a level, and up
to 255 events. Appending hashes each event once, and 256 hashes into one for every full tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from consent_domain import merkle, tiles
from consent_domain.errors import Unreadable
from consent_domain.merkle import HASH_BYTES
from consent_domain.tiles import ENTRIES, HEIGHT, WIDTH, Tile


class Growth:
    """The right edge of a tree of `size` leaves."""

    def __init__(self) -> None:
        """The empty tree."""
        self.size = 0
        self._levels: list[bytes] = []
        self._entries: list[bytes] = []

    @classmethod
    def resume(cls, size: int, read: Callable[[Tile], bytes]) -> Growth:
        """The tree of `size` leaves, its edge read from tiles: two for the events, one a level.

        Raises Unreadable if they cannot be its edge or a bundle does not fit its hashes, and what `read`
        raises. Whether the root is the right one is for the caller to ask.
        """
        growth = cls()
        growth.size = size
        while size >> (HEIGHT * len(growth._levels)):
            level = len(growth._levels)
            count = size >> (HEIGHT * level)
            tile = Tile(level, count // WIDTH, count % WIDTH)
            growth._levels.append(tiles.tile_bytes(tile, read(tile)) if tile.width else b"")
        bundle = Tile(ENTRIES, size // WIDTH, size % WIDTH)
        if bundle.width:
            growth._entries = tiles.decode_entries(read(bundle), bundle.width)
            if tiles.leaf_hashes(growth._entries) != growth._levels[0]:
                raise Unreadable(f"{tiles.path(bundle)} does not fit its hashes")
        return growth

    def add(self, entries: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Append entries; the tiles and bundles that become full, as soon as they do. Consume all of it."""
        done = 0
        while done < len(entries):
            taken = entries[done : done + WIDTH - len(self._entries)]
            done += len(taken)
            self._entries += taken
            self.size += len(taken)
            self._push(0, tiles.leaf_hashes(taken))
            if len(self._entries) == WIDTH:
                bundle, self._entries = self._entries, []
                yield Tile(ENTRIES, self.size // WIDTH - 1, WIDTH), tiles.encode_entries(bundle)
            yield from self._full()

    def edge(self) -> list[tuple[Tile, bytes]]:
        """The partial bundle and the partial tiles, from the lowest level up."""
        found = []
        if self._entries:
            bundle = Tile(ENTRIES, self.size // WIDTH, len(self._entries))
            found.append((bundle, tiles.encode_entries(self._entries)))
        for level, data in enumerate(self._levels):
            if data:
                index = (self.size >> (HEIGHT * level)) // WIDTH
                found.append((Tile(level, index, len(data) // HASH_BYTES), data))
        return found

    def range(self) -> list[bytes]:
        """The compact range of the tree, largest subtree first, as `consent_domain.merkle` has it."""
        hashes: list[bytes] = []
        for nodes in self._levels:
            for _ in range(HEIGHT):
                if len(nodes) // HASH_BYTES % 2:
                    hashes.append(nodes[-HASH_BYTES:])
                nodes = tiles.level_above(nodes)
        hashes.reverse()
        return hashes

    def root(self) -> bytes:
        """The root of the tree."""
        return merkle.root(self.range())

    def _push(self, level: int, hashes: bytes) -> None:
        if level == len(self._levels):
            self._levels.append(b"")
        self._levels[level] += hashes

    def _full(self) -> Iterator[tuple[Tile, bytes]]:
        level = 0
        while level < len(self._levels) and len(self._levels[level]) == WIDTH * HASH_BYTES:
            data, self._levels[level] = self._levels[level], b""
            yield Tile(level, (self.size >> (HEIGHT * level)) // WIDTH - 1, WIDTH), data
            self._push(level + 1, tiles.reduce_tile(data))
            level += 1
