"""Given a large ledger and an empty replica, then it begins with a snapshot, or with pages if not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from consent_domain.feed import MEDIA_TYPE
from consent_domain.identifiers import parse_token
from consent_gate.gate import Gate
from consent_gate.signatures import Signer
from consent_gate.snapshots.note import read_note
from gate_ledger import page, signed
from scenario import ORIGIN, Ledger, enrolled, opt_out, workspace
from snapshot_files import FEED, KEY, note_beside, sign, snapshot_of

TOKEN = "ck_p_test"


class Server:
    """A ledger's feed of two rows a page, and the snapshot in a folder."""

    def __init__(self, folder: Path) -> None:
        self.ledger: Ledger = enrolled()
        for number in range(10):
            self.ledger.given(workspace(f"customer-{number}"))
        self.path = snapshot_of(self.ledger, folder)
        self.ledger.given(workspace("later"), opt_out())
        self.file: Callable[[bytes], bytes] = lambda data: data
        self.asked: list[str] = []
        self.drips = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body, kind = outer.answer(self.path)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.send_header("consent-question", self.headers.get("consent-question", ""))
                self.end_headers()
                if "/snapshots/" not in self.path or not outer.drips:
                    self.wfile.write(body)
                    return
                with suppress(OSError):  # nobody listens to it to the end
                    for number in range(len(body)):
                        self.wfile.write(body[number : number + 1])
                        time.sleep(0.02)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, address: str) -> tuple[int, bytes, str]:
        parts = urlsplit(address)
        if parts.path == "/v1/feed/snapshot":
            self.asked.append("snapshot")
            if not note_beside(self.path).exists():
                return 403, msgspec.json.encode({"code": "forbidden", "detail": "no"}), "application/json"
            return 200, note_beside(self.path).read_bytes(), "text/plain"
        if parts.path.startswith("/v1/feed/snapshots/"):
            return 200, self.file(self.path.read_bytes()), "application/vnd.apache.parquet"
        after = parse_qs(parts.query)["after"][0]
        self.asked.append(after)
        position = 0 if after == "0" else parse_token(after).position
        if position == len(self.ledger.log):
            time.sleep(0.05)  # a short long poll
        self.ledger.wait(50_000)
        return 200, signed(page(self.ledger, position, rows_max=2), FEED), MEDIA_TYPE

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("consent_gate.snapshots.beginning.POSITION_MIN", 5)
    made = Server(tmp_path)
    yield made
    made.stop()


def connect(server: Server, folder: Path) -> Gate:
    return Gate.connect(server.url, TOKEN, purpose="train", replica_dir=folder, verifier_key=KEY)


def is_right(gate: Gate) -> bool:
    assert gate.wait_until_live(30), gate.status()
    return bool(gate.check("customer-3") and gate.check("later") and not gate.check("acme"))


def test_given_a_snapshot_then_pages_go_on_from_there(server: Server, tmp_path: Path) -> None:
    note = read_note(note_beside(server.path).read_bytes(), FEED.verifier)
    with connect(server, tmp_path / "replica") as gate:
        assert is_right(gate)
        assert server.asked[:3] == ["0", "snapshot", str(note.token)]
        assert not list((tmp_path / "replica").glob("*snapshot*"))


@pytest.mark.parametrize(
    "trouble", ["none to be had", "cut", "a byte now and then", "another file", "another key", "small"]
)
def test_given_a_snapshot_that_is_no_good_then_pages_bring_the_same(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "none to be had":
        note_beside(server.path).unlink()
    elif trouble == "cut":
        server.file = lambda data: data[:100]
        monkeypatch.setattr("consent_gate.snapshots.pulling.AGAIN_SECONDS", 0.01)
    elif trouble == "a byte now and then":
        server.drips = True
        monkeypatch.setattr("consent_gate.snapshots.pulling.AGAIN_SECONDS", 0.01)
        monkeypatch.setattr("consent_gate.snapshots.pulling.TRY_SECONDS_MAX", 0.3)
    elif trouble == "another file":
        server.file = lambda data: data[:-1] + b"x"
    elif trouble == "another key":
        server.path = snapshot_of(server.ledger, tmp_path, "other.parquet")
        sign(server.ledger, server.path, Signer(ORIGIN, b"\7" * 32))
    else:
        monkeypatch.setattr("consent_gate.snapshots.beginning.POSITION_MIN", 10_000)
    with connect(server, tmp_path / "replica") as gate:
        assert is_right(gate)
        assert server.asked.count("snapshot") == (trouble != "small")


def test_given_a_gate_that_is_closed_while_it_fetches_then_it_ends(server: Server, tmp_path: Path) -> None:
    going = threading.Event()

    def slow(data: bytes) -> bytes:
        going.set()
        time.sleep(0.5)
        return data

    server.file = slow
    gate = connect(server, tmp_path / "replica")
    assert going.wait(20)
    gate.close()
    assert not gate.check("customer-3")
