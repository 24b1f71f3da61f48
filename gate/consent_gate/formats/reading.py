"""Where rows are read from: a file, or standard input."""

from __future__ import annotations

import hashlib
import io
import os
import select
import shutil
import stat
import tempfile
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.formats.format import STANDARD, Format

CHUNK_BYTES = 1 << 20
_WAIT_SECONDS_MAX = 1.0


class Source:
    """Bytes that are read once, and digested. A context: it closes what it opened."""

    def __init__(self, path: str, format: Format) -> None:
        """Raises ConsentError `invalid_value` if it cannot be opened."""
        self.path = path
        self.format = format
        self.name = "standard input" if path == STANDARD else path
        try:
            self._file: BinaryIO = open(0 if path == STANDARD else path, "rb", closefd=path != STANDARD)
            self._status = os.fstat(self._file.fileno())
        except OSError as error:
            raise self.unreadable(error.strerror or str(error)) from error
        self._digested = _Digested(self._file if self.is_file else _Pipe(self._file.fileno()))
        self._spooled: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._spooled is not None:
            self._spooled.close()

    @property
    def is_file(self) -> bool:
        """Whether it is a file, whose end is known."""
        return stat.S_ISREG(self._status.st_mode)

    @property
    def identity(self) -> tuple[int, int] | None:
        """Which file it is, whatever it is called; None for what is none."""
        return (self._status.st_dev, self._status.st_ino) if self.is_file else None

    @property
    def bytes_total(self) -> int | None:
        """The bytes there are to be read, if that is known."""
        return self._status.st_size if self.is_file else None

    @property
    def bytes_read(self) -> int:
        """The bytes read so far by `stream`."""
        return self._digested.count

    def stream(self) -> Any:
        """The bytes one after the other, decompressed: something with `read(count)`."""
        compression: Any = self.format.compression
        if not compression:
            return self._digested
        return pa.CompressedInputStream(pa.PythonFile(self._digested, "r"), compression)

    def whole(self) -> Any:
        """The bytes as a file to seek in. What comes by a pipe is put into a temporary one first.

        Raises ConsentError `unavailable` if there is no room for that.
        """
        if self.is_file:
            return self._file
        try:
            self._spooled = tempfile.TemporaryFile(prefix="consent-filter-")
            shutil.copyfileobj(self._digested, self._spooled, CHUNK_BYTES)
            self._spooled.seek(0)
        except OSError as error:
            raise ConsentError(
                "unavailable",
                f"{self.name} does not fit into a temporary file in {tempfile.gettempdir()}: {error}; "
                "name another folder by TMPDIR, or send arrows, which needs none",
            ) from error
        return self._spooled

    def digest(self) -> str:
        """The SHA-256 of all bytes, once they are read. Reads a file that was sought in a second time.

        Raises ConsentError `invalid_value` if the file is not what it was when it was opened.
        """
        if self.is_file and self.format.needs_seeking:
            self._file.seek(0)
            while self._digested.read(CHUNK_BYTES):
                pass
            now = os.fstat(self._file.fileno())
            if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
                raise self.unreadable("somebody wrote to it meanwhile")
        return f"sha256:{self._digested.sha256.hexdigest()}"

    def require_some(self) -> None:
        """Raises ConsentError `invalid_value` if something compressed turned out to have no byte at all."""
        if self.format.compression and not self.bytes_read:
            raise self.unreadable(f"it is empty, and no {self.format.compression}")

    def unreadable(self, why: object) -> ConsentError:
        """The error for content that is not what it should be."""
        return ConsentError("invalid_value", f"{self.name} cannot be read as {self.format.name}: {why}")


class _Pipe:
    """Reads a pipe as a file is read. Whoever wants to stop it need not wait until somebody writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        parts: list[bytes] = []
        while size:
            # A signal that came a moment before the wait is noticed when the wait ends, and not earlier.
            while not select.select([self._descriptor], [], [], _WAIT_SECONDS_MAX)[0]:
                pass
            data = os.read(self._descriptor, size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


class _Digested(io.RawIOBase):
    """Counts and digests what is read through it."""

    def __init__(self, file: BinaryIO | _Pipe) -> None:
        self._file = file
        self.count = 0
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        self.sha256.update(data)
        return data
