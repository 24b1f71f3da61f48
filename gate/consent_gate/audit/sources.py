"""Where the files of a log are: `LogSource`, and the folder, archive or address that holds them.

Paths are relative to the log's prefix: `checkpoint`, `tile/0/000`, `tile/entries/000.p/3`; an export
has `manifest.json`, `keys.json`, `README.md` and `policies/SHA-256` beside them. Nothing that is
read here is believed: `trees` and `verify` do that.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
from consent_domain.errors import STATUS, ConsentError, Unreadable
from consent_domain.merkle import HASH_BYTES
from consent_domain.notes import NOTE_BYTES_MAX
from consent_domain.tiles import ENTRY_BYTES_MAX, WIDTH

from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody

BUNDLE_BYTES_MAX = WIDTH * (2 + ENTRY_BYTES_MAX)
FILE_BYTES_MAX = 512 * 1024 * 1024
"""Of a file that is no tile: the manifest of an export of a thousand million events has less."""
CHECKPOINT, WITNESSED = "checkpoint", "checkpoint.witnessed"
POLICIES = "policies/"
"""What lies below it is the words of policies and notices, each named by its SHA-256."""
CONNECT_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 30.0
ATTEMPTS = 4
"""Of one request, half a second, a second, two seconds apart: a ledger that restarts ends no export."""

WRONG_CODES = ("proof_invalid", "quarantined", "malformed")
"""Of errors that say: it was checked, and is bad."""

_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_LOG_URL = re.compile(r"(https?://.+?)(/log(?:/[1-9][0-9]{0,9})?)/?")
_PREFIX = re.compile(r"/log(?:/[1-9][0-9]{0,9})?")


class LogSource(Protocol):
    """The files of a log. The implementer gives whole files or raises, and follows nothing out of it."""

    def read(self, path: str) -> bytes:
        """The bytes of a file, at most `bytes_max(path)`.

        Raises ConsentError `not_found` if there is none, `unavailable`, `unauthenticated` or `forbidden`
        if it could not be had, Unreadable if it cannot be one of a log: a link, or too large.
        """

    def close(self) -> None:
        """Give back what is open."""


def bytes_max(path: str) -> int:
    """How many bytes a file of a log may have."""
    if path.startswith("tile/entries/"):
        return BUNDLE_BYTES_MAX
    if path.startswith("checkpoint"):
        return NOTE_BYTES_MAX
    return WIDTH * HASH_BYTES if path.startswith("tile/") else FILE_BYTES_MAX


def require_path(path: str) -> str:
    """`path` itself if it can only lead to a file inside; raises Unreadable otherwise."""
    if len(path) > 200 or _PATH.fullmatch(path) is None:
        raise Unreadable(f"{path[:200]!r} is no path of a file of a log")
    return path


def require_bytes(path: str, size: int) -> None:
    """Raise Unreadable for a file that is larger than it can be."""
    if size > bytes_max(path):
        raise Unreadable(f"{path} has {size} bytes, and {bytes_max(path)} is the most it can have")


class FolderSource:
    """A folder. No symbolic link in it is followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def read(self, path: str) -> bytes:
        """As `LogSource.read`."""
        *folders, name = require_path(path).split("/")
        inner = self._root
        try:
            for folder in folders:
                outer, inner = inner, _open_inside(inner, folder, os.O_DIRECTORY)
                self._leave(outer)
            file = _open_inside(inner, name, os.O_NONBLOCK)
        except FileNotFoundError:
            raise ConsentError("not_found", f"{path} is missing in {self._folder}") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                said = f"{path} in {self._folder} is behind a link or a file: links are not followed"
                raise Unreadable(said) from error
            said = f"{path} in {self._folder} cannot be opened: {error.strerror}"
            raise ConsentError("unavailable", said) from error
        finally:
            self._leave(inner)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise Unreadable(f"{path} in {self._folder} is no file")
            require_bytes(path, found.st_size)
            with os.fdopen(file, "rb", closefd=False) as opened:
                return opened.read(found.st_size)
        finally:
            os.close(file)

    def names(self) -> Iterator[str]:
        """The paths of all files. Raises Unreadable for anything that is neither file nor folder."""
        for folder, folders, files in os.walk(self._folder, followlinks=False):
            here = os.path.relpath(folder, self._folder)
            for name in (*folders, *files):
                path = name if here == "." else f"{here}/{name}"
                mode = os.lstat(os.path.join(folder, name)).st_mode
                if stat.S_ISREG(mode):
                    yield path
                elif not stat.S_ISDIR(mode):
                    raise Unreadable(f"{path[:200]!r} in {self._folder} is no file: links are not followed")

    def _leave(self, folder: int) -> None:
        if folder != self._root:
            os.close(folder)

    def close(self) -> None:
        """As `LogSource.close`."""
        os.close(self._root)


def _open_inside(folder: int, name: str, flags: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)


class HttpSource:
    """A live log. `url` is a ledger's, then its newest epoch is read, or ends with `/log` or `/log/EPOCH`.

    Checkpoint and hash tiles are public; `token` is an API key, which entries need. A request that
    fails for a passing reason is tried `ATTEMPTS` times.
    """

    def __init__(self, url: str, token: str = "") -> None:
        found = _LOG_URL.fullmatch(url)
        self._url = (found[1] if found else url).rstrip("/")
        headers = {"accept-encoding": ACCEPT_ENCODING}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(READ_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            follow_redirects=False,
        )
        self.has_token = bool(token)
        self._prefix: str | None = found[2] if found else None

    @property
    def prefix(self) -> str:
        """Below which path of the ledger the log is served. Raises as `LogSource.read` does."""
        if self._prefix is None:
            prefix = self.about().get("prefix")
            if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
                raise _strange(self._url, "it does not say where its log is")
            self._prefix = prefix
        return self._prefix

    def read(self, path: str) -> bytes:
        """As `LogSource.read`. The words of policies and notices are the ledger's, not one epoch's log's."""
        if path.startswith(POLICIES):
            return self.get(f"/v1/texts/{require_path(path).removeprefix(POLICIES)}", bytes_max(path))
        return self.get(f"{self.prefix}/{require_path(path)}", bytes_max(path))

    def about(self) -> dict[str, Any]:
        """What the ledger says of its log: origin, epoch, prefix, keys. Nothing of it is proven."""
        content = self.get("/v1/log", 1 << 20)
        try:
            found = httpx.Response(200, content=content).json()
        except ValueError as error:
            raise _strange(self._url, "its answer is no JSON") from error
        if not isinstance(found, dict):
            raise _strange(self._url, "its answer is no object")
        return found

    def get(self, path: str, size_max: int) -> bytes:
        """What the ledger answers at `path`, of at most `size_max` bytes. Raises as `LogSource.read` does."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(2.0 ** (attempt - 2))
            try:
                return self._get(path, size_max)
            except ConsentError as error:
                if error.code not in ("unavailable", "overloaded", "stale") or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt raises")

    def _get(self, path: str, size_max: int) -> bytes:
        try:
            with self._client.stream("GET", self._url + path) as response:
                body = _bounded(response, path, size_max)
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise ConsentError("unavailable", f"nothing answers at {self._url} ({why})") from error
        if status == 200:
            return body
        raise _refusal(self._url, path, status, body)

    def close(self) -> None:
        """As `LogSource.close`."""
        self._client.close()


def _bounded(response: httpx.Response, path: str, size_max: int) -> bytes:
    body = BoundedBody(response.headers, path, size_max)
    for part in response.iter_raw():
        body.add(part)
    return body.whole()


def _refusal(url: str, path: str, status: int, body: bytes) -> ConsentError:
    try:
        problem = httpx.Response(status, content=body).json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        code, detail = "", ""
    if code in STATUS:
        # What a ledger answers to a request is no finding about its log: those are made here.
        code = "invalid_value" if code in WRONG_CODES else code
        return ConsentError(code, f"{path} at {url}: {detail}")
    if status == 404:
        return ConsentError("not_found", f"there is no {path} at {url}")
    return _strange(url, f"it answered {status} to {path}")


def _strange(url: str, what: str) -> ConsentError:
    return ConsentError("unavailable", f"{url} does not speak as a consent ledger does: {what}")
