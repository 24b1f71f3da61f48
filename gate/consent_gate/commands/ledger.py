"""The ledger's HTTP API, as the commands use it: JSON in, JSON out, problems as ConsentError."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec
from consent_domain.errors import STATUS, ConsentError, Unreadable
from consent_domain.reasons import PERMITTING

from consent_gate.answers import PERMIT, CheckAnswer, CheckRequest, encode
from consent_gate.commands.settings import Settings, settings_of
from consent_gate.deadlines import DeadlineTransport
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.server_client import ANSWERS_ANOTHER, QUESTION_HEADER
from consent_gate.signatures import Verifier, WrongKey, read_page

CONNECT_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 30.0
WRITE_SECONDS_MAX = 180.0
ANSWER_BYTES_MAX = 256 << 20
HISTORY_PAGE = 1_000
_KEY_HINT = "give a valid API key by --token, CONSENT_TOKEN or a settings file"
_decode_answer = msgspec.json.Decoder(CheckAnswer).decode


class Ledger:
    """One ledger and one API key. A context: it gives its connections back at the end."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url
        self._client = httpx.Client(
            base_url=settings.url,
            headers={
                "authorization": f"Bearer {settings.token}",
                "accept-encoding": ACCEPT_ENCODING,
            },
            transport=DeadlineTransport(settings.url),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def check(self, question: CheckRequest) -> CheckAnswer:
        """The answer to a check. Raises ConsentError if there is none that can be read, or it is to another
        question, and for a permit whose reasons do not permit: a shell goes on after it.
        """
        own = secrets.token_hex(16)
        content = self._call("POST", "/v1/check", encode(question), more_headers={QUESTION_HEADER: own})
        try:
            answer = _decode_answer(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._strange(f"its answer cannot be read: {error}") from error
        codes = [reason.code for reason in answer.reasons]
        if answer.decision == PERMIT and (not codes or not PERMITTING.keys() >= set(codes)):
            raise self._strange("it permits for reasons that do not")
        return answer

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON at a path. Raises ConsentError for a refusal, or `unavailable`."""
        try:
            return httpx.Response(200, content=self._call("GET", path, None, parameters)).json()
        except ValueError as error:
            raise self._strange("its answer is no JSON") from error

    def post(self, path: str, content: bytes, headers: dict[str, str]) -> Any:
        """What becomes of a write. Raises as `get` does; large ones may take a minute."""
        answer = self._call("POST", path, content, None, headers, WRITE_SECONDS_MAX, (200, 201))
        try:
            return httpx.Response(200, content=answer).json()
        except ValueError as error:
            raise self._strange("its answer is no JSON") from error

    def history(self, workspace: str) -> Iterator[dict[str, Any]]:
        """Every event of a workspace as the ledger stored it, oldest first. Raises as `get` does."""
        after = "0"
        while after:
            page = self.get(
                f"/v1/workspaces/{quote(workspace, safe='')}/history", after=after, limit=str(HISTORY_PAGE)
            )
            for item in page["events"]:
                yield item["event"]
            after = page.get("next", "")

    def event(self, position: int) -> dict[str, Any] | None:
        """The event at a position, None if the key may not read the log. Raises as `get` does."""
        try:
            event: dict[str, Any] = self.get("/v1/events", after=str(position - 1), limit="1")
        except ConsentError as error:
            if error.code == "forbidden":
                return None
            raise
        return event

    def require_feed(self, feed_key: str = "") -> None:
        """Raises ConsentError unless the API key may follow the feed, and `feed_key`, if it is given, is the
        one that signs it: at once, where a gate would go on trying. `wrong_key` if another key does.
        """
        verifier = Verifier.parse(feed_key) if feed_key else None
        page = self._call("GET", "/v1/feed/changes", None, {"after": "0", "limit": "1"})
        try:
            read_page(page, verifier)
        except WrongKey as error:
            raise ConsentError("wrong_key", error.detail) from error
        except Unreadable as error:
            raise self._strange(f"its feed cannot be read: {error.detail}") from error

    def health(self) -> dict[str, Any]:
        """What the ledger says of itself, ready or not. Raises ConsentError `unavailable`."""
        status, content = self._sent("GET", "/health/ready")
        try:
            found: dict[str, Any] = httpx.Response(status, content=content).json()
        except ValueError as error:
            raise self._strange("its answer is no JSON") from error
        return found | {"ready": status == 200}

    def _call(
        self,
        method: str,
        path: str,
        content: bytes | None,
        parameters: dict[str, str] | None = None,
        more_headers: dict[str, str] | None = None,
        seconds_max: float | None = None,
        done: tuple[int, ...] = (200,),
    ) -> bytes:
        """What is answered with a status of `done`: nothing but 200 answers a question."""
        headers = {"content-type": "application/json"} if content is not None else {}
        headers |= more_headers or {}
        status, answer = self._sent(
            method, path, seconds_max, content=content, headers=headers, params=parameters
        )
        if status in done:
            return answer
        raise self._refusal(status, answer)

    def _sent(
        self, method: str, path: str, seconds_max: float | None = None, **request: Any
    ) -> tuple[int, bytes]:
        """The status and body of the answer, all of it within `seconds_max`, by default those of a read."""
        seconds = READ_SECONDS_MAX if seconds_max is None else seconds_max
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS_MAX))
        try:
            with self._client.stream(method, path, timeout=timeout, **request) as response:
                body = BoundedBody(response.headers, "its answer", ANSWER_BYTES_MAX)
                for part in response.iter_raw():
                    body.add(part)
                own = response.request.headers.get(QUESTION_HEADER)
                echoes = own is None or response.headers.get(QUESTION_HEADER) == own
                if response.status_code == 200 and not echoes:
                    raise self._strange(ANSWERS_ANOTHER)
                return response.status_code, body.whole()
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        except Unreadable as error:
            raise self._strange(error.detail) from error

    def _refusal(self, status: int, content: bytes) -> ConsentError:
        try:
            problem = httpx.Response(status, content=content).json()
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            return self._strange(f"it answered {status}")
        if code not in STATUS:
            return self._strange(f"it answered {code}: {detail}")
        more = {"denied": problem["denied"]} if "denied" in problem else {}
        return ConsentError(code, f"{detail}; {_KEY_HINT}" if code == "unauthenticated" else detail, **more)

    def _silent(self, error: httpx.HTTPError) -> ConsentError:
        why = str(error) or type(error).__name__
        return ConsentError(
            "unavailable", f"nothing answers at {self._url} ({why}); is the ledger running there?"
        )

    def _strange(self, what: str) -> ConsentError:
        return ConsentError("unavailable", f"{self._url} does not speak as a consent ledger does: {what}")


def asking(
    role: str, command: Callable[[Ledger, Settings, argparse.Namespace], int]
) -> Callable[[argparse.Namespace], int]:
    """A command that asks the ledger with a key of `role`, as what its arguments run."""

    def run(options: argparse.Namespace) -> int:
        found = settings_of(options, role)
        with Ledger(found) as ledger:
            return command(ledger, found, options)

    return run
