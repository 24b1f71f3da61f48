"""Bodies of HTTP answers, taken from strangers: never more bytes in memory than the body may have.

What the HTTP library unpacks by itself has no bound: a kilobyte that was compressed twice becomes a
gigabyte before its size can be looked at. So bodies are read as they were sent, and unpacked here.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from consent_domain.errors import Unreadable

ACCEPT_ENCODING = "gzip"
"""The one coding that is unpacked; every client here asks for it."""

_GZIP = 31  # for zlib: the largest window, and gzip's header


class BoundedBody:
    """The body of an answer, fed with its raw parts."""

    def __init__(self, headers: Mapping[str, str], what: str, size_max: int) -> None:
        """`headers` by lower-case name; `what` is being read, in messages.

        Raises Unreadable for a coding that nobody asked for.
        """
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ACCEPT_ENCODING):
            raise Unreadable(f"{what} came in the coding {coding[:40]!r}, which nobody asked for")
        self._unpack = zlib.decompressobj(_GZIP) if coding == ACCEPT_ENCODING else None
        self._what = what
        self._size_max = size_max
        self._body = bytearray()

    def add(self, part: bytes) -> None:
        """Take the next part. Raises Unreadable if the body has more bytes than it may, or is no gzip."""
        room = self._size_max - len(self._body) + 1
        try:
            self._body += part if self._unpack is None else self._unpack.decompress(part, room)
        except zlib.error as error:
            raise Unreadable(f"{self._what} cannot be uncompressed: {error}") from error
        if len(self._body) > self._size_max:
            raise Unreadable(f"{self._what} has more than {self._size_max} bytes")

    def whole(self) -> bytes:
        """The body, once all parts are in. Raises Unreadable if it was cut off."""
        if self._unpack is not None and not self._unpack.eof:
            raise Unreadable(f"{self._what} is cut off")
        return bytes(self._body)
