"""The message `consent.v1.committed`: what one commit recorded, byte for byte, for our own consumers.

It is a hint: messages may be missing, repeated or late. A consumer applies one whose `first` is
the position it waits for, in its epoch, and reads PostgreSQL otherwise. A commit too large for one
message is several, each complete in itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from consent_domain.errors import Unreadable
from consent_domain.facts import Packed

MESSAGE_BYTES_MAX = 512 * 1024
"""Half of what a NATS server takes by default."""
_FRAME_BYTES = 8
"""More than the length before each body takes."""
_encode = msgspec.msgpack.Encoder().encode


class Committed(Packed, frozen=True):
    """Bodies recorded at positions `first`, `first + 1` and on. They are the bytes that were hashed."""

    origin: str
    epoch: int
    first: int
    bodies: Sequence[bytes]

    @property
    def last(self) -> int:
        """The position of the last body."""
        return self.first + len(self.bodies) - 1


_decode = msgspec.msgpack.Decoder(Committed).decode


def encode_committed(batch: Committed, bytes_max: int = MESSAGE_BYTES_MAX) -> Iterator[bytes]:
    """The messages of a batch, in order, each of about `bytes_max` bytes at most. No body, no message."""
    start, size = 0, 0
    for index, body in enumerate(batch.bodies):
        length = len(body) + _FRAME_BYTES
        if size and size + length > bytes_max:
            yield _message(batch, start, index)
            start, size = index, 0
        size += length
    if size:
        yield _message(batch, start, len(batch.bodies))


def _message(batch: Committed, start: int, end: int) -> bytes:
    return _encode(Committed(batch.origin, batch.epoch, batch.first + start, batch.bodies[start:end]))


def decode_committed(message: bytes) -> Committed:
    """The batch that a message holds. Raises Unreadable for anything else: pass it over, read PostgreSQL."""
    try:
        batch = _decode(message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the bytes are no committed batch: {error}") from error
    if batch.first < 1 or not batch.bodies:
        raise Unreadable("a committed batch begins at 1 or later, and is not empty")
    return batch
