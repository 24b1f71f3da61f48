"""How the people of the story ask: over HTTP, and with the command `consent`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from consent_local.children import ServerError
from consent_local.services import program

ANSWER_SECONDS_MAX = 60.0
UNDECIDED_SECONDS_MAX = 5.0
COMMAND_SECONDS_MAX = 120.0


class Answer(NamedTuple):
    """An HTTP status, the JSON that came with it, and how long it took to come."""

    status: int
    body: Any
    milliseconds: float


class Caller:
    """Somebody with an API key. Keeps one connection, as programs do."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=ANSWER_SECONDS_MAX
        )

    def get(self, path: str) -> Answer:
        """Read. Raises ServerError if nothing answers."""
        return self._send("GET", path, None, "")

    def post(self, path: str, body: object) -> Answer:
        """Write, or ask a check. Raises ServerError if nothing answers."""
        return self._send("POST", path, json.dumps(body).encode(), "application/json")

    def post_lines(self, path: str, lines: Sequence[object]) -> Answer:
        """Write many, a line each. Raises ServerError if nothing answers."""
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return self._send("POST", path, content, "application/x-ndjson")

    def check(self, workspace: str, purpose: str, **more: object) -> dict[str, Any]:
        """The answer to one check, asked again while it is undecided, as a host is that catches up.

        After 5 s it is what it is. Raises ServerError if there is none.
        """
        deadline = time.monotonic() + UNDECIDED_SECONDS_MAX
        while True:
            answer = self.post("/v1/check", {"workspace": workspace, "purpose": purpose, **more})
            if answer.status != 200:
                raise ServerError(f"a check was answered {answer.status}: {answer.body}")
            found: dict[str, Any] = answer.body
            if found["decision"] != "undecided" or time.monotonic() > deadline:
                return found
            time.sleep(0.005)

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _send(self, method: str, path: str, content: bytes | None, media_type: str) -> Answer:
        begun = time.perf_counter()
        headers = {"content-type": media_type} if media_type else {}
        try:
            response = self._client.request(method, path, content=content, headers=headers)
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(f"{method} {path} was not answered: {type(error).__name__} {error}") from error
        return Answer(response.status_code, body, 1000 * (time.perf_counter() - begun))


class Ran(NamedTuple):
    """How a command ended, and what it printed for programs."""

    exit_code: int
    printed: Any


def run_consent(words: Sequence[str], url: str, key: str, replica: Path) -> Ran:
    """Run `consent WORDS --json` as somebody with an API key. Raises ServerError if it prints no JSON."""
    settings = {"CONSENT_URL": url, "CONSENT_TOKEN": key, "CONSENT_REPLICA": str(replica)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_")}
    done = subprocess.run(
        [program("consent"), *words, "--json"],
        env=inherited | settings,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )
    try:
        return Ran(done.returncode, json.loads(done.stdout))
    except ValueError:
        raise ServerError(f"`consent {' '.join(words)}` printed no JSON; it said: {done.stderr}") from None


def make_owner_key(workspace: str, database_url: str) -> str:
    """An API key for the owner of a workspace, made as an operator does. Raises ServerError if none can."""
    words = ["keys", "create", "--role", "owner", "--workspace", workspace, "--name", "the owner in the demo"]
    done = subprocess.run(
        [program("consent-ledger"), *words, "--json"],
        env=os.environ | {"CONSENT_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )
    if done.returncode != 0:
        raise ServerError(f"no key could be made: {done.stderr}")
    key: str = json.loads(done.stdout)["key"]
    return key
