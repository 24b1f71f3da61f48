"""The other side of a gate over HTTP: a feed that answers as the ledger does, or what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import msgspec
from consent_domain.errors import STATUS
from consent_domain.feed import MEDIA_TYPE, Page, Watermark
from consent_domain.identifiers import Token, parse_token
from consent_gate.signatures import Signer
from consent_ledger.watermarks import LedgerTime
from gate_ledger import EPOCH, SIGNER, page, signed
from scenario import ORIGIN, Ledger

KEY = "ck_p_test"
Said = Callable[[Token | None], bytes | AsyncIterator[bytes]]
IDLE_SECONDS = 0.02
"""How long this feed waits for changes: less than the ledger's, so that tests are quick."""


def http(status: int, body: bytes, media_type: str = MEDIA_TYPE, **headers: str) -> bytes:
    """An answer as it is sent."""
    lines = [f"HTTP/1.1 {status} So", f"content-type: {media_type}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def problem(code: str, detail: str = "no", **headers: str) -> bytes:
    """A refusal as the ledger sends it."""
    body = msgspec.json.encode({"code": code, "detail": detail})
    return http(STATUS[code], body, "application/problem+json", **headers)


class FeedServer:
    """Listens on `port`. `says`, if it is set, gives the bytes of every answer; `asked` is what came."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.signer: Signer = SIGNER
        self.epoch = EPOCH
        self.says: Said | None = None
        self.asked: list[Token | None] = []
        self.keys = {KEY}
        self.echo: Callable[[str], str] = lambda question: question
        """What comes back for the `Consent-Question` that was sent."""
        self.port = 0
        self._time = LedgerTime()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def page(self, after: Token | None, rows_max: int = 1_000, **changed: object) -> Page:
        """The page that the ledger would answer with, and what a test changes of it."""
        ledger, position = self.ledger, 0 if after is None else after.position
        ledger.wait(1_000)
        time = self._time.at(ledger.now, ledger.now)
        mark = Watermark(ORIGIN, self.epoch, len(ledger.log), time)
        return page(ledger, position, rows_max, **({"epoch": self.epoch, "watermark": mark} | changed))  # type: ignore[arg-type]

    def told(self, after: Token | None, **changed: object) -> bytes:
        """The whole answer with that page, signed."""
        return http(200, signed(self.page(after, **changed), self.signer))

    def told_in_part(self, after: Token | None, rows_max: int) -> bytes:
        """The whole answer with the first rows of that page, signed."""
        return http(200, signed(self.page(after, rows_max), self.signer))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        self._writers.add(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                said = await self._answer(request)
                echo = self._echo(request)
                if isinstance(said, bytes):
                    writer.write(said.replace(b"\r\n", echo, 1))
                else:
                    async for part in said:
                        # The first end of a line is that of the status.
                        writer.write(part.replace(b"\n", echo[1:], 1))
                        echo = echo if b"\n" not in part else b"\r\n"
                        await writer.drain()
                    break  # an answer in parts ends with its connection
        self._writers.discard(writer)
        writer.close()

    def _echo(self, request: str) -> bytes:
        return f"\r\nconsent-question: {self.echo(_headers(request)['consent-question'])}\r\n".encode()

    async def _answer(self, request: str) -> bytes | AsyncIterator[bytes]:
        named = _headers(request)
        parts = urlsplit(request.split(" ")[1])
        text = parse_qs(parts.query)["after"][0]
        after = None if text == "0" else parse_token(text)
        self.asked.append(after)
        if named.get("authorization") not in {f"bearer {key}" for key in self.keys}:
            return problem("unauthenticated", "the API key is unknown or revoked")
        if self.says is not None:
            await asyncio.sleep(0)
            return self.says(after)
        if after is not None and after.epoch < self.epoch:
            return problem("resync", "another epoch has begun")
        if after is not None and after.position == len(self.ledger.log):
            await asyncio.sleep(IDLE_SECONDS)
        return self.told(after)


def _headers(request: str) -> dict[str, str]:
    return dict(line.lower().split(": ", 1) for line in request.split("\r\n")[1:] if line)
