"""A log's folder behind an address: what any file server makes of one, with keys for entries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from signed_logs import KEY, SignedLog

TOKEN = "ck_a_auditor"


class Served:
    """A log that is served; a test may change it between two requests. `asked` are the paths so far."""

    def __init__(self, log: SignedLog, folder: Path) -> None:
        self.log = log
        self.folder = log.write(folder)
        self.asked: list[str] = []
        self.refused: dict[str, int] = {}
        """Path → how often it is answered with 503 from now on."""
        self.url = ""

    def settings(self) -> dict[str, str]:
        """The environment of an auditor who pins the log's key."""
        return {"CONSENT_URL": self.url, "CONSENT_TOKEN": TOKEN, "CONSENT_VERIFIER_KEY": KEY}

    def answer(self, path: str, token: str) -> tuple[int, bytes]:
        """What is answered to a request."""
        self.asked.append(path)
        if self.refused.get(path, 0):
            self.refused[path] -= 1
            return 503, _problem("overloaded", "come again")
        checkpoint = self.log.checkpoint
        if path == "/v1/log":
            about: dict[str, Any] = {"origin": checkpoint.name, "epoch": 1, "prefix": "/log"}
            return 200, json.dumps(about | {"verifierKeys": [KEY]}).encode()
        if path.startswith("/v1/events/"):
            return self._proof(int(path.split("/")[3]))
        if "/tile/entries/" in path and token != TOKEN:
            return 401, _problem("unauthenticated", "entries name customers")
        file = self.folder / path.removeprefix("/log/")
        return (200, file.read_bytes()) if file.is_file() else (404, b"")

    def _proof(self, position: int) -> tuple[int, bytes]:
        if not 1 <= position <= len(self.log.entries):
            return 409, _problem("beyond_checkpoint", f"event {position} is not covered")
        return 200, self.log.proof(position)


def _problem(code: str, detail: str) -> bytes:
    return json.dumps({"code": code, "detail": detail}).encode()


@contextmanager
def served(log: SignedLog, folder: Path) -> Iterator[Served]:
    """Serve a log until the end."""
    given = Served(log, folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            status, body = given.answer(self.path, token)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    given.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield given
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
