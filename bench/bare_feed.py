"""The limit of the feed: an ASGI application that lets requests wait as the ledger does, and no more."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from consent_ledger.feed import wait_seconds

ANSWER = b"x" * 300
HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(ANSWER))]
_jitter = random.Random()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request alike, after a wait."""
    if scope["type"] != "http":
        return
    await asyncio.sleep(wait_seconds(_jitter))
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
