"""Proofs: the known answers of the standards, every proof verifies, and nothing beside it does."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from consent_domain import merkle
from consent_domain.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash, node_hash
from consent_domain.proofs import (
    PROOF_HASHES_MAX,
    SIZE_MAX,
    Leaves,
    ProofInvalid,
    consistency,
    inclusion,
    is_subtree,
    range_root,
    root_of_inclusion,
    verify_consistency,
    verify_inclusion,
)
from hypothesis import given
from hypothesis import strategies as some

LEAVES = [leaf_hash(bytes([number])) for number in range(130)]
TREE = Leaves(LEAVES)
VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "rfc6962"

needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the vectors are not here: ../shared/data/rfc6962 is absent"
)


def subtrees(size: int) -> Iterator[tuple[int, int]]:
    """Every subtree of a tree of `size` leaves, empty ones included, by end and then start."""
    return ((start, end) for end in range(size + 1) for start in range(end + 1) if is_subtree(start, end))


def digest(lines: Iterator[str]) -> str:
    return sha256("".join(lines).encode()).hexdigest()


def written(head: str, proof: list[bytes]) -> str:
    return " ".join([head, *(hash_.hex() for hash_ in proof)]) + "\n"


# --- Known answers: draft-ietf-plants-merkle-tree-certs, "Subtree Test Vectors" ----------------------------


def test_given_130_leaves_then_the_hash_of_every_subtree_is_the_known_one() -> None:
    lines = (f"[{start}, {end}) {range_root(TREE, start, end).hex()}\n" for start, end in subtrees(130))
    assert digest(lines) == "b82806ad4265bb151c1119c0f4db437bb4d1a1f887b3a7fba1cd4ebf552e3e81"


def test_given_130_leaves_then_every_inclusion_proof_is_the_known_one() -> None:
    lines = (
        written(f"{index} [{start}, {end})", inclusion(TREE, index, start, end))
        for start, end in subtrees(130)
        for index in range(start, end)
    )
    assert digest(lines) == "ac2a8f989e44d99e399db448050ff5f19757df53cfb716aa81015d3955d8163f"


def test_given_130_leaves_then_every_consistency_proof_is_the_known_one() -> None:
    lines = (
        written(f"[{start}, {end}) {size}", consistency(TREE, start, end, size))
        for size in range(131)
        for start, end in subtrees(size)
    )
    assert digest(lines) == "10fa99b37bf9bf9ffa26b412fbd98bd75363256d0b75d61bc4538b9c9c5a0a74"


# --- Known answers: transparency-dev/merkle ----------------------------------------------------------------


def vectors(kind: str) -> list[Any]:
    files = sorted((VECTORS / kind).rglob("*.json"))
    return [pytest.param(file, id=str(file.relative_to(VECTORS).with_suffix(""))) for file in files]


def hashes_of(vector: dict[str, Any]) -> list[bytes]:
    return [b64decode(hash_) for hash_ in vector["proof"] or []]


def judge(vector: dict[str, Any], verify: Any, *arguments: object) -> None:
    if vector["wantErr"]:
        with pytest.raises(ProofInvalid):
            verify(*arguments)
    else:
        verify(*arguments)


@needs_vectors
@pytest.mark.parametrize("file", vectors("inclusion"))
def test_given_a_published_inclusion_proof_then_it_is_judged_as_published(file: Path) -> None:
    vector = json.loads(file.read_bytes())
    leaf, root = b64decode(vector["leafHash"] or ""), b64decode(vector["root"] or "")
    judge(vector, verify_inclusion, leaf, vector["leafIdx"], 0, vector["treeSize"], hashes_of(vector), root)


@needs_vectors
@pytest.mark.parametrize("file", vectors("consistency"))
def test_given_a_published_consistency_proof_then_it_is_judged_as_published(file: Path) -> None:
    vector = json.loads(file.read_bytes())
    roots = b64decode(vector["root1"] or ""), b64decode(vector["root2"] or "")
    if file.stem == "sizes-are-equal-one-and-proof-is-empty":
        # The one good vector whose roots are ten characters and no hashes, which we refuse to compare.
        roots = sha256(roots[0]).digest(), sha256(roots[1]).digest()
    judge(vector, verify_consistency, 0, vector["size1"], vector["size2"], hashes_of(vector), *roots)


@needs_vectors
def test_given_the_published_vectors_then_good_and_bad_ones_are_among_them() -> None:
    wanted = [json.loads(file.read_bytes())["wantErr"] for file in VECTORS.rglob("*.json")]
    assert wanted.count(False) >= 10 and wanted.count(True) >= 150


# --- Whatever is proved verifies ---------------------------------------------------------------------------


def test_given_a_log_that_grows_then_its_compact_range_and_its_subtrees_have_the_same_roots() -> None:
    size, hashes = 0, list[bytes]()
    for leaf in LEAVES:
        assert merkle.root(hashes) == range_root(TREE, 0, size)
        size = merkle.append(size, hashes, leaf)
    assert merkle.root(hashes) == range_root(TREE, 0, size)


def test_given_every_subtree_of_70_leaves_then_every_leaf_in_it_is_proved() -> None:
    for start, end in subtrees(70):
        root = range_root(TREE, start, end)
        for index in range(start, end):
            verify_inclusion(LEAVES[index], index, start, end, inclusion(TREE, index, start, end), root)


def test_given_every_tree_up_to_70_leaves_then_every_subtree_is_proved_to_be_part_of_it() -> None:
    for size in range(71):
        root = range_root(TREE, 0, size)
        for start, end in subtrees(size):
            proof = consistency(TREE, start, end, size)
            verify_consistency(start, end, size, proof, range_root(TREE, start, end), root)


class Sparse:
    """The perfect subtrees of the largest tree there can be, invented as they are asked for, and counted."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, level: int, index: int) -> bytes:
        assert 0 <= index and (index + 1) << level <= SIZE_MAX, (
            "only perfect subtrees of the tree are asked for"
        )
        self.asked += 1
        return sha256(f"{level} {index}".encode()).digest()


@given(some.integers(1, SIZE_MAX), some.data())
def test_given_a_huge_tree_then_a_proof_asks_for_few_hashes_and_fits_in_the_limit(
    size: int, data: some.DataObject
) -> None:
    store = Sparse()
    index, end = data.draw(some.integers(0, size - 1)), data.draw(some.integers(0, size))
    assert len(inclusion(store, index, 0, size)) <= size.bit_length() < PROOF_HASHES_MAX
    assert len(consistency(store, 0, end, size)) <= PROOF_HASHES_MAX
    assert store.asked <= 4 * size.bit_length()


# --- Nothing beside it does --------------------------------------------------------------------------------


class Inclusion(NamedTuple):
    leaf: bytes
    position: int
    start: int
    end: int
    proof: list[bytes]
    root: bytes


class Consistency(NamedTuple):
    start: int
    end: int
    size: int
    proof: list[bytes]
    part: bytes
    root: bytes


@some.composite
def inclusions(draw: some.DrawFn) -> Inclusion:
    start, end = draw(some.sampled_from([(s, e) for s, e in subtrees(130) if s < e]))
    index = draw(some.integers(start, end - 1))
    proof = inclusion(TREE, index, start, end)
    return Inclusion(LEAVES[index], index, start, end, proof, range_root(TREE, start, end))


@some.composite
def consistencies(draw: some.DrawFn) -> Consistency:
    size = draw(some.integers(1, 130))
    start, end = draw(some.sampled_from([(s, e) for s, e in subtrees(size) if s < e]))
    proof = consistency(TREE, start, end, size)
    return Consistency(start, end, size, proof, range_root(TREE, start, end), range_root(TREE, 0, size))


def flipped(draw: some.DataObject, hash_: bytes) -> bytes:
    bit = draw.draw(some.integers(0, 8 * HASH_BYTES - 1))
    changed = bytearray(hash_)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def spoiled(data: some.DataObject, proof: list[bytes]) -> list[bytes]:
    """The proof with one hash flipped, dropped, added, cut, or exchanged with another that differs."""
    spoil = data.draw(some.sampled_from(["flip", "drop", "add", "cut", "swap"] if proof else ["add"]))
    at = data.draw(some.integers(0, max(0, len(proof) - 1)))
    changed = list(proof)
    if spoil == "flip":
        changed[at] = flipped(data, changed[at])
    elif spoil == "drop":
        del changed[at]
    elif spoil == "cut":
        changed[at] = changed[at][:-1]
    elif spoil == "swap" and len(proof) > 1:
        other = at - 1
        changed[at], changed[other] = changed[other], changed[at]
    else:
        changed.insert(at, data.draw(some.sampled_from([EMPTY_ROOT, LEAVES[0], *proof])))
    return changed


@given(inclusions(), some.data())
def test_given_an_inclusion_proof_with_a_hash_changed_then_it_is_refused(
    good: Inclusion, data: some.DataObject
) -> None:
    verify_inclusion(*good)
    changed = spoiled(data, good.proof)
    with pytest.raises(ProofInvalid):
        verify_inclusion(*good._replace(proof=changed))


@given(inclusions(), some.data())
def test_given_an_inclusion_proof_of_another_leaf_place_or_root_then_it_is_refused(
    good: Inclusion, data: some.DataObject
) -> None:
    other_index = data.draw(some.integers(-2, 140).filter(lambda index: index != good.position))
    for changed in (
        good._replace(leaf=flipped(data, good.leaf)),
        good._replace(root=flipped(data, good.root)),
        good._replace(position=other_index),
        good._replace(leaf=good.leaf + b"\0"),
        good._replace(root=b""),
    ):
        with pytest.raises(ProofInvalid):
            verify_inclusion(*changed)


@given(inclusions(), some.data())
def test_given_an_inclusion_proof_for_another_size_then_it_is_refused_or_has_the_very_same_shape(
    good: Inclusion, data: some.DataObject
) -> None:
    """An index has the same way up in trees of several sizes: only the root, which is signed with the
    size, tells them apart. Then it is the true root of the true size that the proof leads to."""
    end = data.draw(some.integers(-1, 140).filter(lambda end: end != good.end))
    try:
        root = root_of_inclusion(good.leaf, good.position, good.start, end, good.proof)
    except ProofInvalid:
        return
    if end <= 130 and root == good.root:
        assert len(inclusion(TREE, good.position, good.start, end)) == len(good.proof)
        assert range_root(TREE, good.start, end) != good.root


@given(consistencies(), some.data())
def test_given_a_consistency_proof_with_a_hash_changed_then_it_is_refused(
    good: Consistency, data: some.DataObject
) -> None:
    verify_consistency(*good)
    changed = spoiled(data, good.proof)
    with pytest.raises(ProofInvalid):
        verify_consistency(*good._replace(proof=changed))


@given(consistencies(), some.data())
def test_given_a_consistency_proof_for_other_roots_or_another_size_then_it_is_refused(
    good: Consistency, data: some.DataObject
) -> None:
    size = data.draw(some.integers(1, 130).filter(lambda size: size != good.size))
    others = [
        s for s in subtrees(good.size) if s[0] < s[1] and consistency(TREE, *s, good.size) != good.proof
    ]
    start, end = data.draw(some.sampled_from(others or [(0, good.size + 1)]))
    for changed in (
        good._replace(part=flipped(data, good.part)),
        good._replace(root=flipped(data, good.root)),
        good._replace(size=size, root=range_root(TREE, 0, size)),
        good._replace(start=start, end=end, part=range_root(TREE, start, min(end, good.size))),
    ):
        with pytest.raises(ProofInvalid):
            verify_consistency(*changed)


NUMBERS = some.integers() | some.sampled_from([-1, 0, 1, SIZE_MAX, SIZE_MAX + 1, 1 << 64, 1 << 200])
HASHES = (
    some.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)
    | some.sampled_from(LEAVES)
    | some.binary(max_size=40)
)


@given(HASHES, NUMBERS, NUMBERS, NUMBERS, some.lists(HASHES, max_size=70), HASHES)
def test_given_any_numbers_and_bytes_then_only_proof_invalid_is_raised(
    hash_: bytes, first: int, second: int, third: int, proof: list[bytes], root: bytes
) -> None:
    with pytest.raises(ProofInvalid):
        verify_inclusion(hash_, first, second, third, proof, root + b"\0")
    with pytest.raises(ProofInvalid):
        verify_consistency(first, second, third, proof, hash_, root + b"\0" * HASH_BYTES)
    for make in (inclusion, consistency):
        if not 0 <= max(first, second, third) <= SIZE_MAX:
            with pytest.raises(ProofInvalid):
                make(Sparse(), first, second, third)


def test_given_more_hashes_than_any_proof_has_then_it_is_refused_before_they_are_looked_at() -> None:
    proof = [b"no hash at all"] * (PROOF_HASHES_MAX + 1)
    with pytest.raises(ProofInvalid, match="at most 64 hashes"):
        verify_inclusion(LEAVES[0], 0, 0, SIZE_MAX, proof, EMPTY_ROOT)
    with pytest.raises(ProofInvalid, match="at most 64 hashes"):
        verify_consistency(0, 1, SIZE_MAX, proof, EMPTY_ROOT, EMPTY_ROOT)


# --- The empty tree ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 130])
def test_given_the_empty_tree_then_it_is_consistent_with_every_tree_by_the_empty_proof(size: int) -> None:
    assert consistency(TREE, 0, 0, size) == []
    verify_consistency(0, 0, size, [], EMPTY_ROOT, range_root(TREE, 0, size))


def test_given_the_empty_tree_then_another_root_or_any_hash_is_refused() -> None:
    for size, proof, part, root in (
        (1, [], LEAVES[0], LEAVES[0]),
        (1, [EMPTY_ROOT], EMPTY_ROOT, LEAVES[0]),
        (0, [], EMPTY_ROOT, LEAVES[0]),
        (0, [], LEAVES[0], LEAVES[0]),
    ):
        with pytest.raises(ProofInvalid):
            verify_consistency(0, 0, size, proof, part, root)


def test_given_the_empty_tree_then_no_leaf_is_in_it() -> None:
    with pytest.raises(ProofInvalid):
        verify_inclusion(LEAVES[0], 0, 0, 0, [], LEAVES[0])
    with pytest.raises(ProofInvalid):
        inclusion(TREE, 0, 0, 0)


# --- Ranges and leaves -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "answer"),
    [
        (0, 0, True),
        (5, 5, True),
        (4, 8, True),
        (4, 7, True),
        (4, 6, True),
        (6, 8, True),
        (0, 130, True),
        (2, 6, False),
        (4, 9, False),
        (1, 3, False),
        (3, 2, False),
        (-2, 0, False),
        (-1, -1, False),
        (0, SIZE_MAX, True),
        (0, SIZE_MAX + 1, False),
        (SIZE_MAX + 1, SIZE_MAX + 1, False),
    ],
)
def test_given_a_range_then_it_is_a_subtree_if_it_is_aligned(start: int, end: int, answer: bool) -> None:
    assert is_subtree(start, end) is answer


def test_given_leaves_then_a_subtree_that_reaches_beyond_them_is_refused() -> None:
    three = Leaves(LEAVES[:3])
    assert three(1, 0) == node_hash(LEAVES[0], LEAVES[1])
    for level, index in ((0, 3), (1, 1), (2, 0), (0, -1), (-1, 0), (63, 0), (1 << 70, 0)):
        with pytest.raises(ProofInvalid):
            three(level, index)
