"""A tar archive as a `LogSource`. Nothing is ever unpacked: members are read where they are.

Archives come from strangers. Only plain files and folders may be in them, under paths that a log has,
each once; a compressed one may grow `EXPANSION_MAX` times, into a nameless temporary file.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from consent_domain.errors import ConsentError, Unreadable

from consent_gate.audit.sources import require_bytes, require_path

EXPANSION_MAX = 200
"""Events compress to a tenth; whatever is 200 times its size is made to fill disks."""
MEMBERS_MAX = 20_000_000
HEADER_BYTES_MAX = 1 << 20
ENDINGS = (".tar", ".tar.gz", ".tgz")

_SLICE = 1 << 20


def is_archive(path: str) -> bool:
    """Whether a file of this name is, or is to be, an archive."""
    return path.endswith(ENDINGS)


class TarSource:
    """A `.tar`, `.tar.gz` or `.tgz`. Raises Unreadable for anything that an export's archive cannot hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _uncompressed(path)
        try:
            self._members = dict(_members(path, self._file))
        except BaseException:
            self._file.close()
            raise

    def read(self, path: str) -> bytes:
        """As `LogSource.read`."""
        found = self._members.get(require_path(path))
        if found is None:
            raise ConsentError("not_found", f"{path} is missing in {self._path}")
        offset, size = found
        require_bytes(path, size)
        data = os.pread(self._file.fileno(), size, offset)
        if len(data) != size:
            raise Unreadable(f"{self._path} is cut off in {path}")
        return data

    def names(self) -> Iterator[str]:
        """The paths of all files."""
        return iter(self._members)

    def close(self) -> None:
        """As `LogSource.close`."""
        self._file.close()


def _uncompressed(path: Path) -> IO[bytes]:
    file = path.open("rb")
    if file.read(2) != b"\x1f\x8b":
        return file
    with file:
        file.seek(0)
        limit = EXPANSION_MAX * max(os.fstat(file.fileno()).st_size, 1)
        target = tempfile.TemporaryFile()
        try:
            with gzip.GzipFile(fileobj=file) as compressed:
                while part := compressed.read(_SLICE):
                    if target.tell() + len(part) > limit:
                        raise Unreadable(f"{path} grows more than {EXPANSION_MAX} times: no export does")
                    target.write(part)
            target.flush()
            return target
        except BaseException as error:
            target.close()
            if isinstance(error, EOFError | gzip.BadGzipFile | zlib.error):
                raise Unreadable(f"{path} cannot be uncompressed: {error}") from error
            if isinstance(error, OSError):
                raise ConsentError("unavailable", f"{path} could not be uncompressed: {error}") from error
            raise


class _Headers:
    """An archive as `tarfile` reads headers: it takes extended ones whole, however long they say they are."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """As a file's. Raises Unreadable for more than HEADER_BYTES_MAX at once."""
        if size > HEADER_BYTES_MAX:
            raise Unreadable(f"{self._path} has a header of {size} bytes: no export's has")
        return self._read(size)


def _members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, tuple[int, int]]]:
    """The paths of the files in an archive, with where each begins and how long it is."""
    seen: set[str] = set()
    end = os.fstat(file.fileno()).st_size
    file.seek(0)
    try:
        headers: Any = _Headers(path, file)  # it has what tarfile uses of a file, and no more
        with tarfile.open(fileobj=headers, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else it keeps every header
                if member.isdir():
                    continue
                name = require_path(member.name.removeprefix("./"))
                if not member.isreg() or member.issparse():
                    raise Unreadable(f"{name} in {path} is no plain file: links are not followed")
                if name in seen or len(seen) == MEMBERS_MAX:
                    raise Unreadable(f"{name} in {path} is there twice, or one of too many")
                if member.size < 0 or member.offset_data + member.size > end:
                    raise Unreadable(f"{path} is cut off in {name}")
                seen.add(name)
                yield name, (member.offset_data, member.size)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise Unreadable(f"{path} is no archive, or is cut off: {error}") from error
