"""HTTP exchanges that end in time, whatever the other side does.

The timeouts of HTTP libraries begin anew with every read: who sends a byte of a header now and then is
listened to for ever. Here the `read` of `httpx.Timeout` is how long the whole exchange may take, and
`connect` how long finding, reaching and greeting the other side may: to httpcore both are passed on as
moments, and each step waits for what is left. No thread watches over them; only a name that must be looked
up gets one, for nothing else ends what the system's resolver waits for.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from consent_gate.proxies import proxy_of

CONNECTIONS_MAX = 32
_PIECE_BYTES = 4_096
"""Written at once: so little fits into the socket's buffer whenever there is room in it, so that a side
which reads slowly cannot stretch one write."""
_LATE = "it took too long"


class DeadlineTransport(httpx.BaseTransport):
    """Connections to one address, through the proxy that the environment names for it. Threads may share it.

    Every request must have a timeout, and so have its `read` and `connect`. Cost: some microseconds more
    than `httpx.HTTPTransport`.
    """

    def __init__(self, url: str) -> None:
        """Connects to nobody yet. Raises ConsentError `invalid_value` for a proxy that is not one of HTTP."""
        self._pool = _pool(url, httpx.create_ssl_context())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx asks for it. Raises httpx.TransportError."""
        allowed = request.extensions["timeout"]
        now = time.monotonic()
        until = now + allowed["read"]
        moments = {
            "connect": min(until, now + allowed["connect"]),
            "read": until,
            "write": until,
            "pool": allowed["read"],
        }
        url = request.url
        assert isinstance(request.stream, httpx.SyncByteStream), "a client that waits sends what is there"
        sent = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions | {"timeout": moments},
        )
        with _as_of_httpx():
            answer = self._pool.handle_request(sent)
        assert isinstance(answer.stream, Iterable), "it is read as it was asked"
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_of_httpx():
            yield from self._stream

    def close(self) -> None:
        with _as_of_httpx():
            self._stream.close()


@contextmanager
def _as_of_httpx() -> Iterator[None]:
    """What httpcore raises as what httpx raises, which has the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__, httpx.TransportError)(str(error)) from error


def _pool(url: str, tls: ssl.SSLContext) -> httpcore.ConnectionPool:
    proxy, backend = proxy_of(url), _Backend()
    if proxy is None:
        return httpcore.ConnectionPool(tls, max_connections=CONNECTIONS_MAX, network_backend=backend)
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return httpcore.HTTPProxy(
        f"{proxy.scheme}://{host}:{proxy.port}",
        (proxy.user, proxy.password) if proxy.user else None,
        ssl_context=tls,
        max_connections=CONNECTIONS_MAX,
        network_backend=backend,
    )


# -- the network, where a timeout is a moment of the monotonic clock -----------------------------------------


def _left(until: float | None, late: type[Exception]) -> float:
    assert until is not None, "every request has a timeout"
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise late(_LATE)
    return seconds


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[start : start + _PIECE_BYTES]
            self._stream.write(piece, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._plain = httpcore.SyncBackend()
        self._lock = threading.Lock()
        self._looking: dict[tuple[str, int], Future[list[str]]] = {}

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port, timeout)
        for others, address in zip(reversed(range(len(addresses))), addresses, strict=True):
            # One that swallows everything must leave the others their share.
            seconds = _left(timeout, httpcore.ConnectTimeout) / (others + 1)
            try:
                reached = self._plain.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not others:
                    raise
            else:
                return _Stream(reached)
        raise httpcore.ConnectError(f"{host} has no address")

    def _addresses(self, host: str, port: int, until: float | None) -> list[str]:
        """Where a name leads. While nobody knows, all who ask for it wait for the same thread."""
        with self._lock:
            found = self._looking.get((host, port))
            if found is None:
                found = Future()
                try:
                    threading.Thread(target=self._look, args=(host, port, found), daemon=True).start()
                except RuntimeError as error:
                    raise httpcore.ConnectError(f"{host} cannot be looked up: {error}") from error
                self._looking[host, port] = found
        try:
            return found.result(_left(until, httpcore.ConnectTimeout))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"looking up {host} took too long") from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be looked up: {error}") from error

    def _look(self, host: str, port: int, found: Future[list[str]]) -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(one[4][0]) for one in addresses)))
        except Exception as error:
            found.set_exception(error)
        finally:
            with self._lock:  # which whoever began holds until it is there
                del self._looking[host, port]
