"""Followers without replicas: keep-alive connections that ask the feed for what comes after the last answer.

Run as a program it reads one `Following` as JSON on stdin and writes one `Followed` as JSON on stdout. It
opens its connections over `WARM_SECONDS`, and then counts. Whoever follows for real verifies and keeps what
comes too; that is measured by bench/gates.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from typing import IO

import msgspec
import psutil
import uvloop
from consent_domain.feed import decode_page, decode_signed

WARM_SECONDS = 1.5
SLOT_SECONDS = 0.02


class Following(msgspec.Struct):
    """Who follows, and whose processor time is measured meanwhile. Without a key nothing is read of pages."""

    port: int
    followers: int
    seconds: float
    pid: int
    key: str = ""
    after: str = "0"


class Followed(msgspec.Struct):
    """What came within the seconds, and the processor time that it took the process that was named.

    `largest_share` is the busiest 20 ms by how many answers it had of what its share would be.
    """

    answers: int
    errors: int
    rows: int
    bytes: int
    processor_seconds: float
    seconds: float
    largest_share: float


class _Follower(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._after = load.asked.after
        self._buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._transport.write(
            f"GET /v1/feed/changes?after={self._after} HTTP/1.1\r\nhost: ledger\r\n"
            f"authorization: Bearer {self._load.asked.key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data
        head = buffer.find(b"\r\n\r\n")
        at = buffer.find(b"content-length: ", 0, head) + 16
        if head < 0 or len(buffer) < head + 4 + int(buffer[at : buffer.find(b"\r", at)]):
            return
        self._buffer = b""
        self._after = self._load.came(buffer, buffer[head + 4 :], self._after)
        self._ask()


class _Load:
    def __init__(self, asked: Following) -> None:
        self.asked = asked
        self.counting = False
        self.followed = Followed(0, 0, 0, 0, 0.0, 0.0, 0.0)
        self._slots: Counter[int] = Counter()
        self._seen: tuple[bytes, str, int] = (b"", "", 0)

    def came(self, answer: bytes, body: bytes, after: str) -> str:
        """Count an answer; what to ask after next."""
        good = answer[9:12] == b"200"
        rows = 0
        if good and self.asked.key:
            if body != self._seen[0]:
                page = decode_page(decode_signed(body).message)
                self._seen = (body, str(page.token), len(page.rows))
            _, after, rows = self._seen
        if self.counting:
            self.followed.answers += good
            self.followed.errors += not good
            self.followed.rows += rows
            self.followed.bytes += len(answer)
            self._slots[int(time.monotonic() / SLOT_SECONDS)] += 1
        return after

    async def run(self) -> Followed:
        loop = asyncio.get_running_loop()
        pause = WARM_SECONDS / self.asked.followers
        for _ in range(self.asked.followers):
            await loop.create_connection(lambda: _Follower(self), "127.0.0.1", self.asked.port)
            await asyncio.sleep(pause)
        await asyncio.sleep(WARM_SECONDS)
        process = psutil.Process(self.asked.pid)
        began, before = time.monotonic(), process.cpu_times()
        self.counting = True
        await asyncio.sleep(self.asked.seconds)
        self.counting = False
        after = process.cpu_times()
        followed = self.followed
        followed.seconds = time.monotonic() - began
        followed.processor_seconds = after.user + after.system - before.user - before.system
        share = followed.answers * SLOT_SECONDS / followed.seconds
        followed.largest_share = max(self._slots.values(), default=0) / max(share, 1e-9)
        return followed


def start(asked: Following) -> subprocess.Popen[bytes]:
    """Follow in another process; `result` waits for it."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(asked))
    process.stdin.close()
    return process


def result(process: subprocess.Popen[bytes], seconds_max: float) -> Followed:
    """What it says. Raises subprocess.TimeoutExpired, and ends it then."""
    try:
        process.wait(seconds_max)
    finally:
        process.kill()
    output: IO[bytes] | None = process.stdout
    assert output is not None
    return msgspec.json.decode(output.read(), type=Followed)


if __name__ == "__main__":
    load = _Load(msgspec.json.decode(sys.stdin.buffer.read(), type=Following))
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(load.run())))
