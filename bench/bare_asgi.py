"""The limit: an ASGI application that reads the body and answers 200 with as many bytes as a check does."""

from __future__ import annotations

from typing import Any

ANSWER = b'{"decision":"permit"' + b" " * 400 + b"}"
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request alike."""
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
