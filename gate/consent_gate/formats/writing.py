"""Where rows are written to: a file that is there if and only if it is complete, or standard output.

A file's rows go to another name beside it, which takes its place when all is on the disk. Standard output
cannot be taken back: whoever reads it must look at the exit code. After `abandon` nothing more is written,
so that no writer that is closed can put an end to what has none: no footer, no trailer.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.durable import sync_folder
from consent_gate.formats.format import STANDARD, Format
from consent_gate.formats.reading import Source

_BUFFER_BYTES = 1 << 20


class Target:
    """Bytes that are written once, and digested. A context: what was not kept at its end never was."""

    def __init__(self, path: str, format: Format) -> None:
        """Raises ConsentError `invalid_value` if it cannot be written."""
        self.path = path
        self.format = format
        self.name = "standard output" if path == STANDARD else path
        self._kept = False
        self._partial: Path | None = None
        try:
            if path == STANDARD:
                descriptor = os.dup(1)
            else:
                self._partial = partial_of(Path(path))
                descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise self.unwritable(error.strerror) from error
        self._bytes = _Digesting(descriptor)
        self.file: Any = self._bytes
        compression: Any = format.compression
        if compression:
            self.file = pa.CompressedOutputStream(pa.PythonFile(self._bytes, "w"), compression)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self.abandon()
        self._bytes.release()
        if self._partial is not None:
            self._partial.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Write nothing more, whoever tries."""
        self._bytes.abandoned = True

    def finish(self) -> str:
        """Put everything where it stays, under the other name yet; the SHA-256 of it. Raises OSError."""
        if self.format.compression:
            self.file.close()
        self._bytes.settle(to_disk=self._partial is not None)
        return f"sha256:{self._bytes.sha256.hexdigest()}"

    def keep(self) -> None:
        """What `finish` has put there takes its name. Raises ConsentError `invalid_value` if it is taken."""
        if self._partial is not None:
            try:
                _name(self._partial, Path(self.path))
            except OSError as error:
                raise self.unwritable(error.strerror) from error
        self._kept = True

    def unwritable(self, why: object) -> ConsentError:
        """The error for a place that takes no rows."""
        return ConsentError("invalid_value", f"{self.name} cannot be written: {why}")


class _Digesting(io.RawIOBase):
    """Digests what is written through it. Writers may close it as they like: it ends with `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._position = 0
        self.sha256 = hashlib.sha256()
        self.abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        self._position += size
        if not self.abandoned:
            self._waiting += data
            if len(self._waiting) >= _BUFFER_BYTES:
                self._send()
        return size

    def tell(self) -> int:
        return self._position

    def settle(self, to_disk: bool) -> None:
        """Nothing waits any more. Raises OSError."""
        self._send()
        if to_disk:
            os.fsync(self._descriptor)

    def release(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)

    def flush(self) -> None:
        """Arrow flushes on its own; what counts is `settle`."""

    def close(self) -> None:
        """Writers close what they write to; this waits for `settle`."""

    def _send(self) -> None:
        with memoryview(self._waiting) as waiting:
            sent = 0
            while sent < len(waiting):
                sent += os.write(self._descriptor, waiting[sent:])
            self.sha256.update(waiting)
        self._waiting.clear()


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that is there as a whole or not at all. Raises ConsentError `invalid_value`."""
    partial = partial_of(path)
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _name(partial, path)
    except OSError as error:
        raise ConsentError("invalid_value", f"{path} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _name(partial: Path, path: Path) -> None:
    """Give a file its name, for good; the old one is the caller's to remove.

    Of two jobs that write to one name, the second must not take the place of the first unseen, which a
    renaming does; where there are no links, a look before it must do.
    Raises ConsentError `invalid_value` if the name is taken, and OSError.
    """
    try:
        os.link(partial, path)
    except FileExistsError:
        require_absent(path)
        raise
    except OSError:
        require_absent(path)
        partial.rename(path)
    sync_folder(path.parent)


def partial_of(path: Path) -> Path:
    """The name that a file has as long as it is not complete."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def require_absent(path: Path) -> None:
    """Raises ConsentError `invalid_value` if anything is at `path`."""
    if os.path.lexists(path):
        raise ConsentError("invalid_value", f"{path} is there already; name another file, or say --overwrite")


def make_way(source: Source, path: str, overwrite: bool) -> None:
    """A target of an earlier job is gone before this one begins: it may hold rows that are denied by now.

    Raises ConsentError `invalid_value` for a target that is the source, under whatever name, or cannot be.
    """
    target = Path(path)
    try:
        found = os.fstat(1) if path == STANDARD else target.stat()
    except OSError:
        found = None
    if found is not None and source.identity == (found.st_dev, found.st_ino):
        raise ConsentError("invalid_value", "a file cannot be filtered into itself; name another target")
    if path == STANDARD:
        return
    if not target.parent.is_dir():
        raise ConsentError(
            "invalid_value", f"the folder {target.parent} of the target is not there; make it first"
        )
    if overwrite and target.is_file():
        target.unlink()
    require_absent(target)
