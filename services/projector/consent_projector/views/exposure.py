"""`views.exposure`: whose data each run used, by containers of 65,536 ordinals.

A run names its set by a hash; the set itself lies in the ledger beside the events. One that is not
there, or cannot be read, is kept as the container `UNKNOWN`: the run may have used anybody's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from consent_domain.envelope import decode
from consent_domain.events import RunRegistered
from pyroaring import BitMap, BitMap64

from consent_projector.seams import Changes, Fault, Row, View
from consent_projector.stored import Stored

CONTAINER_BITS = 16
UNKNOWN = -1
SIZE_MAX = 16_000_000
"""A set that claims more is not read: a few bytes may stand for billions."""
SPARSE_MAX = 4_096
DENSE_BYTES = 8_192
_STREAM = "run/"


def keys(events: Sequence[Stored]) -> tuple[list[str], ...]:
    """The hashes of the sets that `events` name."""
    return (list({body.set_sha256 for _, body in _registered(events, [])}),)


def fold(rows: Iterable[Row], events: Iterable[Stored]) -> Changes:
    """Rows (container, run, position of the registration, dense, bits). `rows` are sets: (hash, bytes)."""
    sets = {cast(str, digest): cast(bytes, data) for digest, data in rows}
    faults: list[Fault] = []
    changed: dict[tuple[int, str], Row] = {}
    for stored, body in _registered(events, faults):
        run = stored.stream.partition("/")[2]
        try:
            parts = list(containers(sets[body.set_sha256]))
        except (LookupError, ValueError) as error:
            faults.append(Fault(stored.position, stored.stream, f"its set: {type(error).__name__}: {error}"))
            parts = [(UNKNOWN, False, b"")]
        for container, dense, bits in parts:
            changed[container, run] = (container, run, stored.position, dense, bits)
    return Changes(list(changed.values()), faults)


def containers(data: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """(container, whether dense, bits) of a set, as the table has them (`0007_runs.sql`).

    Raises ValueError or IndexError for bytes that are no such bitmap: pyroaring looks at all of it before
    anybody uses it.
    """
    ordinals = BitMap64.deserialize(data)
    if len(ordinals) > SIZE_MAX:
        raise ValueError(f"it names {len(ordinals)} ordinals of at most {SIZE_MAX}")
    low: list[int] = []
    container = UNKNOWN
    for ordinal in ordinals:
        if ordinal >> CONTAINER_BITS != container:
            if low:
                yield container, *dense_or_sparse(low)
            low, container = [], ordinal >> CONTAINER_BITS
        low.append(ordinal & 0xFFFF)
    if low:
        yield container, *dense_or_sparse(low)


def dense_or_sparse(low: list[int]) -> tuple[bool, bytes]:
    """Whether a container is dense, and its bits."""
    if len(low) <= SPARSE_MAX:
        return False, BitMap(low).serialize()
    bits = bytearray(DENSE_BYTES)
    for one in low:
        bits[one >> 3] |= 1 << (one & 7)
    return True, bytes(bits)


def _registered(events: Iterable[Stored], faults: list[Fault]) -> Iterator[tuple[Stored, RunRegistered]]:
    for stored in events:
        if not stored.stream.startswith(_STREAM):
            continue
        try:
            body = decode(stored.body).body
        except Exception as error:  # one event must not hold up all others
            faults.append(Fault(stored.position, stored.stream, f"{type(error).__name__}: {error}"))
            continue
        if isinstance(body, RunRegistered):
            yield stored, body


EXPOSURE = View(
    "exposure", ("container", "run", "position", "dense", "bits"), keys, fold, splits=False, reads_beside=True
)
