"""Tiles: their paths, which of them a tree has, their bytes, and the same hashes as from the leaves."""

from __future__ import annotations

from hashlib import sha256

import pytest
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.merkle import HASH_BYTES, leaf_hash
from consent_domain.proofs import Leaves, ProofInvalid, consistency, inclusion, range_root
from consent_domain.tiles import (
    ENTRIES,
    ENTRY_BYTES_MAX,
    WIDTH,
    Tile,
    TileHashes,
    decode_entries,
    encode_entries,
    leaf_hashes,
    parse,
    path,
    reduce_tile,
    tiles_of,
)
from hypothesis import given
from hypothesis import strategies as some

LARGEST = 65537 + 256
HASHES = [sha256(number.to_bytes(4, "big")).digest() for number in range(LARGEST)]
TREE = Leaves(HASHES)
SIZES = [1, 2, 3, 255, 256, 257, 511, 512, 513, 65535, 65536, 65537, LARGEST]

PATHS = [
    ("tile/0/000", Tile(0, 0, 256)),
    ("tile/0/x001/x234/067", Tile(0, 1234067, 256)),
    ("tile/0/x001/x234/067.p/12", Tile(0, 1234067, 12)),
    ("tile/1/004.p/255", Tile(1, 4, 255)),
    ("tile/63/999.p/1", Tile(63, 999, 1)),
    ("tile/entries/x001/000", Tile(ENTRIES, 1000, 256)),
    ("tile/entries/000.p/3", Tile(ENTRIES, 0, 3)),
]


def store(size: int) -> dict[Tile, bytes]:
    """The tiles of hashes of a tree of `size` leaves."""
    return {
        tile: b"".join(TREE(8 * tile.level, WIDTH * tile.index + at) for at in range(tile.width))
        for tile in tiles_of(0, size)
        if tile.level != ENTRIES
    }


@pytest.mark.parametrize(("text", "tile"), PATHS)
def test_given_a_tile_then_its_path_is_that_of_the_specification_and_back(text: str, tile: Tile) -> None:
    assert path(tile) == text
    assert parse(text) == tile


@given(some.integers(ENTRIES, 63), some.integers(0, (1 << 55) - 1), some.integers(1, WIDTH))
def test_given_any_tile_then_its_path_is_read_back(level: int, index: int, width: int) -> None:
    assert parse(path(Tile(level, index, width))) == Tile(level, index, width)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/64/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/x001/x234/67",
        "tile/0/001/002",
        "tile/0/x001",
        "/tile/0/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/000 ",
        "tile/٠/000",
        "tile/0/٠٠٠",
        "tile/0/../000",
        "TILE/0/000",
        "tile/0/X001/000",
        "tile/entries",
        "tile/data/000",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x001/" * 1000 + "000",
    ],
)
def test_given_any_other_path_then_it_is_not_found(text: str) -> None:
    with pytest.raises(ConsentError) as refused:
        parse(text)
    assert refused.value.code == "not_found"


def test_given_70000_leaves_then_the_tiles_are_those_of_the_specification() -> None:
    tiles = tiles_of(0, 70_000)
    assert [tile for tile in tiles if tile.level == 1] == [Tile(1, 0, 256), Tile(1, 1, 17)]
    assert [tile for tile in tiles if tile.level == 2] == [Tile(2, 0, 1)]
    for level in (0, ENTRIES):
        assert [tile for tile in tiles if tile.level == level] == [
            *(Tile(level, index, 256) for index in range(273)),
            Tile(level, 273, 112),
        ]
    assert tiles_of(0, 256)[-1] == Tile(1, 0, 1)


@given(some.integers(0, 1 << 18), some.integers(0, 3000))
def test_given_a_tree_that_grew_then_its_new_tiles_are_those_that_the_old_one_had_not(
    old: int, more: int
) -> None:
    new = tiles_of(old, old + more)
    assert len(set(new)) == len(new)
    if old < 1 << 13:
        assert set(new) == set(tiles_of(0, old + more)) - set(tiles_of(0, old))
    assert len(new) <= 2 * (more // WIDTH + 2) + 6


def test_given_trees_that_grow_one_by_one_then_together_they_write_every_tile_that_is_ever_needed() -> None:
    seen: set[Tile] = set()
    for size in range(1, 1000):
        seen.update(tiles_of(size - 1, size))
        assert set(tiles_of(0, size)) <= seen


@pytest.mark.parametrize("size", SIZES)
def test_given_the_tiles_of_a_tree_then_every_kind_of_proof_from_them_is_that_from_the_leaves(
    size: int,
) -> None:
    tiles = store(size)
    from_tiles = TileHashes(tiles.__getitem__, size)
    assert range_root(from_tiles, 0, size) == range_root(TREE, 0, size)
    for index in {0, 1, size // 3, size // 2, size - 1, min(255, size - 1), min(256, size - 1)} & set(
        range(size)
    ):
        assert inclusion(from_tiles, index, 0, size) == inclusion(TREE, index, 0, size)
    for old in {0, 1, size // 3, size // 2, size - 1, size, min(256, size), min(257, size)}:
        assert consistency(from_tiles, 0, old, size) == consistency(TREE, 0, old, size)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 513])
def test_given_the_tiles_of_a_tree_then_every_perfect_subtree_is_that_of_the_leaves_and_no_other_exists(
    size: int,
) -> None:
    from_tiles = TileHashes(store(size).__getitem__, size)
    for level in range(11):
        for index in range(size >> level):
            assert from_tiles(level, index) == TREE(level, index)
        with pytest.raises(ProofInvalid):
            from_tiles(level, size >> level)
    for level, index in ((0, -1), (-1, 0), (1 << 40, 0)):
        with pytest.raises(ProofInvalid):
            from_tiles(level, index)


def test_given_a_tree_then_a_tile_is_read_once() -> None:
    tiles, read = store(65537), list[Tile]()
    from_tiles = TileHashes(lambda tile: read.append(tile) or tiles[tile], 65537)  # type: ignore[func-returns-value]
    for index in range(512):
        inclusion(from_tiles, index, 0, 65537)
    assert len(read) == len(set(read)) and len(read) <= 6


@pytest.mark.parametrize("size", [3, 256, 300])
def test_given_a_tile_that_is_cut_or_too_long_then_it_is_unreadable(size: int) -> None:
    for spoil in (b"", b"\0" * HASH_BYTES, b"\0" * (HASH_BYTES * size - 1), b"\0" * (HASH_BYTES * WIDTH + 1)):
        with pytest.raises(Unreadable, match="tile/0/000"):
            TileHashes(lambda tile, spoil=spoil: spoil, size)(0, 0)  # type: ignore[misc]


def test_given_a_full_tile_then_its_root_stands_for_it_one_level_up() -> None:
    tiles = store(65536)
    assert reduce_tile(tiles[Tile(0, 7, 256)]) == tiles[Tile(1, 0, 256)][7 * HASH_BYTES : 8 * HASH_BYTES]
    assert reduce_tile(tiles[Tile(1, 0, 256)]) == tiles[Tile(2, 0, 1)] == TREE(16, 0)


@given(some.lists(some.binary(max_size=300), min_size=1, max_size=WIDTH))
def test_given_entries_then_a_bundle_gives_them_back_and_hashes_to_the_tile(entries: list[bytes]) -> None:
    data = encode_entries(entries)
    assert decode_entries(data) == decode_entries(data, len(entries)) == entries
    assert leaf_hashes(entries) == b"".join(map(leaf_hash, entries))
    with pytest.raises(Unreadable):
        decode_entries(data, len(entries) + 1)
    for cut in {1, len(data) // 2, len(data) - 1} - {0, len(data)}:
        try:
            assert decode_entries(data[:cut]) == entries[: len(decode_entries(data[:cut]))]
        except Unreadable:
            continue


def test_given_the_largest_entries_then_they_fit_and_a_bundle_has_big_endian_lengths() -> None:
    assert decode_entries(encode_entries([b"x" * ENTRY_BYTES_MAX, b""])) == [b"x" * ENTRY_BYTES_MAX, b""]
    assert encode_entries([b"a" * 258, b"b"])[:3] == b"\x01\x02a"


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\1", b"\0\2a", b"\0\1a\0", b"\0\0" * 257])
def test_given_no_bundle_then_it_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_entries(data)
