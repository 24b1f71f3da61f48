"""The connection over which a gate asks its ledger again and again: what goes over it, and what breaks it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate import connection
from consent_gate.connection import Broken, Connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that talks to each connection with `serve`."""
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Saying:
    """Answers each question on a connection with the next of `answers`; the last one again and again."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(answer)
            await writer.drain()


async def got(asking: Connection, target: str = "/v1/x?after=0") -> tuple[int, bytes]:
    async with asking.get(target, {}) as answer:
        return answer.status, b"".join([part async for part in answer.parts()])


def to(port: int, scheme: str = "http", path: str = "") -> Connection:
    return Connection(f"{scheme}://127.0.0.1:{port}{path}", {"authorization": "Bearer k"})


# -- asking --------------------------------------------------------------------------------------------------


async def test_given_many_questions_then_all_go_over_one_connection_with_the_headers() -> None:
    serve = Saying(OK)
    async with listening(serve) as port:
        asking = to(port, path="/under/")
        assert [await got(asking) for _ in range(3)] == [(200, b"ok")] * 3
        asking.close()
    assert serve.connections == 1
    lines = serve.asked[2].split("\r\n")
    assert lines[0] == "GET /under/v1/x?after=0 HTTP/1.1"
    assert {line.lower() for line in lines} >= {f"host: 127.0.0.1:{port}", "authorization: bearer k"}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    ],
)
async def test_given_early_hints_or_chunks_then_the_body_is_what_they_carry(answer: bytes) -> None:
    async with listening(Saying(answer)) as port:
        asking = to(port)
        assert [await got(asking) for _ in range(2)] == [(200, b"ok")] * 2
        asking.close()


async def test_given_a_header_that_comes_twice_then_neither_is_lost() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nContent-Encoding: br\r\ncontent-length: 0\r\n\r\n"
    async with listening(Saying(answer)) as port:
        asking = to(port)
        async with asking.get("/", {}) as told:
            assert told.headers["content-encoding"] == "gzip, br"
        asking.close()


# -- ends ----------------------------------------------------------------------------------------------------


async def test_given_a_connection_that_was_closed_while_idle_then_the_question_goes_over_a_new_one() -> None:
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async with listening(once) as port:
        asking = to(port)
        assert [await got(asking) for _ in range(3)] == [(200, b"ok")] * 3
        asking.close()
    assert served == 3


async def test_given_a_new_connection_that_is_closed_without_a_word_then_it_is_not_tried_for_ever() -> None:
    served = 0

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await reader.readuntil(b"\r\n\r\n")

    async with listening(nothing) as port:
        with pytest.raises(Broken):
            await got(to(port))
    assert served == 1


async def test_given_a_body_that_was_not_read_then_the_rest_of_it_is_no_answer_to_the_next_question() -> None:
    long = b"HTTP/1.1 404 No\r\ncontent-length: 4000000\r\n\r\n" + OK * 10
    serve = Saying(long, OK)
    async with listening(serve) as port:
        asking = to(port)
        async with asking.get("/", {}) as answer:
            assert answer.status == 404
        assert await got(asking) == (200, b"ok")
        asking.close()
    assert serve.connections == 2


async def test_given_one_who_asks_and_is_stopped_then_the_answer_to_that_is_not_taken_for_the_next() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2 if b"/slow" in asked else 0)
        writer.write(OK if b"/slow" not in asked else OK.replace(b"ok", b"no"))
        await reader.read()

    async with listening(late) as port:
        asking = to(port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await got(asking, "/slow")
        await asyncio.sleep(0.3)
        assert await got(asking, "/quick") == (200, b"ok")
        asking.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000,
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ],
)
async def test_given_what_is_no_http_then_it_is_broken(answer: bytes) -> None:
    async with listening(Saying(answer)) as port:
        with pytest.raises(Broken):
            await got(to(port))


async def test_given_nobody_who_answers_then_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS_MAX", 0.1)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as port:
        with pytest.raises(Broken, match="no answer within"):
            await got(to(port))
        port_of_nobody = port
    with pytest.raises(Broken):
        await got(to(port_of_nobody))


# -- certificates and proxies --------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's, of a certificate for 127.0.0.1 that the environment trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ledger")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = tmp_path / "trusted.pem", tmp_path / "secret.pem"
    trusted.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(trusted, secret)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


async def test_given_a_certificate_that_is_trusted_then_asked_and_otherwise_nothing_is_sent(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = Saying(OK)
    async with listening(serve, tls) as port:
        asking = to(port, "https")
        assert [await got(asking) for _ in range(2)] == [(200, b"ok")] * 2
        asking.close()
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(Broken, match="CERTIFICATE_VERIFY_FAILED"):
            await got(to(port, "https"))
    assert len(serve.asked) == 2


class Tunnel:
    """A proxy that lets CONNECT through to a port, for who says who it is."""

    def __init__(self, port: int, status: str = "200 Established") -> None:
        self.port = port
        self.status = status
        self.asked = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if not self.status.startswith("200"):
            return
        there, here = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self._pipe(reader, here), self._pipe(there, writer))

    @staticmethod
    async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65_536):
            writer.write(part)
        writer.close()


async def test_given_a_proxy_when_the_ledger_has_a_certificate_then_a_tunnel_and_the_proxy_reads_nothing(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = bytes(range(256)) * 10_000
    serve = Saying(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    async with listening(serve, tls) as port:
        tunnel = Tunnel(port)
        async with listening(tunnel) as proxy:
            monkeypatch.setenv("https_proxy", f"http://me:s%40crt@127.0.0.1:{proxy}")
            asking = to(port, "https")
            assert [await got(asking) for _ in range(2)] == [(200, body)] * 2
            asking.close()
    assert tunnel.asked.startswith(f"connect 127.0.0.1:{port} http/1.1\r\n")
    assert "proxy-authorization: basic bwu6c0bjcnq=" in tunnel.asked and "bearer" not in tunnel.asked
    assert all("proxy-authorization" not in asked.lower() for asked in serve.asked)


async def test_given_a_proxy_that_refuses_the_tunnel_then_broken_with_what_it_said(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(Tunnel(1, "407 Proxy Authentication Required")) as proxy:
        monkeypatch.setenv("all_proxy", f"127.0.0.1:{proxy}")
        with pytest.raises(Broken, match="407"):
            await got(to(1, "https"))


async def test_given_a_proxy_when_the_ledger_has_no_certificate_then_it_is_asked_for_the_whole_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve = Saying(OK)
    async with listening(serve) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        asking = Connection("http://ledger.test", {})
        assert await got(asking) == (200, b"ok")
        asking.close()
    assert serve.asked[0].startswith("GET http://ledger.test/v1/x?after=0 HTTP/1.1\r\n")
    assert "host: ledger.test\r\n" in serve.asked[0].lower()


async def test_given_an_address_that_needs_no_proxy_then_none_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with listening(Saying(OK)) as port:
        asking = to(port)
        assert await got(asking) == (200, b"ok")
        asking.close()


def test_given_a_proxy_that_is_not_one_of_http_then_it_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ConsentError, match="none of HTTP"):
        Connection("http://ledger.test", {})
