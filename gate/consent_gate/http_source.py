"""The ledger's feed over HTTP: `GET /v1/feed/changes?after=TOKEN`, which waits up to a second for changes."""

from __future__ import annotations

import httpx
from consent_domain.feed import MEDIA_TYPE, PAGE_BYTES_MAX
from consent_domain.identifiers import Token

from consent_gate.boot import boot_nanoseconds
from consent_gate.follower import Impossible, Pages, SourceUnavailable, StartAnew
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.signatures import Verifier, read_page

CONNECT_SECONDS_MAX = 3.0
READ_SECONDS_MAX = 10.0
_PATH = "/v1/feed/changes"


class HttpSource:
    """`follower.Source` over HTTP. Belongs to the loop that asks it."""

    def __init__(self, url: str, token: str, verifier: Verifier | None) -> None:
        self._verifier = verifier
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
        asked = boot_nanoseconds()
        try:
            status, body = await self._get(str(after or 0))
        except httpx.HTTPError as error:
            raise SourceUnavailable(f"the ledger did not answer: {type(error).__name__} {error}") from error
        if status == 200:
            return Pages(read_page(body, self._verifier), asked)
        return _refusal(status, body)

    async def _get(self, after: str) -> tuple[int, bytes]:
        """The status and the body. Raises Unreadable for one that is longer than the largest page."""
        async with self._client.stream("GET", _PATH, params={"after": after}) as response:
            body = BoundedBody(response, "the answer", PAGE_BYTES_MAX)
            async for part in response.aiter_raw():
                body.add(part)
            return response.status_code, body.whole()

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()


def _refusal(status: int, body: bytes) -> StartAnew:
    try:
        problem = httpx.Response(status, content=body).json()
        code, detail = str(problem["code"]), str(problem.get("detail", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        code, detail = "", ""
    if code == "resync":
        return StartAnew(detail)
    if code in ("forked", "other_origin"):
        raise Impossible(f"{code}: {detail}")
    raise SourceUnavailable(f"the ledger answered {status} {code}: {detail}")
