"""A gate over HTTP, against a real server that sends what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from consent_domain.errors import ConsentError
from consent_domain.feed import MEDIA_TYPE
from consent_domain.identifiers import parse_token
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.signatures import Signer
from gate_ledger import SIGNER, page, signed
from scenario import Ledger, enrolled, opt_out

TOKEN = "ck_p_test"
Answer = tuple[int, bytes]


class Server:
    """The ledger's feed. `tamper` changes what is sent."""

    def __init__(self) -> None:
        self.ledger: Ledger = enrolled()
        self.tamper: Callable[[bytes], Answer | bytes] = lambda data: data
        self.signer = SIGNER
        self.slow = 0.0
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = outer.answer(self.path, self.headers.get("authorization", ""))
                self.send_response(status)
                self.send_header("content-type", MEDIA_TYPE)
                self.send_header("content-length", str(len(body)))
                self.send_header("consent-question", self.headers["consent-question"])
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, authorization: str) -> Answer:
        parts = urlsplit(path)
        after = parse_qs(parts.query)["after"][0]
        self.asked.append(after)
        if parts.path != "/v1/feed/changes" or authorization != f"Bearer {TOKEN}":
            return 401, msgspec.json.encode({"code": "unauthenticated", "detail": "no key"})
        position = 0 if after == "0" else parse_token(after).position
        if position == len(self.ledger.log):
            time.sleep(0.05)  # a short long poll
        self.ledger.wait(50_000)
        told = signed(page(self.ledger, position), self.signer)
        time.sleep(self.slow)
        sent = self.tamper(told)
        return (200, sent) if isinstance(sent, bytes) else sent

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def connect(server: Server, folder: Path, **more: Any) -> Gate:
    how = {"purpose": "train", "replica_dir": folder, "verifier_key": str(SIGNER.verifier)} | more
    return Gate.connect(server.url, TOKEN, **how)


def until(condition: Callable[[], Any], seconds_max: float = 10.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_given_a_ledger_then_a_gate_fetches_it_and_hears_of_an_opt_out(
    server: Server, tmp_path: Path
) -> None:
    with connect(server, tmp_path) as gate:
        assert not gate.check("acme")  # before anything came
        assert gate.wait_until_live(10)
        assert gate.check("acme")
        server.ledger.given(opt_out())
        until(lambda: not gate.check("acme"))
        assert gate.check("acme").reasons[0].code == "opt_out_requested"
    assert server.asked[0] == "0"


async def test_a_gate_is_usable_in_asynchronous_code(server: Server, tmp_path: Path) -> None:
    async with connect(server, tmp_path) as gate:
        assert await gate.until_live(10)
        assert gate.check("acme")
        assert (await gate.check_many_async(["acme"])).permitted == [True]


def test_given_a_second_gate_of_the_host_then_it_opens_what_the_first_fetched(
    server: Server, tmp_path: Path
) -> None:
    with connect(server, tmp_path) as gate:
        assert gate.wait_until_live(10)
        with connect(server, tmp_path) as second:
            assert second.check("acme")
            assert server.asked.count("0") == 1


def test_given_a_page_that_was_tampered_with_then_halt(server: Server, tmp_path: Path) -> None:
    with connect(server, tmp_path) as gate:
        assert gate.wait_until_live(10)
        server.tamper = lambda data: data.replace(b"consent.test", b"consent.evil")
        until(lambda: gate.status().state == "halted")
        assert not gate.check("acme")
        server.tamper = lambda data: data
        until(lambda: gate.check("acme"))


def test_given_another_key_then_nothing_is_ever_permitted(server: Server, tmp_path: Path) -> None:
    server.signer = Signer("consent.test/feed", b"\x07" * 32)
    with connect(server, tmp_path) as gate:
        until(lambda: gate.status().code == "wrong_key")
        assert not gate.check("acme") and gate.status().state != "live"


def test_given_a_page_replayed_for_ever_then_the_gate_grows_stale(server: Server, tmp_path: Path) -> None:
    with connect(server, tmp_path, max_staleness=0.6) as gate:
        assert gate.wait_until_live(10)
        old = signed(page(server.ledger, len(server.ledger.log)))

        def replay(_: bytes) -> bytes:
            time.sleep(0.02)
            return old

        server.tamper = replay
        server.ledger.given(opt_out())
        until(lambda: not gate.check("acme"), 3.0)
        assert gate.check("acme").reasons[0].code in ("stale", "halted")


def test_given_answers_that_are_slow_then_ages_count_from_asking(server: Server, tmp_path: Path) -> None:
    server.slow = 0.7
    with connect(server, tmp_path, max_staleness=0.5) as gate:
        began = boot_nanoseconds()
        until(lambda: gate.replica.position == len(server.ledger.log))
        while boot_nanoseconds() - began < 2_000_000_000:
            assert not gate.check("acme")  # each watermark is 0.7 s old when it comes
            time.sleep(0.01)
        assert gate.status().state == "stale"


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [(410, "resync", "live"), (409, "forked", "halted"), (409, "other_origin", "halted")],
)
def test_given_a_refusal_then_begin_anew_or_halt(
    server: Server, tmp_path: Path, status: int, code: str, state: str
) -> None:
    with connect(server, tmp_path) as gate:
        assert gate.wait_until_live(10)
        refusals = 1 if code == "resync" else 1_000

        def refuse(data: bytes) -> Answer | bytes:
            nonlocal refusals
            refusals -= 1
            return data if refusals < 0 else (status, msgspec.json.encode({"code": code, "detail": "no"}))

        before = server.asked.count("0")
        server.tamper = refuse
        if state == "live":
            until(lambda: server.asked.count("0") > before)
            assert gate.wait_until_live(10)
        else:
            until(lambda: gate.status().state == state)
            assert not gate.check("acme")


@pytest.mark.parametrize("sent", [(500, b"oops"), (503, b"{}"), (302, b""), (200, b""), (200, b"\x00" * 100)])
def test_given_nonsense_then_nothing_is_permitted(server: Server, tmp_path: Path, sent: Answer) -> None:
    server.tamper = lambda _: sent
    with connect(server, tmp_path) as gate:
        until(lambda: gate.status().why)
        assert not gate.check("acme")
        server.tamper = lambda data: data
        assert gate.wait_until_live(10)


def test_given_a_wrong_token_then_nothing_is_permitted_and_it_says_why(
    server: Server, tmp_path: Path
) -> None:
    with Gate.connect(server.url, "ck_wrong", purpose="train", replica_dir=tmp_path) as gate:
        until(lambda: "unauthenticated" in gate.status().why)
        assert not gate.check("acme")


def test_given_a_ledger_that_goes_away_then_stale_and_live_again_when_it_is_back(
    server: Server, tmp_path: Path
) -> None:
    with connect(server, tmp_path, max_staleness=0.5) as gate:
        assert gate.wait_until_live(10)
        server.tamper = lambda _: (503, b"{}")
        until(lambda: not gate.check("acme"))
        assert gate.check("acme").reasons[0].code == "stale"
        server.tamper = lambda data: data
        until(lambda: gate.check("acme"))


def test_given_a_mistyped_verifier_key_then_there_is_no_gate(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="invalid_value"):
        connect(server, tmp_path, verifier_key="nonsense")
