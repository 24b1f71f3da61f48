"""PostgreSQL 18 from the wheel, as a child on loopback, durable, with a password of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from consent_local.account import account, cluster_folder, programs
from consent_local.children import (
    POLL_SECONDS,
    Account,
    Asking,
    ServerError,
    dies_with_parent,
    end,
    free_port,
    has_ended,
    kept_secret,
    launch,
    sync_folder,
    tail,
)

USER = "consent"
START_SECONDS_MAX = 60.0
RETRY_SECONDS = 0.5
INITDB_SECONDS_MAX = 120.0
# No PG* variable of the caller may steer the server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Postgres:
    """One server on one data folder. Start it from the thread that owns it; it ends with that thread."""

    name = "postgres"
    # First: disconnect everybody, write a checkpoint, end. Then: end at once, recover at the next start.
    askings = (Asking(signal.SIGINT, 30.0), Asking(signal.SIGQUIT, 10.0))

    def __init__(self, data_folder: Path, port: int = 0, durable: bool = True) -> None:
        """Nothing runs yet. Port 0: a free one at each start. Not durable only for data to be thrown away."""
        self._folder = data_folder
        self._port = port
        self._durable = durable
        self.log = data_folder / "logs" / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> str:
        """Make the cluster if there is none, start the server, wait until it accepts connections.

        Returns the URL of its database `postgres`. Raises ServerError with the end of the log.
        """
        self.prepare()
        deadline = time.monotonic() + START_SECONDS_MAX
        # After a kill -9 the last children of the old server may hold its memory a moment longer,
        # and a free port may be taken meanwhile: both end the process early, so try again.
        while True:
            self._process = process = self.launch()
            while not has_ended(process) and time.monotonic() < deadline:
                if self.is_ready(process):
                    return self.url
                time.sleep(POLL_SECONDS)
            if time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"PostgreSQL did not start; {self.log} ends:\n{tail(self.log)}")
            time.sleep(RETRY_SECONDS)

    def stop(self) -> None:
        """Disconnect everybody, write a checkpoint, end. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            end(process, self.askings)

    def prepare(self) -> None:
        """Make the cluster if there is none (about 2 s). Raises ServerError with what `initdb` said."""
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = account()
        cluster = cluster_folder(self._folder, owner)
        if not (cluster / "data").exists():
            _initialise(programs(owner), cluster, self._password(), owner)

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server on the cluster that `prepare` made, without waiting."""
        owner = account()
        port = self._port or free_port()
        self.url = f"postgresql://{USER}:{self._password()}@127.0.0.1:{port}/postgres"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(programs(owner) / "postgres"), "-D", str(self._data(owner))]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return launch(command, self.log, ENVIRONMENT, on_parent_death=signal.SIGINT, owner=owner)

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the server itself says so: its process id on the first line, its state on the eighth."""
        try:
            lines = (self._data(account()) / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    def _data(self, owner: Account | None) -> Path:
        return cluster_folder(self._folder, owner) / "data"

    def _password(self) -> str:
        return kept_secret(self._folder / "postgres-password")


def _initialise(bin_folder: Path, cluster: Path, password: str, owner: Account | None) -> None:
    """initdb into a folder beside `data`, then rename: a crash leaves no half cluster behind."""
    new = cluster / "data.new"
    shutil.rmtree(new, ignore_errors=True)
    password_file = cluster / "password.new"
    password_file.unlink(missing_ok=True)
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(password)
        if owner is not None:
            os.fchown(file.fileno(), owner.user, owner.group)
    command = [str(bin_folder / "initdb"), "-D", str(new), "-U", USER, "--pwfile", str(password_file)]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=INITDB_SECONDS_MAX,
            preexec_fn=dies_with_parent(signal.SIGTERM),
            user=owner.user if owner else None,
            group=owner.group if owner else None,
            extra_groups=[] if owner else None,
        )
    except subprocess.TimeoutExpired:
        raise ServerError(f"initdb did not end within {INITDB_SECONDS_MAX:.0f} s") from None
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        raise ServerError(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:].strip()}")
    new.rename(cluster / "data")
    sync_folder(cluster)
