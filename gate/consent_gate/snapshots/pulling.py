"""Fetching a snapshot from its ledger: the note, then the file, in as many pieces as the network leaves it.

    facts.parquet                    there once it is whole and verified, with its note
    .facts.parquet.<sha256>.partial  what came so far, and the note of it
    .facts.parquet.lock              held by the process that fetches; gone when it ends

What was there before stays until the new one takes its place, file first. Nothing the ledger answers
is believed: neither how long it says a file is, nor which bytes it says these are.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import httpx
from consent_domain.errors import STATUS, ConsentError

from consent_gate.deadlines import DeadlineTransport
from consent_gate.signatures import Verifier
from consent_gate.snapshots.note import (
    NOTE_BYTES_MAX,
    NOTE_SUFFIX,
    SnapshotNote,
    note_beside,
    read_note,
    refuse,
    require_bytes,
)

WAIT_SECONDS_MAX = 900.0
"""How long a ledger may take to make a snapshot."""
CONNECT_SECONDS_MAX = 5.0
TRY_SECONDS_MAX = 60.0
"""How long one request may take, whatever comes; the next one goes on where it stopped."""
TRY_BYTES_MIN = 64 * 1024
"""A try that brought less, and not the end, brought nothing: somebody sends a byte now and then."""
TRIES_MAX = 5
"""How often in a row fetching may bring nothing."""
AGAIN_SECONDS = 1.0
_PATH = "/v1/feed/snapshot"
_PART = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and those there will be, None while nobody knows."""


class Pulled(NamedTuple):
    """What was fetched; `resumed` bytes of it were there already."""

    note: SnapshotNote
    resumed: int


def pull(
    url: str, token: str, out: Path, verifier: Verifier | None, resume: bool, progress: Progress
) -> Pulled:
    """Fetch the newest snapshot of the ledger at `url` to `out`, or with `resume` go on with one begun.

    Raises ConsentError `proof_invalid`, `malformed` or `other_origin` for what is not to be believed,
    `unavailable` if it could not be fetched now (what came is kept for `resume`) or written, and what
    the ledger refuses with. What was at `out` is there still then.
    """
    timeout = httpx.Timeout(TRY_SECONDS_MAX, connect=CONNECT_SECONDS_MAX)
    headers = {"authorization": f"Bearer {token}", "accept-encoding": "identity"}
    try:
        with (
            _alone(out),
            httpx.Client(
                base_url=url,
                headers=headers,
                timeout=timeout,
                transport=DeadlineTransport(url),
                follow_redirects=False,
            ) as client,
        ):
            return _Pull(client, out, verifier, progress).run(resume)
    except OSError as error:
        raise ConsentError("unavailable", f"{out} cannot be written: {error.strerror or error}") from error


class _Pull:
    def __init__(
        self, client: httpx.Client, out: Path, verifier: Verifier | None, progress: Progress
    ) -> None:
        self._client = client
        self._out = out
        self._verifier = verifier
        self._progress = progress

    def run(self, resume: bool) -> Pulled:
        begun = self._begun() if resume else None
        if begun is not None:
            with suppress(_Gone):
                return self._fetch(*begun)
        note, data = self._newest()
        for left in self._out.parent.glob(f".{self._out.name}.*.partial*"):
            if not resume or note.sha256 not in left.name:
                left.unlink(missing_ok=True)
        try:
            return self._fetch(note, data)
        except _Gone as error:
            raise ConsentError(
                "unavailable", "the ledger names a snapshot that it does not have; pull again"
            ) from error

    def _begun(self) -> tuple[SnapshotNote, bytes] | None:
        """The note of what was begun last, if it can be gone on with."""
        found = sorted(
            self._out.parent.glob(f".{self._out.name}.*.partial{NOTE_SUFFIX}"),
            key=lambda path: path.stat().st_mtime,
        )
        for path in reversed(found):
            data = path.read_bytes()
            with suppress(ConsentError):
                return read_note(data, self._verifier), data
        return None

    def _newest(self) -> tuple[SnapshotNote, bytes]:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            self._progress(0, None)
            try:
                with self._client.stream("GET", _PATH) as response:
                    data = _body(response, NOTE_BYTES_MAX)
            except httpx.HTTPError as error:
                raise self._silent(error) from error
            if response.status_code == 200:
                return read_note(data, self._verifier), data
            problem = _problem(response, data)
            if not problem.extra.get("beingMade") or time.monotonic() >= deadline:
                raise problem
            time.sleep(AGAIN_SECONDS)

    def _fetch(self, note: SnapshotNote, data: bytes) -> Pulled:
        partial = self._out.with_name(f".{self._out.name}.{note.sha256}.partial")
        note_beside(partial).write_bytes(data)
        with open(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            resumed = min(file.seek(0, os.SEEK_END), note.bytes)
            file.truncate(resumed)
            tries = 0
            while (have := file.seek(0, os.SEEK_END)) < note.bytes:
                failure = self._go_on(file, have, note)
                tries = 0 if file.seek(0, os.SEEK_END) - have >= TRY_BYTES_MIN else tries + 1
                if failure is not None:
                    if tries == TRIES_MAX:
                        raise failure
                    time.sleep(AGAIN_SECONDS)
            try:
                require_bytes(file, note)
            except ConsentError:
                partial.unlink()
                raise
            os.fsync(file.fileno())
        os.replace(partial, self._out)
        os.replace(note_beside(partial), note_beside(self._out))
        return Pulled(note, resumed)

    def _go_on(self, file: BinaryIO, have: int, note: SnapshotNote) -> ConsentError | None:
        """Append what comes; what went wrong, if it may go better next time."""
        path, headers = f"/v1/feed/snapshots/{note.sha256}", {}
        if have:
            headers = {"range": f"bytes={have}-", "if-range": f'"{note.sha256}"'}
        try:
            with self._client.stream("GET", path, headers=headers) as response:
                if response.status_code == 200:
                    file.seek(0)
                    file.truncate()
                elif response.status_code != 206:
                    return self._refused(response)
                elif not _is_rest(response.headers.get("content-range", ""), have, note.bytes):
                    refuse("the ledger answered with another part of it than was asked for")
                for part in response.iter_raw():
                    if file.tell() + len(part) > note.bytes:
                        refuse("more bytes come than are promised")
                    file.write(part)
                    self._progress(file.tell(), note.bytes)
        except httpx.HTTPError as error:
            return self._silent(error)
        return None if file.tell() == note.bytes else self._ended("the answer ended before the file")

    def _refused(self, response: httpx.Response) -> ConsentError:
        problem = _problem(response, _body(response, NOTE_BYTES_MAX))
        if problem.code == "not_found":
            raise _Gone
        if problem.code != "unavailable":
            raise problem
        return problem

    def _silent(self, error: httpx.HTTPError) -> ConsentError:
        return self._ended(str(error) or type(error).__name__)

    def _ended(self, why: str) -> ConsentError:
        return ConsentError(
            "unavailable", f"{self._client.base_url} did not answer to the end ({why}); go on with --resume"
        )


def _is_rest(content_range: str, have: int, size: int) -> bool:
    found = _PART.fullmatch(content_range)
    return found is not None and (int(found[1]), int(found[2])) == (have, size)


class _Gone(Exception):
    """The ledger keeps this snapshot no longer."""


def _body(response: httpx.Response, size_max: int) -> bytes:
    body = b""
    for part in response.iter_raw():
        body += part
        if len(body) > size_max:
            raise ConsentError("malformed", f"the ledger's answer has more than {size_max} bytes")
    return body


def _problem(response: httpx.Response, body: bytes) -> ConsentError:
    try:
        told = httpx.Response(200, content=body).json()
        code, detail = str(told["code"]), str(told["detail"])
        if code in STATUS:
            return ConsentError(code, detail, beingMade=told.get("beingMade") is True)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return ConsentError(
        "unavailable",
        f"{response.url} does not speak as a consent ledger does: it answered {response.status_code}",
    )


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Wait until no other process fetches to the same file. Raises OSError."""
    path = out.with_name(f".{out.name}.lock")
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_there(path, lock):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        finally:
            os.close(lock)


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False  # whoever had it before us took it away
