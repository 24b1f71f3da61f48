"""The ledger's feed over HTTP: `GET /v1/feed/changes?after=TOKEN`, which waits up to a second for changes.

What answers may be anything: another service, a proxy's page, somebody who wants to be listened to for
ever. So every body has a size that it may have, every request an end, and a redirect leads nowhere.
"""

from __future__ import annotations

import asyncio
import random
import time

import httpx
from consent_domain.errors import Unreadable
from consent_domain.feed import MEDIA_TYPE, PAGE_BYTES_MAX, Page
from consent_domain.identifiers import Token

from consent_gate.boot import boot_nanoseconds
from consent_gate.follower import Impossible, Pages, SourceUnavailable, StartAnew
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.signatures import Verifier, read_page

CONNECT_SECONDS_MAX = 3.0
READ_SECONDS_MAX = 10.0
ANSWER_SECONDS_MAX = 30.0
"""However slowly an answer comes, it has come by then, or counts for nothing."""
PROBLEM_BYTES_MAX = 64 * 1024
IDLE_SECONDS_MIN = 0.25
"""Who says at once that there is nothing new is asked no more often than this: the ledger waits by itself."""
NEWS_SECONDS_MAX = 0.05
"""After news the next question waits up to so long, at random: all gates had them at the same moment, and if
they all asked again at once, those who are told last would be told later."""
_PATH = "/v1/feed/changes"
_TOLD_CHARACTERS_MAX = 300


class HttpSource:
    """`follower.Source` over HTTP. Belongs to the loop that asks it."""

    def __init__(self, url: str, token: str, verifier: Verifier | None) -> None:
        self._verifier = verifier
        self._jitter = random.Random()
        self._ask_from = 0.0
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={
                "authorization": f"Bearer {token}",
                "accept": MEDIA_TYPE,
                "accept-encoding": ACCEPT_ENCODING,
            },
            timeout=httpx.Timeout(READ_SECONDS_MAX, connect=CONNECT_SECONDS_MAX),
            follow_redirects=False,
        )

    async def ask(self, after: Token | None) -> Pages | StartAnew:
        """The page after a token; its age counts from here, however long the answer takes."""
        await asyncio.sleep(max(0.0, self._ask_from - time.monotonic()))
        ask_from = time.monotonic() + IDLE_SECONDS_MIN
        asked = boot_nanoseconds()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                response, body = await self._get(str(after or 0))
        except TimeoutError as error:
            raise SourceUnavailable(
                f"the ledger's answer was not whole after {ANSWER_SECONDS_MAX:.0f} s"
            ) from error
        except httpx.HTTPError as error:
            raise SourceUnavailable(f"the ledger did not answer: {type(error).__name__} {error}") from error
        if response.status_code != 200:
            return _refusal(response, body)
        page = self._page(response, body)
        if not page.rows and page.through == page.after:
            self._ask_from = ask_from
        elif not page.more:
            self._ask_from = time.monotonic() + self._jitter.uniform(0, NEWS_SECONDS_MAX)
        return Pages(page, asked)

    async def _get(self, after: str) -> tuple[httpx.Response, bytes]:
        """The answer and its body. Raises Unreadable for a page that is longer than the largest one."""
        async with self._client.stream("GET", _PATH, params={"after": after}) as response:
            if response.status_code == 200:
                return response, await _whole(response, PAGE_BYTES_MAX)
            try:
                return response, await _whole(response, PROBLEM_BYTES_MAX)
            except Unreadable:
                return response, b""  # no page was promised, and the status says enough

    def _page(self, response: httpx.Response, body: bytes) -> Page:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise Unreadable(
                f"the answer is {_told(kind) or 'of no type'}, and no page of a feed: is the URL a ledger's?"
            )
        return read_page(body, self._verifier)

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()


async def _whole(response: httpx.Response, size_max: int) -> bytes:
    body = BoundedBody(response, "the answer", size_max)
    async for part in response.aiter_raw():
        body.add(part)
    return body.whole()


def _refusal(response: httpx.Response, body: bytes) -> StartAnew:
    """What an answer means that is no page; raises Impossible or SourceUnavailable otherwise."""
    status = response.status_code
    try:
        problem = httpx.Response(status, content=body).json()
        code, detail = _told(problem["code"]), _told(problem.get("detail", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        code, detail = "", ""
    if code == "resync":
        return StartAnew(detail)
    if code in ("forked", "other_origin"):
        raise Impossible(f"{code}: {detail}")
    what = "refused the API key" if status in (401, 403) else f"answered {status}"
    raise SourceUnavailable(f"the ledger {what}: {code or status}: {detail}", _retry_after(response))


def _retry_after(response: httpx.Response) -> float:
    """The seconds of Retry-After. A date is passed over: no host's time of day decides anything here."""
    given = response.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() and len(given) <= 9 else 0.0


def _told(text: object) -> str:
    """What a stranger says, for a person's terminal."""
    said = str(text)[:_TOLD_CHARACTERS_MAX]
    return "".join(character if character.isprintable() else "?" for character in said)
