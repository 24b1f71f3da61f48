"""Lines of text in blocks, and lines that stay, byte for byte as they came."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import compress
from typing import Any, NamedTuple

import pyarrow as pa

from consent_gate.formats.blocks import Block
from consent_gate.formats.reading import CHUNK_BYTES, Source
from consent_gate.formats.writing import Target

RECORD_BYTES_MAX = 64 << 20
"""A longer record is a quote that was never closed, or no text of lines at all."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Lines(NamedTuple):
    """Whole lines with their ends, as they came, and the number of the first; `text` is all of them."""

    first: int
    lines: list[bytes]
    text: bytes


class Text:
    """The lines of a source of UTF-8. `head` is what stands before the first: a byte order mark, if any."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._stream = source.stream()
        self._rest = self._read()
        self.head = BYTE_ORDER_MARK if self._rest.startswith(BYTE_ORDER_MARK) else b""
        self._rest = self._rest[len(self.head) :]
        self._number = 1

    def blocks(self) -> Iterator[Lines]:
        """Some megabyte of lines at a time; the last line of all may have no end.

        Raises ConsentError `invalid_value` for what is not UTF-8, a line that never ends, and a compressed
        source that is cut off or damaged.
        """
        while True:
            chunk = self._read()
            end = chunk.rfind(b"\n") + 1
            if chunk and not end:
                self._rest += chunk
                if len(self._rest) > RECORD_BYTES_MAX:
                    raise self.fault(self._number, f"the line is longer than {RECORD_BYTES_MAX >> 20} MiB")
                continue
            text, self._rest = (self._rest + chunk[:end], chunk[end:]) if chunk else (self._rest, b"")
            if text:
                self._require_utf8(text)
                lines = io.BytesIO(text).readlines()
                yield Lines(self._number, lines, text)
                self._number += len(lines)
            if not chunk:
                self.source.require_some()
                return

    def fault(self, number: int, why: object) -> Exception:
        """The error for a line that cannot be read."""
        return self.source.unreadable(f"line {number}: {why}")

    def _read(self) -> bytes:
        try:
            data: bytes = self._stream.read(CHUNK_BYTES)
        except (OSError, pa.ArrowException) as error:
            raise self.source.unreadable(error) from error
        return data

    def _require_utf8(self, text: bytes) -> None:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            number = self._number + text.count(b"\n", 0, error.start)
            raise self.fault(
                number, "it is not UTF-8; convert it, for example with iconv -t utf-8"
            ) from error

    def done(self) -> tuple[int, int | None, str]:
        """See `Reader`."""
        return self.source.bytes_read, self.source.bytes_total, "bytes"


class TextWriter:
    """Writes records as they came, behind what stands before all of them."""

    def __init__(self, target: Target, head: bytes) -> None:
        self._file: Any = target.file
        self._file.write(head)

    def write(self, block: Block, mask: pa.BooleanArray) -> None:
        """See `Writer`."""
        self._file.write(b"".join(compress(block.rows, mask.to_pylist())))

    def close(self) -> None:
        """Text has no end of its own."""
