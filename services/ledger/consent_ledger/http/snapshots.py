"""Snapshots over HTTP: the note of the newest, and files that are fetched in ranges (RFC 9110 §14)."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import BinaryIO, NamedTuple, TypeVar

from consent_domain.errors import ConsentError
from consent_gate.snapshots.note import MEDIA_TYPE

from consent_ledger.http.calls import Answer, Call

FILE_TYPE = "application/vnd.apache.parquet"
_Read = TypeVar("_Read")
_PART_BYTES = 1 << 18
_RANGE = re.compile(rb"bytes *= *([0-9]{0,19}) *- *([0-9]{0,19})")
_IMMUTABLE = "private, max-age=31536000, immutable"


class FileAnswer(NamedTuple):
    """A status, headers beside the content's type, and the body in parts."""

    status: int
    headers: dict[str, str]
    parts: AsyncIterator[bytes]


async def newest(call: Call) -> Answer:
    """The note of a snapshot that is new enough. Raises as `Snapshots.newest` does."""
    note = await call.worker.snapshots.newest()
    return Answer(200, note, [(b"cache-control", b"no-store")], MEDIA_TYPE)


async def file(call: Call) -> FileAnswer:
    """A snapshot, or the range of it that is asked for. It never changes.

    Several ranges, or a range of what `If-Range` says is another file, are answered with all of it. Raises
    ConsentError `not_found`, `range_not_satisfiable`, and as `Snapshots.path_of` does.
    """
    worker, sha256 = call.worker, call.path["sha256"]
    path = await worker.snapshots.path_of(sha256)
    try:
        opened: BinaryIO = await _apart(worker.files, path.open, "rb")
    except OSError as error:
        raise ConsentError("not_found", "this snapshot was just replaced by a newer one") from error
    size = os.fstat(opened.fileno()).st_size
    tag = f'"{sha256}"'
    headers = {"etag": tag, "accept-ranges": "bytes", "cache-control": _IMMUTABLE}
    try:
        first, end = _range_of(call, tag.encode(), size) or (0, size)
    except ConsentError:
        opened.close()
        raise
    headers["content-length"] = str(end - first)
    is_part = (first, end) != (0, size)
    if is_part:
        headers["content-range"] = f"bytes {first}-{end - 1}/{size}"
    return FileAnswer(206 if is_part else 200, headers, _parts(worker.files, opened, first, end))


def _range_of(call: Call, tag: bytes, size: int) -> tuple[int, int] | None:
    """The first byte and the end of the one range asked for; None for the whole."""
    asked = _RANGE.fullmatch(call.headers.get(b"range", b"").strip())
    if asked is None or call.headers.get(b"if-range", tag) != tag:
        return None
    first, last = asked.groups()
    if not first and not last:
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < start:
        return None  # not a range at all
    if start >= size:
        raise ConsentError("range_not_satisfiable", f"the file has {size} bytes", bytes=size)
    return start, end


async def _parts(files: Executor, opened: BinaryIO, first: int, end: int) -> AsyncIterator[bytes]:
    with opened:
        while first < end:
            part = await _apart(files, os.pread, opened.fileno(), min(_PART_BYTES, end - first), first)
            if not part:
                return  # cut by somebody: who asked gets fewer bytes than were promised, and notices
            first += len(part)
            yield part


async def _apart(files: Executor, read: Callable[..., _Read], *arguments: object) -> _Read:
    return await asyncio.get_running_loop().run_in_executor(files, read, *arguments)
