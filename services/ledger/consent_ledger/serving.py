"""Serving with granian: worker processes on one socket; one that dies is replaced.

granian 2 ends when a worker dies unless it is told to respawn, and ends in any case when one dies
again within 5.5 s of being replaced: whoever supervises this process starts it again then.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import tempfile

from consent_domain.errors import ConsentError
from consent_plumbing.process import EXIT_OK
from granian.constants import Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server import Server

TARGET = "consent_ledger.application:make"
WORKERS_MAX = 64
RESPAWN_SECONDS = 0.5
KILL_SECONDS = 10
"""How long a worker may take to finish what it has begun."""
CONNECTIONS_MAX = 4_096
"""Of each worker; the next one waits to be accepted. The feed alone keeps one open for each gate."""
FILES_MAX = 2 * CONNECTIONS_MAX
METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def serve(host: str, port: int, workers: int) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises ConsentError for an address that cannot be had."""
    if not 1 <= workers <= WORKERS_MAX:
        raise ConsentError("invalid_value", f"--workers is from 1 to {WORKERS_MAX}")
    if not 0 < port < 65_536:
        raise ConsentError("invalid_value", "--port is from 1 to 65535")
    _require_free(host, port)
    _allow_files()
    os.register_at_fork(after_in_child=_obey_signals)
    folder = _metrics_folder() if workers > 1 else None
    try:
        server = Server(
            TARGET,
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            workers=workers,
            loop=Loops.uvloop,
            factory=True,
            websockets=False,
            backpressure=CONNECTIONS_MAX,
            respawn_failed_workers=True,
            respawn_interval=RESPAWN_SECONDS,
            workers_kill_timeout=KILL_SECONDS,
            http1_settings=HTTP1Settings(header_read_timeout=10_000),
        )
        server.serve()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return EXIT_OK


def _require_free(host: str, port: int) -> None:
    """Raises ConsentError `unavailable` if the port is taken, or the address none of this host's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise ConsentError("unavailable", f"cannot listen on {host} port {port}: {error.strerror}") from error


def _allow_files() -> None:
    """Let the workers have as many files open as they have connections: a shell often allows them fewer."""
    now, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if allowed == resource.RLIM_INFINITY else min(FILES_MAX, allowed)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, allowed))


def _obey_signals() -> None:
    """A forked worker inherits the parent's handlers, which only note the signal for the parent's loop: until
    the worker has its own, it would ignore SIGTERM, and stopping would take `KILL_SECONDS`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _metrics_folder() -> str:
    """Where several workers write their metrics; each finds it by the environment that it inherits."""
    folder = tempfile.mkdtemp(prefix="consent-metrics-")
    os.environ[METRICS_FOLDER_VARIABLE] = folder
    return folder
