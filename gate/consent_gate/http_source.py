"""The ledger's feed over HTTP: `GET /v1/feed/changes?after=TOKEN`, which waits up to a second for changes.

What answers may be anything: another service, a proxy's page, somebody who wants to be listened to for
ever. So every body has a size that it may have, every request an end, and a redirect leads nowhere.
And an answer counts only for its own question: a page that something on the way had kept would be taken for
as young as the question is.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from urllib.parse import quote

import msgspec
from consent_domain.errors import Unreadable
from consent_domain.feed import MEDIA_TYPE, PAGE_BYTES_MAX, Page
from consent_domain.identifiers import Token

from consent_gate.boot import boot_nanoseconds
from consent_gate.connection import Answer, Broken, Connection
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.server_client import ANSWERS_ANOTHER, QUESTION_HEADER
from consent_gate.signatures import Verifier, read_page
from consent_gate.sources import Impossible, Pages, SourceUnavailable, StartAnew

ANSWER_SECONDS_MAX = 30.0
"""However slowly an answer comes, it has come by then, or counts for nothing."""
PROBLEM_BYTES_MAX = 64 * 1024
IDLE_SECONDS_MIN = 0.25
"""Who says at once that there is nothing new is asked no more often than this: the ledger waits by itself."""
NEWS_SECONDS_MAX = 0.05
"""After news the next question waits up to so long, at random: all gates had them at the same moment, and if
they all asked again at once, those who are told last would be told later."""
_PATH = "/v1/feed/changes"
_REFUSALS = ("unauthenticated", "forbidden")
_TOLD_CHARACTERS_MAX = 300


class HttpSource:
    """`sources.Source` over HTTP. Belongs to the loop that asks it."""

    def __init__(self, url: str, token: str, verifier: Verifier | None) -> None:
        self._verifier = verifier
        self._jitter = random.Random()
        self._ask_from = 0.0
        headers = {
            "authorization": f"Bearer {token}",
            "accept": MEDIA_TYPE,
            "accept-encoding": ACCEPT_ENCODING,
            "user-agent": "consent-gate",
        }
        self._connection = Connection(url, headers)

    async def ask(self, after: Token | None) -> Pages | StartAnew:
        """The page after a token; its age counts from here, however long the answer takes."""
        await asyncio.sleep(max(0.0, self._ask_from - time.monotonic()))
        ask_from = time.monotonic() + IDLE_SECONDS_MIN
        asked = boot_nanoseconds()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                answer, body = await self._get(quote(str(after or 0), safe=""))
        except TimeoutError as error:
            raise SourceUnavailable(
                f"the ledger's answer was not whole after {ANSWER_SECONDS_MAX:.0f} s"
            ) from error
        except Broken as error:
            raise SourceUnavailable(f"the ledger did not answer: {error}") from error
        if answer.status != 200:
            return _refusal(answer, body)
        page = self._page(answer, body)
        if not page.rows and page.through == page.after:
            self._ask_from = ask_from
        elif not page.more:
            self._ask_from = time.monotonic() + self._jitter.uniform(0, NEWS_SECONDS_MAX)
        return Pages(page, asked)

    async def _get(self, after: str) -> tuple[Answer, bytes]:
        """The answer and its body. Raises Unreadable for a page that is longer than the largest one."""
        question = secrets.token_hex(16)
        async with self._connection.get(f"{_PATH}?after={after}", {QUESTION_HEADER: question}) as answer:
            if answer.status == 200:
                if answer.headers.get(QUESTION_HEADER) != question:
                    raise SourceUnavailable(ANSWERS_ANOTHER)
                return answer, await _whole(answer, PAGE_BYTES_MAX)
            try:
                return answer, await _whole(answer, PROBLEM_BYTES_MAX)
            except Unreadable:
                return answer, b""  # no page was promised, and the status says enough

    def _page(self, answer: Answer, body: bytes) -> Page:
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise Unreadable(
                f"the answer is {_told(kind) or 'of no type'}, and no page of a feed: is the URL a ledger's?"
            )
        return read_page(body, self._verifier)

    async def close(self) -> None:
        """Give the connection back."""
        self._connection.close()
        await asyncio.sleep(0)  # it ends with the next turn of the loop


async def _whole(answer: Answer, size_max: int) -> bytes:
    body = BoundedBody(answer.headers, "the answer", size_max)
    async for part in answer.parts():
        body.add(part)
    return body.whole()


def _refusal(answer: Answer, body: bytes) -> StartAnew:
    """What an answer means that is no page; raises Impossible or SourceUnavailable otherwise."""
    status = answer.status
    try:
        problem = msgspec.json.decode(body)
        code, detail = _told(problem["code"]), _told(problem.get("detail", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        code, detail = "", ""
    if code == "resync":
        return StartAnew(detail)
    if code in ("forked", "other_origin"):
        raise Impossible(f"{code}: {detail}", code)
    what = "refused the API key" if status in (401, 403) else f"answered {status}"
    raise SourceUnavailable(
        f"the ledger {what}: {code or status}: {detail}",
        _retry_after(answer),
        code if code in _REFUSALS else "unavailable",
    )


def _retry_after(answer: Answer) -> float:
    """The seconds of Retry-After. A date is passed over: no host's time of day decides anything here."""
    given = answer.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() and len(given) <= 9 else 0.0


def _told(text: object) -> str:
    """What a stranger says, for a person's terminal."""
    said = str(text)[:_TOLD_CHARACTERS_MAX]
    return "".join(character if character.isprintable() else "?" for character in said)
