"""C2SP tlog-tiles: the tree cut into files of up to 256 hashes, and the entries into bundles.

Tile `n` of level `l` holds the hashes of the perfect subtrees of 256^l leaves number 256·n and on.
A tree of `size` leaves has size // 256^l hashes on level l: full tiles of 256, and a partial one for
the rest, if any. Bundles of entries are cut like the tiles of level 0; in a bundle every entry
follows its length, two bytes, big-endian. A tile never changes; a partial one is replaced by wider
ones at paths of their own:

    tile/0/x001/x234/067        full, level 0, number 1234067
    tile/1/004.p/12             partial, level 1, number 4, 12 hashes wide
    tile/entries/000.p/3        three entries
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from consent_domain.errors import ConsentError, Unreadable
from consent_domain.merkle import HASH_BYTES
from consent_domain.proofs import SIZE_MAX, require_perfect

ENTRIES = -1
"""The level of a bundle of entries."""
WIDTH = 256
HEIGHT = 8
"""Levels of the tree in one tile: 256 = 2^8."""
ENTRY_BYTES_MAX = 0xFFFF
TILES_KEPT = 512
"""Tiles that TileHashes keeps, each with the nodes above its hashes: 16 KiB, 8 MiB together."""

_PATH = re.compile(
    r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


class Tile(NamedTuple):
    """`level` 0–63, or ENTRIES; `index` from 0; `width` 1–256 hashes or entries, 256 being full."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a tile
    width: int


def path(tile: Tile) -> str:
    """Where a log keeps the tile, relative to its prefix. Inverse of `parse`."""
    level = "entries" if tile.level == ENTRIES else str(tile.level)
    number = f"{tile.index % 1000:03}"
    rest = tile.index // 1000
    while rest:
        number = f"x{rest % 1000:03}/{number}"
        rest //= 1000
    partial = "" if tile.width == WIDTH else f".p/{tile.width}"
    return f"tile/{level}/{number}{partial}"


def parse(text: str) -> Tile:
    """The tile that `text` names. Raises ConsentError `not_found` for anything but what `path` writes."""
    found = _PATH.fullmatch(text)
    if found is not None:
        level = ENTRIES if found[1] == "entries" else int(found[1])
        index = int(found[2].replace("/", "").replace("x", ""))
        tile = Tile(level, index, WIDTH if found[3] is None else int(found[3]))
        if path(tile) == text and index * WIDTH <= SIZE_MAX:
            return tile
    raise ConsentError(
        "not_found", f"{text[:100]!r} is no tile; tiles read tile/LEVEL/NUMBER, c2sp.org/tlog-tiles"
    )


def tiles_of(old_size: int, size: int) -> list[Tile]:
    """The bundles and tiles that a tree of `size` leaves has and one of `old_size` has not.

    Bundles come first, then tiles from the lowest level up: whoever writes them in this order has
    always written what a tile is computed from. One tile per 256 new leaves, and a few.
    """
    assert 0 <= old_size <= size, "a log never shrinks"
    wanted = _tiles_of_level(ENTRIES, old_size, size)
    level = 0
    while size:
        wanted += _tiles_of_level(level, old_size, size)
        level, old_size, size = level + 1, old_size // WIDTH, size // WIDTH
    return wanted


def _tiles_of_level(level: int, old_count: int, count: int) -> list[Tile]:
    if old_count == count:
        return []
    full = [Tile(level, index, WIDTH) for index in range(old_count // WIDTH, count // WIDTH)]
    partial = count % WIDTH
    return [*full, Tile(level, count // WIDTH, partial)] if partial else full


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """The bundle of up to 256 entries of at most 65,535 bytes each. Inverse of `decode_entries`."""
    assert 0 < len(entries) <= WIDTH, "a bundle holds 1 to 256 entries"
    return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])


def decode_entries(data: bytes, width: int | None = None) -> list[bytes]:
    """The entries of a bundle; `width` says how many there must be, None any number from 1 to 256.

    Raises Unreadable if the bytes are no such bundle.
    """
    entries: list[bytes] = []
    add = entries.append
    at, end = 0, len(data)
    if end > WIDTH * (2 + ENTRY_BYTES_MAX):
        raise Unreadable(f"a bundle of entries has {end} bytes, more than {WIDTH} entries can")
    while at + 2 <= end:
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1])
        add(data[start:at])
    if at != end:
        raise Unreadable(f"a bundle of entries is cut off in entry {len(entries)}")
    if not (0 < len(entries) <= WIDTH and width in (None, len(entries))):
        raise Unreadable(f"a bundle holds {len(entries)} entries, and {width or '1 to 256'} belong into it")
    return entries


def entry_of(data: bytes, at: int) -> bytes:
    """Entry `at` (from 0) of a bundle, without taking the others out of it.

    Raises Unreadable if the bundle has no such entry. Whether the rest of it is sound is not looked at.
    """
    start, end = 0, len(data)
    for _ in range(at):
        if start + 2 > end:
            break
        start += 2 + (data[start] << 8 | data[start + 1])
    if start + 2 <= end:
        stop = start + 2 + (data[start] << 8 | data[start + 1])
        if stop <= end:
            return data[start + 2 : stop]
    raise Unreadable(f"a bundle of entries is cut off before the end of entry {at}")


def leaf_hashes(entries: Sequence[bytes]) -> bytes:
    """The hashes of the entries, joined: the tile of level 0 that belongs to a bundle."""
    return b"".join([sha256(b"\x00" + entry).digest() for entry in entries])


def level_above(hashes: bytes) -> bytes:
    """The joined hashes one level of the tree above the joined `hashes`; an odd last one has none."""
    whole = len(hashes) - len(hashes) % (2 * HASH_BYTES)
    return b"".join([sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, whole, 64)])


def reduce_tile(data: bytes) -> bytes:
    """The hash of a full tile, which is what stands for it in the tile above. 255 hashes, about 0.15 ms."""
    assert len(data) == WIDTH * HASH_BYTES, "only a full tile has a hash in the tile above"
    while len(data) > HASH_BYTES:
        data = level_above(data)
    return data


class TileHashes:
    """The perfect subtrees of a tree of `size` leaves, read from its tiles. Use as a `Subtree`.

    `read` gives the bytes of a tile that a tree of this size has, and raises what it likes; a full
    tile it may cache for ever. The hashes are those of the tiles, *not verified*: a proof made of them
    is verified against a root, or `VerifiedTree` verifies the tiles. Tiles read before are kept with
    all nodes in them, so that a proof of an inclusion costs one read and 255 hashes per level of tiles
    at worst, and a few slices at best. Raises Unreadable if a tile is shorter or longer than it must be,
    ProofInvalid for a subtree that the tree has not.
    """

    def __init__(self, read: Callable[[Tile], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._nodes_of = lru_cache(TILES_KEPT)(self._load)

    def __call__(self, level: int, index: int) -> bytes:
        require_perfect(level, index, self._size)
        tile_level, height = divmod(level, HEIGHT)
        number, at = divmod(index, WIDTH >> height)
        nodes = self._nodes_of(tile_level, number)[height]
        return nodes[at * HASH_BYTES : (at + 1) * HASH_BYTES]

    def _load(self, level: int, index: int) -> list[bytes]:
        """The joined nodes of a tile, from its hashes up to its root, one level of the tree after another."""
        width = min(WIDTH, (self._size >> (HEIGHT * level)) - index * WIDTH)
        tile = Tile(level, index, width)
        nodes = [tile_bytes(tile, self._read(tile))]
        for _ in range(HEIGHT - 1):
            nodes.append(level_above(nodes[-1]))
        return nodes


def tile_bytes(tile: Tile, data: bytes) -> bytes:
    """`data`, if it is as long as the tile of hashes must be; raises Unreadable otherwise."""
    if len(data) != tile.width * HASH_BYTES:
        raise Unreadable(f"{path(tile)} has {len(data)} bytes and must have {tile.width * HASH_BYTES}")
    return data
