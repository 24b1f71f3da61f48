"""The ledger's HTTP API, as the commands use it: JSON in, JSON out, problems as ConsentError."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec
from consent_domain.errors import STATUS, ConsentError

from consent_gate.answers import CheckAnswer, CheckRequest, encode
from consent_gate.commands.settings import Settings, settings_of

CONNECT_SECONDS_MAX = 5.0
READ_SECONDS_MAX = 30.0
WRITE_SECONDS_MAX = 180.0
HISTORY_PAGE = 1_000
_KEY_HINT = "give a valid API key by --token, CONSENT_TOKEN or a settings file"
_decode_answer = msgspec.json.Decoder(CheckAnswer).decode


class Ledger:
    """One ledger and one API key. A context: it gives its connections back at the end."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.url
        self._client = httpx.Client(
            base_url=settings.url,
            headers={"authorization": f"Bearer {settings.token}"},
            timeout=httpx.Timeout(READ_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def check(self, question: CheckRequest) -> CheckAnswer:
        """The answer to a check. Raises ConsentError if there is none that can be read."""
        content = self._call("POST", "/v1/check", encode(question))
        try:
            return _decode_answer(content)
        except msgspec.MsgspecError as error:
            raise self._strange(f"its answer cannot be read: {error}") from error

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

    def require_feed(self) -> None:
        """Raises ConsentError unless the key may follow the feed: at once; a gate would go on trying."""
        self._call("GET", "/v1/feed/changes", None, {"after": "0", "limit": "1"})

    def health(self) -> dict[str, Any]:
        """What the ledger says of itself, ready or not. Raises ConsentError `unavailable`."""
        try:
            response = self._client.get("/health/ready")
            found: dict[str, Any] = response.json()
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        except ValueError as error:
            raise self._strange("its answer is no JSON") from error
        return found | {"ready": response.status_code == 200}

    def _call(
        self,
        method: str,
        path: str,
        content: bytes | None,
        parameters: dict[str, str] | None = None,
        more_headers: dict[str, str] | None = None,
        seconds_max: float = READ_SECONDS_MAX,
        done: tuple[int, ...] = (200,),
    ) -> bytes:
        """What is answered with a status of `done`: nothing but 200 answers a question."""
        headers = {"content-type": "application/json"} if content is not None else {}
        headers |= more_headers or {}
        timeout = httpx.Timeout(seconds_max, connect=CONNECT_SECONDS_MAX)
        try:
            response = self._client.request(
                method, path, content=content, headers=headers, params=parameters, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise self._silent(error) from error
        if response.status_code in done:
            return response.content
        raise self._refusal(response)

    def _refusal(self, response: httpx.Response) -> ConsentError:
        try:
            problem = response.json()
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            return self._strange(f"it answered {response.status_code}")
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
