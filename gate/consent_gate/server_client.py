"""Asking the ledger over HTTP: a request out, and the bytes that answer it, or `Undecided`.

Every request carries a random text of its own, and only an answer that carries it back is one: what a
cache kept, or something in between mixed up, is not. A check records nothing, so it may be sent again;
that is done once, and only where the connection broke, as one does that the ledger closed while idle.
However slowly anything comes, all of it ends by when an answer would count no more.
"""

from __future__ import annotations

import os
import secrets
from typing import NamedTuple

import httpx
import msgspec
from consent_domain.errors import Unreadable

from consent_gate.boot import boot_nanoseconds
from consent_gate.deadlines import DeadlineTransport
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.server_answers import Undecided

CONNECT_SECONDS_MAX = 3.0
ANSWER_SECONDS_MAX = 30.0
TRIES_MAX = 2
_BROKEN = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_CODES = {"unauthenticated": "unauthenticated", "forbidden": "forbidden", "overloaded": "overloaded"}
_DETAIL_CHARACTERS_MAX = 300
QUESTION_HEADER = "consent-question"
ANSWERS_ANOTHER = (
    "the answer is to another question: something between here and the ledger keeps answers, or the ledger "
    "is older than this gate"
)
_NANOSECONDS = 1_000_000_000


class Reply(NamedTuple):
    """A body that answers, and when its request was sent (boot clock, ns)."""

    body: bytes
    asked: int


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


_decode_problem = msgspec.json.Decoder(_Problem).decode


class ServerClient:
    """Connections to one ledger, with one API key. May be shared by threads, and survives a fork."""

    def __init__(self, url: str, token: str, seconds_max: float) -> None:
        """`seconds_max` is how long an answer is worth waiting for."""
        self._url = url
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json",
            "accept-encoding": ACCEPT_ENCODING,
            "content-type": "application/json",
        }
        self._seconds_max = min(seconds_max, ANSWER_SECONDS_MAX)
        self._inherited: list[httpx.Client] = []
        """What came through a fork: never used, and never closed, for the parent goes on with its sockets."""
        self._connect()

    def _connect(self) -> None:
        self._client = httpx.Client(
            base_url=self._url,
            headers=self._headers,
            transport=DeadlineTransport(self._url),
            follow_redirects=False,
        )
        self._pid = os.getpid()

    def ask(self, path: str, content: bytes, bytes_max: int) -> Reply:
        """The body of the 200 that answers; it has `bytes_max` at most. Raises Undecided."""
        if self._pid != os.getpid():
            self._inherited.append(self._client)
            self._connect()
        until = boot_nanoseconds() + int(self._seconds_max * _NANOSECONDS)
        for tried in range(1, TRIES_MAX + 1):
            try:
                return self._sent(path, content, bytes_max, until)
            except _BROKEN as error:
                if tried == TRIES_MAX or boot_nanoseconds() >= until:
                    raise _silent(error) from error
            except httpx.HTTPError as error:
                raise _silent(error) from error
            except Unreadable as error:
                raise Undecided("unavailable", error.detail) from error
        raise AssertionError("the last try returns or raises")

    def _sent(self, path: str, content: bytes, bytes_max: int, until: int) -> Reply:
        own = secrets.token_hex(16)
        asked = boot_nanoseconds()
        left = max(0.0, (until - asked) / _NANOSECONDS)
        timeout = httpx.Timeout(left, connect=min(left, CONNECT_SECONDS_MAX))
        with self._client.stream(
            "POST", path, content=content, headers={QUESTION_HEADER: own}, timeout=timeout
        ) as response:
            body = BoundedBody(response.headers, "the answer", bytes_max)
            for part in response.iter_raw():
                body.add(part)
            whole = body.whole()
        if response.status_code != 200:
            raise _refused(response.status_code, whole)
        if response.headers.get(QUESTION_HEADER) != own:
            raise Undecided("unavailable", ANSWERS_ANOTHER)
        return Reply(whole, asked)

    def close(self) -> None:
        """Give the connections back. Idempotent."""
        if self._pid == os.getpid():
            self._client.close()


def _refused(status: int, body: bytes) -> Undecided:
    try:
        problem = _decode_problem(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = _Problem()
    said = "".join(filter(str.isprintable, problem.detail))[:_DETAIL_CHARACTERS_MAX].rstrip(". ")
    if problem.code in _CODES:
        return Undecided(_CODES[problem.code], said)
    if status in (400, 413, 422) and problem.code:
        return Undecided("malformed", said)
    if 300 <= status < 400:
        return Undecided(
            "unavailable", f"it answered {status}, and nobody follows: give the ledger's own address"
        )
    code = problem.code if problem.code.isidentifier() else ""
    return Undecided("unavailable", f"it answered {' '.join(filter(None, [str(status), code, said]))}")


def _silent(error: httpx.HTTPError) -> Undecided:
    return Undecided("unavailable", f"{type(error).__name__}: {error}".rstrip(": "))
