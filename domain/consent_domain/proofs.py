"""Proofs of RFC 6962 §2.1 over any subtree, made and checked.

A *subtree* is the tree over the leaves [start, end) of a log, where `start` is a multiple of the
smallest power of two that is no less than end − start (draft-ietf-plants-merkle-tree-certs,
"Subtrees"). A whole tree of n leaves is the subtree [0, n), so that everything RFC 6962 knows is
the case start = 0. The empty subtree is consistent with every tree, by the empty proof.

What makes proofs asks for *perfect* subtrees only, named by level and index: the subtree
(level, index) holds the leaves [index · 2^level, (index + 1) · 2^level). Any store that keeps
hashes in tiles can answer that; roots of other ranges are folded from O(log n) of them.

What checks proofs is given by strangers. It loops at most `PROOF_HASHES_MAX` times, never
recurses, and raises nothing but ProofInvalid, whatever the numbers and the bytes are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from consent_domain.errors import ConsentError
from consent_domain.merkle import EMPTY_ROOT, HASH_BYTES, node_hash, root

SIZE_MAX = (1 << 63) - 1
"""Leaves of the largest tree that the text formats can write."""
PROOF_HASHES_MAX = 64
"""An inclusion proof has at most one hash per level of the tree, a consistency proof one more."""

Subtree = Callable[[int, int], bytes]
"""(level, index) → the hash of that perfect subtree; raises what its store raises."""


class ProofInvalid(ConsentError):
    """A proof that does not prove what it should, or a range that no proof can be about."""

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__("proof_invalid", detail, **extra)


def is_subtree(start: int, end: int) -> bool:
    """Whether [start, end) is a subtree: no further down than up, within bounds and aligned."""
    if not 0 <= start <= end <= SIZE_MAX:
        return False
    return start == end or start % (1 << (end - start - 1).bit_length()) == 0


def range_root(subtree: Subtree, start: int, end: int) -> bytes:
    """The hash of the subtree [start, end); of an empty one, SHA-256 of nothing.

    Asks for one perfect subtree for each set bit of end − start. Raises ProofInvalid if the range
    is no subtree.
    """
    _require_subtree(start, end)
    hashes = []
    while start < end:
        level = (end - start).bit_length() - 1
        hashes.append(subtree(level, start >> level))
        start += 1 << level
    return root(hashes)


def inclusion(subtree: Subtree, index: int, start: int, end: int) -> list[bytes]:
    """The proof that leaf `index` is in the subtree [start, end), from the leaf upwards.

    RFC 6962 §2.1.1, PATH(index − start, D[start:end]). Asks for O(log n) perfect subtrees. Raises
    ProofInvalid if the range is no subtree or `index` is not in it.
    """
    _require_within(index, start, end)
    proof = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_root(subtree, middle, end))
            end = middle
        else:
            proof.append(range_root(subtree, start, middle))
            start = middle
    proof.reverse()
    return proof


def consistency(subtree: Subtree, start: int, end: int, size: int) -> list[bytes]:
    """The proof that the subtree [start, end) is part of the tree of `size` leaves.

    SUBTREE_PROOF of draft-ietf-plants-merkle-tree-certs; with start = 0 it is PROOF(end, D[size])
    of RFC 6962 §2.1.2. Asks for O(log n) perfect subtrees. Raises ProofInvalid if the range is no
    subtree or reaches beyond the tree.
    """
    _require_part(start, end, size)
    if start == end:
        return []
    low, high, known = 0, size, True
    proof = []
    # [low, high) shrinks around [start, end) until they are one; `known` as long as whoever checks
    # has the hash of what is left of the range.
    while (low, high) != (start, end):
        middle = low + _split(high - low)
        if end <= middle:
            proof.append(range_root(subtree, middle, high))
            high = middle
            continue
        proof.append(range_root(subtree, low, middle))
        if start < middle:
            start, known = middle, False
        low = middle
    if not known:
        proof.append(range_root(subtree, low, high))
    proof.reverse()
    return proof


def root_of_inclusion(leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes]) -> bytes:
    """The hash that the subtree [start, end) has if `leaf` is the hash of its leaf `index`.

    Raises ProofInvalid if `proof` cannot be one for these numbers: too long, too short, no hashes.
    RFC 9162 §2.1.3.2, whose names fn and sn are `at` and `last` here.
    """
    _require_within(index, start, end)
    _require_hashes(proof, leaf)
    at, last, computed = index - start, end - start - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid(f"the proof has hashes left over: {len(proof)} for {end - start} leaves")
        if at & 1 or at == last:
            computed = node_hash(sibling, computed)
            while not at & 1:
                at, last = at >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofInvalid(f"the proof is too short: {len(proof)} hashes for {end - start} leaves")
    return computed


def verify_inclusion(
    leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], expected: bytes
) -> None:
    """Return if `leaf` is leaf `index` of the subtree [start, end) whose hash is `expected`."""
    if root_of_inclusion(leaf, index, start, end, proof) != expected:
        raise ProofInvalid(f"the proof does not lead from leaf {index} to the root of [{start}, {end})")


def verify_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, expected: bytes
) -> None:
    """Return if the subtree [start, end) with hash `subtree_root` is part of the tree of `size` leaves.

    `expected` is that tree's root. Raises ProofInvalid otherwise. An empty subtree has the hash of
    nothing and needs no proof; then nothing at all is learnt about `expected`.
    draft-ietf-plants-merkle-tree-certs, "Verifying a subtree consistency proof"; its fn, sn and tn are
    `first`, `last` and `top` here, its fr and sr `part` and `whole`.
    """
    _require_part(start, end, size)
    _require_hashes(proof, subtree_root, expected)
    if size == 0 and expected != EMPTY_ROOT:
        raise ProofInvalid("the root of an empty tree is the hash of nothing, and this one is another")
    if start == end:
        if proof or subtree_root != EMPTY_ROOT:
            raise ProofInvalid("an empty tree has the hash of nothing and is consistent by an empty proof")
        return
    first, last, top = start, end - 1, size - 1
    while first != last and (last == top or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    # Where the subtree is a node of the tree, its own hash starts the way up and is not in the proof.
    hashes = [subtree_root, *proof] if first == last else list(proof)
    if not hashes:
        raise ProofInvalid("the proof of consistency is empty")
    part = whole = hashes[0]
    for sibling in hashes[1:]:
        if top == 0:
            raise ProofInvalid(f"the proof has hashes left over: {len(proof)} to a tree of {size} leaves")
        if last & 1 or last == top:
            if first < last:
                part = node_hash(sibling, part)
            whole = node_hash(sibling, whole)
            while not last & 1:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            whole = node_hash(whole, sibling)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top != 0:
        raise ProofInvalid(f"the proof is too short: {len(proof)} hashes to a tree of {size} leaves")
    if part != subtree_root:
        raise ProofInvalid(f"the proof does not contain the tree [{start}, {end}) with this root")
    if whole != expected:
        raise ProofInvalid(f"the proof does not lead to the root of the tree of {size} leaves")


class Leaves:
    """The perfect subtrees over leaf hashes that are in memory; each is computed once and kept.

    Use as a `Subtree`. Raises ProofInvalid for a subtree that reaches beyond the leaves.
    """

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._hashes = hashes
        self._kept: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        require_perfect(level, index, len(self._hashes))
        return self._hash(level, index)

    def _hash(self, level: int, index: int) -> bytes:
        if level == 0:
            return self._hashes[index]
        kept = self._kept.get((level, index))
        if kept is None:
            # As deep as the tree is high, 63 at most.
            kept = node_hash(self._hash(level - 1, 2 * index), self._hash(level - 1, 2 * index + 1))
            self._kept[level, index] = kept
        return kept


def require_perfect(level: int, index: int, size: int) -> None:
    """Raise ProofInvalid unless a tree of `size` leaves has the perfect subtree (level, index)."""
    if not (0 <= level < SIZE_MAX.bit_length() and 0 <= index and (index + 1) << level <= size):
        raise ProofInvalid(f"a tree of {size} leaves has no perfect subtree {index} of level {level}")


def _split(count: int) -> int:
    """The largest power of two smaller than `count` (≥ 2), where RFC 6962 splits a tree."""
    return 1 << ((count - 1).bit_length() - 1)


def _require_subtree(start: int, end: int) -> None:
    if not is_subtree(start, end):
        raise ProofInvalid(f"[{start}, {end}) is no subtree: wrong order, out of bounds or not aligned")


def _require_within(index: int, start: int, end: int) -> None:
    _require_subtree(start, end)
    if not start <= index < end:
        raise ProofInvalid(f"leaf {index} is not in [{start}, {end})")


def _require_part(start: int, end: int, size: int) -> None:
    _require_subtree(start, end)
    if not end <= size <= SIZE_MAX:
        raise ProofInvalid(f"[{start}, {end}) is no part of a tree of {size} leaves")


def _require_hashes(proof: Sequence[bytes], *others: bytes) -> None:
    if len(proof) > PROOF_HASHES_MAX:
        raise ProofInvalid(f"a proof has at most {PROOF_HASHES_MAX} hashes, not {len(proof)}")
    if any(len(hash_) != HASH_BYTES for hash_ in (*others, *proof)):
        raise ProofInvalid(f"every hash has {HASH_BYTES} bytes, and one of these has not")
