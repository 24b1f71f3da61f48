"""What the tests of faults share: a ledger over HTTP, a log with permits and denials, other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from consent_domain.feed import MEDIA_TYPE
from consent_domain.identifiers import parse_token
from consent_domain.instants import DAY
from consent_gate.gate import Gate
from gate_ledger import SIGNER, page, signed
from scenario import Ledger, enrolled, opt_out, scope, workspace

TOKEN = "ck_p_test"
KEY = str(SIGNER.verifier)
PURPOSE = "train"
TESTS = [path for path in sys.path if path.rstrip("/").endswith("tests")]
SECONDS_MAX = 30.0
"""For what must come about on a machine that others use too; what is tested is that it does."""


def halves(count: int = 20, **policy: Any) -> tuple[Ledger, list[str], list[str]]:
    """A log, those of its workspaces that permit, and those that have opted out."""
    names = [f"w{number:03d}" for number in range(count)]
    ledger = enrolled(**policy).given(
        *(workspace(name, plan=f"p{number % 3}", organisation="corp") for number, name in enumerate(names))
    )
    ledger.wait(DAY)
    ledger.given(*(opt_out(scope=scope(name)) for name in names[1::2]))
    return ledger, names[::2], names[1::2]


class Feed:
    """A ledger's feed on a port of this host. `break_` may change or refuse what is sent."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.signer = SIGNER
        self.tokens = {TOKEN}
        self.asked = 0
        self.down = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = outer.answer(self.path, self.headers.get("authorization", ""))
                self.send_response(status)
                self.send_header("content-type", MEDIA_TYPE)
                self.send_header("content-length", str(len(body)))
                self.send_header("consent-question", self.headers.get("consent-question", ""))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # whoever asked was killed

        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, authorization: str) -> tuple[int, bytes]:
        after = parse_qs(urlsplit(path).query)["after"][0]
        self.asked += 1
        if self.down:
            return 503, msgspec.json.encode({"code": "unavailable", "detail": "down"})
        if authorization.removeprefix("Bearer ") not in self.tokens:
            return 401, msgspec.json.encode({"code": "unauthenticated", "detail": "no such key"})
        position = 0 if after == "0" else parse_token(after).position
        if position == len(self.ledger.log):
            time.sleep(0.1)  # a short long poll
        with self._lock:
            self.ledger.wait(50_000)
            return 200, signed(page(self.ledger, position), self.signer)

    def given(self, *commands: Any) -> int:
        """Record what was commanded; the position of the last event."""
        with self._lock:
            self.ledger.given(*commands)
            return len(self.ledger.log)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(ledger: Ledger) -> Iterator[Feed]:
    """The feed of a log, until the end."""
    feed = Feed(ledger)
    try:
        yield feed
    finally:
        feed.stop()


def connect(feed: Feed, folder: Path, **more: Any) -> Gate:
    """A gate on the feed."""
    how = {"purpose": PURPOSE, "replica_dir": folder, "verifier_key": KEY} | more
    token = how.pop("token", TOKEN)
    return Gate.connect(feed.url, token, **how)


def asked_of_its_own_gate(url: str, folder: str, name: str) -> bool:
    """What a worker does that inherits nothing: whether it permits."""
    with Gate.connect(url, TOKEN, purpose=PURPOSE, replica_dir=folder, verifier_key=KEY) as gate:
        assert gate.wait_until_live(20)
        return bool(gate.check(name))


def until(condition: Callable[[], Any], seconds_max: float = SECONDS_MAX) -> None:
    """Wait for a condition, which must come about."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def permitted(gate: Gate, names: list[str]) -> list[str]:
    """Those that are permitted now."""
    return [name for name in names if gate.check(name)]


PATH = f"""
import os, sys, time
sys.path[:0] = {TESTS!r}
"""
HEAD = """
from pathlib import Path
from consent_gate.gate import Gate
from consent_gate.replica import Replica
folder = Path(sys.argv[1])
"""


def python(
    code: str, *arguments: object, prefix: tuple[str, ...] = (), first: str = "", **more: Any
) -> subprocess.Popen[str]:
    """Another Python that runs `code`; `folder` is its first argument as a path.

    `prefix` is a command that runs it; `first` comes before anything of the gate is imported.
    """
    command = [*prefix, sys.executable, "-c", PATH + first + HEAD + code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **more)


@contextmanager
def process(code: str, *arguments: object, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """`python`, after it said a line; killed at the end."""
    started = python(code, *arguments, **more)
    try:
        assert started.stdout is not None and started.stderr is not None
        assert started.stdout.readline(), started.stderr.read()
        yield started
    finally:
        started.kill()
        started.communicate()


def ran(code: str, *arguments: object, **more: Any) -> list[str]:
    """The lines that `code` printed; it must end well, and in time."""
    started = python(code, *arguments, **more)
    try:
        told, errors = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 0, errors
    assert not errors, errors
    return told.splitlines()


def in_child(work: Callable[[], bool]) -> bool:
    """What `work` says in a forked process."""
    child = os.fork()
    if child == 0:
        passed = False
        try:
            passed = work()
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0
