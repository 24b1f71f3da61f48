"""A connection to a ledger that is kept open, over which one asks again and again.

Every gate asks once a second for ever. A question costs httpx 1.4 ms of processor, and this 0.3: h11 reads
and writes HTTP/1.1, asyncio carries it, and between them is no pool, no redirect and no cookie. Certificates
are believed as httpx believes them, and the environment's proxies are used.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import h11
import httpx

from consent_gate.proxies import Proxy, proxy_of

CONNECT_SECONDS_MAX = 3.0
HEAD_SECONDS_MAX = 10.0
"""A connection over which nothing comes for so long is given up: the ledger waits for changes a second."""
_HEAD_BYTES_MAX = 64 * 1024
_READ_BYTES = 64 * 1024
_HAPPY_EYEBALLS_SECONDS = 0.25
"""RFC 8305, section 5."""


class Broken(Exception):
    """There is no connection, or it ended, or what came over it is no HTTP."""


class Answer:
    """The head of an answer, and the way to its body."""

    def __init__(self, link: _Link, head: h11.Response) -> None:
        self.status = head.status_code
        self.headers: dict[str, str] = {}
        """By lower-case name; what came under one name more than once is joined by commas."""
        for name, value in head.headers:
            known, text = self.headers.get(name.decode("ascii")), value.decode("latin-1")
            self.headers[name.decode("ascii")] = text if known is None else f"{known}, {text}"
        self._link = link

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, not unpacked. Raises Broken if it is cut off."""
        while isinstance(event := await self._link.event(), h11.Data):
            yield bytes(event.data)


class Connection:
    """To the ledger at a URL. Asks one question at a time, and belongs to the loop that does."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Connects to nobody yet. `headers` go with every question.

        Raises ConsentError `invalid_value` for a proxy that is not one of HTTP.
        """
        address = httpx.URL(url)
        self._tls = httpx.create_ssl_context() if address.scheme == "https" else None
        self._host = address.raw_host.decode("ascii")
        self._port = address.port or (80 if self._tls is None else 443)
        named = address.netloc.decode("ascii")
        self._prefix = address.raw_path.decode("ascii").rstrip("/")
        self._headers = [("host", named), *headers.items()]
        self._proxy = proxy_of(url)
        if self._proxy is not None and self._tls is None:
            self._prefix = f"http://{named}{self._prefix}"
            self._headers += _authorization(self._proxy)
        self._link: _Link | None = None

    @asynccontextmanager
    async def get(self, target: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """The answer to GET of a path with its query. What is left of its body then is not waited for.

        Raises Broken. Waits for the body for ever: who reads it puts an end to that.
        """
        try:
            yield await self._answer(self._prefix + target, [*self._headers, *headers.items()])
        except BaseException:
            self.close()
            raise
        if self._link is not None and not self._link.is_free():
            self.close()

    async def _answer(self, target: str, headers: list[tuple[str, str]]) -> Answer:
        if self._link is not None:
            try:
                return await self._link.ask("GET", target, headers)
            except Broken:
                # The ledger closes what is idle, and may have done so at this very moment.
                self.close()
        self._link = await self._connect()
        return await self._link.ask("GET", target, headers)

    async def _connect(self) -> _Link:
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                if self._proxy is None:
                    return await _linked(self._host, self._port, self._tls)
                return await self._through(self._proxy)
        except TimeoutError as error:
            raise Broken(f"no connection within {CONNECT_SECONDS_MAX:g} s") from error
        except OSError as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    async def _through(self, proxy: Proxy) -> _Link:
        """Through a tunnel where the ledger's own certificate counts (RFC 9110, section 9.3.6)."""
        tls = httpx.create_ssl_context() if proxy.scheme == "https" else None
        link = await _linked(proxy.host, proxy.port, tls)
        if self._tls is None:
            return link
        named = f"[{self._host}]" if ":" in self._host else self._host
        target = f"{named}:{self._port}"
        try:
            answer = await link.ask("CONNECT", target, [("host", target), *_authorization(proxy)])
            if not 200 <= answer.status < 300:
                raise Broken(f"the proxy answered {answer.status} to CONNECT")
            return await link.encrypted(self._tls, self._host)
        except BaseException:
            link.close()
            raise

    def close(self) -> None:
        """Give the connection up; the next question opens another."""
        if self._link is not None:
            self._link.close()
        self._link = None


class _Link:
    """A connection that is there, and where in its talk it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES_MAX)

    async def ask(self, method: str, target: str, headers: list[tuple[str, str]]) -> Answer:
        """The head of the answer to a question without a body. Raises Broken."""
        sent = self._http.send(h11.Request(method=method, target=target, headers=headers)) or b""
        try:
            self._writer.write(sent + (self._http.send(h11.EndOfMessage()) or b""))
            await self._writer.drain()
        except OSError as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
        try:
            async with asyncio.timeout(HEAD_SECONDS_MAX):
                while isinstance(head := await self.event(), h11.InformationalResponse):
                    pass
        except TimeoutError as error:
            raise Broken(f"no answer within {HEAD_SECONDS_MAX:g} s") from error
        if not isinstance(head, h11.Response):
            raise Broken("the connection was closed before an answer came")
        return Answer(self, head)

    async def event(self) -> object:
        """What comes next. Raises Broken, also where an end comes too early."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_READ_BYTES))
        except (OSError, h11.RemoteProtocolError) as error:
            raise Broken(f"{type(error).__name__}: {error}") from error
        return event

    def is_free(self) -> bool:
        """Whether the next question can go this way: the answer was read, and the other side goes on."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def encrypted(self, tls: ssl.SSLContext, host: str) -> _Link:
        """The same connection from now on with TLS to a host behind it."""
        await self._writer.start_tls(tls, server_hostname=host)
        return _Link(self._reader, self._writer)

    def close(self) -> None:
        """At once, without a farewell that the other side could make long."""
        self._writer.transport.abort()


async def _linked(host: str, port: int, tls: ssl.SSLContext | None) -> _Link:
    delay = _HAPPY_EYEBALLS_SECONDS
    return _Link(*await asyncio.open_connection(host, port, ssl=tls, happy_eyeballs_delay=delay))


def _authorization(proxy: Proxy) -> list[tuple[str, str]]:
    return [("proxy-authorization", proxy.authorization)] if proxy.authorization else []
