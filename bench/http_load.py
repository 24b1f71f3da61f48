"""A load generator in a process of its own: keep-alive connections that ask, wait for the answer, ask again.

Run as a program it reads one `Load` as JSON on stdin and writes one `Figures` as JSON on stdout. It
takes its share of the same cores, so a figure is a floor of what the server can do.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from itertools import cycle

import msgspec
import uvloop


class Load(msgspec.Struct):
    """What to ask, how often at once, and for how long. Once a connection has asked its share, it stops."""

    port: int
    connections: int
    seconds: float
    requests: list[bytes]
    repeat: bool = True


class Figures(msgspec.Struct):
    """Answers a second, and how long they took in milliseconds. `errors` are answers other than 2xx."""

    answers: int
    errors: int
    a_second: float
    p50_ms: float
    p99_ms: float


def request(method: str, path: str, body: bytes = b"", key: str = "", **headers: str) -> bytes:
    """The bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "host: ledger", f"content-length: {len(body)}"]
    if body:
        lines.append("content-type: application/json")
    if key:
        lines.append(f"authorization: Bearer {key}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run(load: Load) -> Figures:
    """Run a load in another process. Raises subprocess.TimeoutExpired 30 s after it should have ended."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        timeout=load.seconds + 30,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Figures)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way."""

    def __init__(self, requests: object, until: float, took: list[float], bad: list[bytes]) -> None:
        self._requests = requests
        self._until = until
        self._took = took
        self._bad = bad
        self._buffer = b""
        self._sent = 0.0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._sent = time.perf_counter()
        asked = next(self._requests, None) if self._sent < self._until else None  # type: ignore[call-overload]
        if asked is None:
            self._transport.close()
        else:
            self._transport.write(asked)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        at = buffer.find(b"content-length: ", 0, head) + 16
        if head < 0 or len(buffer) < head + 4 + int(buffer[at : buffer.find(b"\r", at)]):
            self._buffer = buffer
            return
        self._buffer = b""
        self._took.append(time.perf_counter() - self._sent)
        if buffer[9:10] != b"2":
            self._bad.append(buffer)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _generate(load: Load) -> Figures:
    took: list[float] = []
    bad: list[bytes] = []
    asked = cycle(load.requests) if load.repeat else iter(load.requests)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_connection(
            lambda: _Connection(asked, started + load.seconds, took, bad), "127.0.0.1", load.port
        )
        for _ in range(load.connections)
    ]
    await asyncio.wait([protocol.ended for _, protocol in made], timeout=load.seconds + 15)
    seconds = time.perf_counter() - started
    if bad:
        sys.stderr.write(bad[0].decode(errors="replace") + "\n")
    took.sort()
    count = len(took)
    assert count, "nothing was answered"
    return Figures(
        answers=count,
        errors=len(bad),
        a_second=count / seconds,
        p50_ms=took[count // 2] * 1000,
        p99_ms=took[min(count - 1, count * 99 // 100)] * 1000,
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(uvloop.run(_generate(msgspec.json.decode(sys.stdin.buffer.read(), type=Load))))
    )
