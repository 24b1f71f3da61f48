"""The Merkle tree of RFC 6962 §2.1 over SHA-256, as far as appending needs it.

A compact range holds the roots of the perfect subtrees that make up the tree, largest
first: one hash for each set bit of the size. Appending a leaf costs amortised two hashes.
"""

from __future__ import annotations

from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def append(size: int, hashes: list[bytes], leaf: bytes) -> int:
    """Append a leaf hash to the compact range `hashes` of a tree of `size`, in place; the new size."""
    assert len(hashes) == size.bit_count(), "a compact range has one hash for each set bit of its size"
    hashes.append(leaf)
    carried = size
    while carried & 1:
        right = hashes.pop()
        hashes.append(node_hash(hashes.pop(), right))
        carried >>= 1
    return size + 1


def root(hashes: list[bytes]) -> bytes:
    """The root of the tree whose compact range is `hashes`; of the empty tree, SHA-256 of nothing."""
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def join(hashes: list[bytes]) -> bytes:
    """A compact range as bytes. Inverse of `split`."""
    return b"".join(hashes)


def split(joined: bytes) -> list[bytes]:
    """The compact range that `joined` holds."""
    assert len(joined) % HASH_BYTES == 0, "a compact range is whole hashes"
    return [joined[start : start + HASH_BYTES] for start in range(0, len(joined), HASH_BYTES)]
