"""The gate's feed over HTTP: a page of signed facts, or, after a wait, a watermark."""

from __future__ import annotations

from consent_domain.feed import MEDIA_TYPE
from consent_domain.identifiers import parse_token

from consent_ledger.http.calls import Answer, Call

ROWS_MAX = 10_000


async def changes(call: Call) -> Answer:
    """The page after a token; `after=0` begins a snapshot. Waits up to 1 s where there is nothing new."""
    headers = [(b"cache-control", b"no-store"), *call.echo]
    text = call.query.get("after", "0")
    after = None if text == "0" else parse_token(text)
    page = await call.worker.feed.page(after, call.number("limit", ROWS_MAX, 1, ROWS_MAX))
    return Answer(200, page, headers, MEDIA_TYPE)
