"""A gate in server mode, and a side that takes its time: every check ends in its own, and with no yes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from consent_domain.errors import ConsentError
from consent_gate import deadlines
from consent_gate.commands.ledger import Ledger
from consent_gate.commands.settings import Settings
from consent_gate.deadlines import DeadlineTransport
from consent_gate.gate import Gate

TOKEN = "ck_p_test"
AGE_MAX = 0.5
HANGS_SECONDS = 30.0
"""Far beyond what a check may take: one that is not done by then hangs."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n"
Talk = Callable[[socket.socket, threading.Event], None]


def drip(connection: socket.socket, ended: threading.Event, first: bytes, each: bytes) -> None:
    """Say `first`, and a piece of `each` again and again."""
    connection.recv(65_536)
    connection.sendall(first)
    while not ended.wait(0.03):
        connection.sendall(each)


def dripping(first: bytes, each: bytes) -> Talk:
    return lambda connection, ended: drip(connection, ended, first, each)


def silent(connection: socket.socket, ended: threading.Event) -> None:
    ended.wait()


def flooding(connection: socket.socket, ended: threading.Event) -> None:
    """There is always something to read, and never an answer."""
    while not ended.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)


def sipping(connection: socket.socket, ended: threading.Event) -> None:
    """Read a large request some bytes at a time."""
    while not ended.wait(0.01):
        connection.recv(1)


TALKS: dict[str, Talk] = {
    "accepts and says nothing": silent,
    "sends its status byte by byte": dripping(b"HTTP/1.1 2", b"0"),
    "sends one header byte by byte": dripping(HEAD + b"x: ", b"y"),
    "sends header after header": dripping(HEAD, b"x: y\r\n"),
    "sends a header without an end at once": dripping(HEAD + b"x: " + b"y" * 5_000_000, b"y"),
    "sends its body byte by byte": dripping(HEAD + b"\r\n", b" "),
    "sends chunk after chunk": dripping(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"
    ),
    "sends trailers without an end": dripping(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"
    ),
    "says to go on, again and again": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "says to go on, as fast as it can": flooding,
    "reads the question byte by byte": sipping,
}


@contextmanager
def talking(talk: Talk) -> Iterator[int]:
    """A port of this host where `talk` is done with everybody who connects."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    ended = threading.Event()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=talk_to, args=(connection,), daemon=True).start()

    def talk_to(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection, ended)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        listener.close()


def in_time(ask: Callable[[], Any]) -> Any:
    """What `ask` returns; it must not hang."""
    told: list[Any] = []
    asking = threading.Thread(target=lambda: told.append(ask()), daemon=True)
    asking.start()
    asking.join(HANGS_SECONDS)
    assert told, "it hangs, or raised"
    return told[0]


@pytest.mark.parametrize("talk", TALKS)
def test_given_another_side_that_takes_its_time_when_asked_then_undecided_in_time(talk: str) -> None:
    with talking(TALKS[talk]) as port:
        url = f"http://127.0.0.1:{port}"
        with Gate.connect(url, TOKEN, purpose="train", mode="server", max_staleness=AGE_MAX) as gate:
            many = [f"workspace-number-{number}" for number in range(100_000)]
            answers = in_time(lambda: gate.check_many(many))
            assert not any(answers.permitted) and answers.reason_codes == ["unavailable"]
            answer = in_time(lambda: gate.check("acme"))
            assert (answer.decision, answer.reasons[0].code) == ("undecided", "unavailable")
            assert in_time(gate.status).state == "stale"


@pytest.mark.parametrize("talk", [silent, dripping(b"\x16\x03\x03\x40\x00\x02", b"\x00")])
def test_given_a_greeting_of_tls_that_does_not_end_when_asked_then_undecided_in_time(talk: Talk) -> None:
    with talking(talk) as port:
        url = f"https://127.0.0.1:{port}"
        with Gate.connect(url, TOKEN, purpose="train", mode="server", max_staleness=AGE_MAX) as gate:
            assert in_time(lambda: gate.check("acme")).reasons[0].code == "unavailable"


def test_given_a_name_that_nobody_answers_for_when_asked_then_undecided_in_time_by_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, looked = threading.Event(), []

    def look_up(*_: Any, **__: Any) -> Any:
        looked.append(threading.current_thread())
        answered.wait()
        raise OSError("too late")

    monkeypatch.setattr(deadlines.socket, "getaddrinfo", look_up)
    url = "http://ledger.invalid"
    with Gate.connect(url, TOKEN, purpose="train", mode="server", max_staleness=AGE_MAX) as gate:
        for _ in range(3):
            assert in_time(lambda: gate.check("acme")).reasons[0].code == "unavailable"
        assert len(looked) == 1
    answered.set()


def test_given_no_thread_to_look_a_name_up_then_undecided_and_the_next_question_looks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a container allows no more processes, for a moment."""

    def start(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    with talking(silent) as port:
        url = f"http://localhost:{port}"
        with Gate.connect(url, TOKEN, purpose="train", mode="server", max_staleness=AGE_MAX) as gate:
            with monkeypatch.context() as without:
                without.setattr(deadlines.threading.Thread, "start", start)
                assert "cannot be looked up" in gate.check("acme").sentence
            assert "ReadTimeout" in in_time(lambda: gate.check("acme")).sentence


def test_given_an_address_that_swallows_everything_when_there_is_another_then_that_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listener whose queue is full lets nobody in and refuses nobody."""
    full = socket.create_server(("127.0.0.2", 0), backlog=0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.2", port))
    good = socket.create_server(("127.0.0.1", port))
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.2", "127.0.0.1")]
    looked_up = socket.getaddrinfo
    monkeypatch.setattr(
        deadlines.socket,
        "getaddrinfo",
        lambda host, *more, **named: both if host == "two.test" else looked_up(host, *more, **named),
    )

    def answer() -> None:
        connection, _ = good.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    threading.Thread(target=answer, daemon=True).start()
    with httpx.Client(transport=DeadlineTransport("http://two.test")) as client:
        timeout = httpx.Timeout(HANGS_SECONDS, connect=1)
        assert client.get(f"http://two.test:{port}/", timeout=timeout).text == "ok"
    for one in (full, good, *waiting):
        one.close()


def test_given_a_proxy_in_the_environment_then_questions_go_through_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[bytes] = []

    def proxy(connection: socket.socket, ended: threading.Event) -> None:
        heard.append(connection.recv(65_536))
        body = json.dumps({"code": "forbidden", "detail": "by the proxy"}).encode()
        head = f"HTTP/1.1 403 No\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + body)
        ended.wait()

    with talking(proxy) as port:
        monkeypatch.setenv("http_proxy", f"http://user:pass@127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with Gate.connect("http://ledger.test", TOKEN, purpose="train", mode="server") as gate:
            assert "by the proxy" in gate.check("acme").sentence
    assert heard[0].startswith(b"POST http://ledger.test/v1/check") and b"Basic dXNlcjpwYXNz" in heard[0]
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ConsentError) as refused:
        Gate.connect("http://ledger.test", TOKEN, purpose="train", mode="server")
    assert refused.value.code == "invalid_value"


def test_given_a_command_when_the_answer_never_ends_then_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consent_gate.commands.ledger.READ_SECONDS_MAX", AGE_MAX)
    with talking(TALKS["sends one header byte by byte"]) as port:
        with Ledger(Settings(f"http://127.0.0.1:{port}", TOKEN, "", "")) as ledger:

            def ask() -> str:
                try:
                    ledger.get("/v1/purposes")
                except ConsentError as error:
                    return error.code
                return "answered"

            assert in_time(ask) == "unavailable"


def test_given_a_command_when_the_answer_has_no_end_then_it_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consent_gate.commands.ledger.ANSWER_BYTES_MAX", 1 << 20)

    def endless(connection: socket.socket, ended: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not ended.is_set():
            connection.sendall(b" " * 65_536)

    with talking(endless) as port, Ledger(Settings(f"http://127.0.0.1:{port}", TOKEN, "", "")) as ledger:
        with pytest.raises(ConsentError, match="more than") as refused:
            ledger.get("/v1/purposes")
        assert refused.value.code == "unavailable"
