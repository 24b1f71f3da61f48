"""The witness over HTTP, as raw ASGI.

    POST /add-checkpoint          C2SP tlog-witness
    GET  /<origin hash>/checkpoint  the largest checkpoint that was cosigned of a log, with both signatures;
                                  origin hash is SHA-256 of the log's name in lowercase hex (tlog-witness,
                                  monitoring prefix)
    GET  /health                  whether the state can be read, and how far each log is
    GET  /metrics                 counts, in the text format of Prometheus

Everything is bounded: the body, the time to send it, and how many requests are worked on at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.telling import tell
from consent_gate.witness.rules import BODY_BYTES_MAX
from consent_gate.witness.witness import TEXT, Answer, Witness

BODY_SECONDS_MAX = 10.0
AT_ONCE_MAX = 64
"""Requests that are worked on or wait for it; more are answered 503 at once."""
THREADS = 4
METRICS = "text/plain; version=0.0.4; charset=utf-8"

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """An ASGI application around one witness."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="witness")
        self._at_once = 0
        self._log_of = {f"/{sha256(log.encode()).hexdigest()}/checkpoint": log for log in witness.logs}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _send(send, await self._answer(scope, receive))

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> Answer:
        if self._at_once >= AT_ONCE_MAX:
            return _words(503, "too many requests at once")
        self._at_once += 1
        try:
            return await self._route(scope["method"], scope["path"], receive)
        except ConsentError as error:
            tell("error", error.code, detail=error.detail)
            return _words(503, "the state of this witness cannot be read now")
        except Exception as error:
            tell("error", "internal", detail=f"{type(error).__name__}: {error}")
            return _words(500, "internal error")
        finally:
            self._at_once -= 1

    async def _route(self, method: str, path: str, receive: Receive) -> Answer:
        wanted = "POST" if path == "/add-checkpoint" else "GET"
        reads: dict[str, Callable[[], Answer]] = {"/health": self._health, "/metrics": self._metrics}
        if path in self._log_of:
            log = self._log_of[path]
            reads[path] = lambda: self._latest(log)
        if path != "/add-checkpoint" and path not in reads:
            return _words(404, "there is nothing here")
        if method != wanted:
            return _words(405, f"{path} takes {wanted}")
        if path in reads:
            return await self._in_thread(reads[path])
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                body = await _body(receive)
        except TimeoutError:
            return _words(408, f"the request took longer than {BODY_SECONDS_MAX:.0f} s to arrive")
        if body is None:
            return _words(413, f"a request has at most {BODY_BYTES_MAX} bytes")
        return await self._in_thread(lambda: self._witness.add_checkpoint(body, int(time.time())))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        # Shielded: a caller that goes away must not leave a half-counted piece of work behind.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, work))

    def _latest(self, log: str) -> Answer:
        note = self._witness.latest(log)
        return (
            _words(404, "nothing was cosigned of this log yet") if note is None else Answer(200, TEXT, note)
        )

    def _health(self) -> Answer:
        told = {"witness": self._witness.name, "logs": self._witness.sizes()}
        return Answer(200, "application/json", json.dumps(told).encode())

    def _metrics(self) -> Answer:
        lines = ["# TYPE consent_witness_answers_total counter"]
        for status, count in sorted(self._witness.answered.items()):
            lines.append(f'consent_witness_answers_total{{status="{status}"}} {count}')
        lines.append("# TYPE consent_witness_alarms_total counter")
        for alarm, count in sorted(self._witness.alarms.items()):
            lines.append(f'consent_witness_alarms_total{{alarm="{alarm}"}} {count}')
        lines.append("# TYPE consent_witness_cosigned_entries gauge")
        for log, size in sorted(self._witness.sizes().items()):
            label = log.replace("\\", r"\\").replace('"', r"\"")
            lines.append(f'consent_witness_cosigned_entries{{log="{label}"}} {size}')
        return Answer(200, METRICS, ("\n".join(lines) + "\n").encode())

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                self._threads.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _body(receive: Receive) -> bytes | None:
    """The whole body, None if it is too long. Raises TimeoutError for a client that is gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise TimeoutError
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _send(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if answer.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _words(status: int, detail: str) -> Answer:
    return Answer(status, TEXT, f"{detail}\n".encode())
