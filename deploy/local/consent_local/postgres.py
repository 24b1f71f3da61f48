"""PostgreSQL 18 from the wheel, as a child on loopback, durable, with a password of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from consent_local.account import Account, account, cluster_folder, programs
from consent_local.children import ServerError, dies_with_parent, free_port, kept_secret, tail

USER = "consent"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
INITDB_SECONDS_MAX = 120.0


class Postgres:
    """One server on one data folder. Start it from the thread that owns it; it ends with that thread."""

    def __init__(self, data_folder: Path, port: int = 0, durable: bool = True) -> None:
        """Nothing runs yet. Port 0: a free one at each start. Not durable only for data to be thrown away."""
        self._folder = data_folder
        self._port = port
        self._durable = durable
        self._log = data_folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> str:
        """Make the cluster if there is none, start the server, wait until it accepts connections.

        Returns the URL of its database `postgres`. Raises ServerError with the end of the log.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = account()
        password = kept_secret(self._folder / "postgres-password")
        cluster = cluster_folder(self._folder, owner)
        bin_folder = programs(owner)
        data = cluster / "data"
        if not data.exists():
            _initialise(bin_folder, cluster, data, password, owner)
        deadline = time.monotonic() + START_SECONDS_MAX
        # After a kill -9 the last children of the old server may hold its memory a moment longer,
        # and a free port may be taken meanwhile: both end the process early, so try again.
        while True:
            port = self._port or free_port()
            if self._run(bin_folder, data, port, owner, deadline):
                self.url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
                return self.url
            if time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL did not start; {self._log} ends:\n{tail(self._log)}")
            time.sleep(0.5)

    def stop(self) -> None:
        """Disconnect everybody, write a checkpoint, end. Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # at once, with recovery at the next start
            process.wait(STOP_SECONDS_MAX)

    def _run(self, bin_folder: Path, data: Path, port: int, owner: Account | None, deadline: float) -> bool:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [str(bin_folder / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self._log, "ab") as log:
            process = subprocess.Popen(
                command,
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor only
                preexec_fn=dies_with_parent(signal.SIGINT),
                user=owner.user if owner else None,
                group=owner.group if owner else None,
                extra_groups=[] if owner else None,
            )
        self._process = process
        while process.poll() is None:
            if _ready(data / "postmaster.pid", process.pid):
                return True
            if time.monotonic() > deadline:
                self.stop()
                return False
            time.sleep(0.02)
        return False


def _ready(pid_file: Path, pid: int) -> bool:
    """Whether the server itself says so: its process id on the first line, its state on the eighth."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _initialise(bin_folder: Path, cluster: Path, data: Path, password: str, owner: Account | None) -> None:
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
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=INITDB_SECONDS_MAX,
            preexec_fn=dies_with_parent(signal.SIGTERM),
            user=owner.user if owner else None,
            group=owner.group if owner else None,
            extra_groups=[] if owner else None,
        )
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        raise ServerError(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")
    new.rename(data)


def _environment() -> dict[str, str]:
    """No PG* variable of the caller may steer the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
