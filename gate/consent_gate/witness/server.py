"""The process of a witness: everything is checked before it listens, and granian serves."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from consent_domain.errors import ConsentError

from consent_gate.seeds import read_seed
from consent_gate.signatures import Cosigner, Verifier
from consent_gate.witness.application import Application
from consent_gate.witness.state import State, open_state
from consent_gate.witness.witness import Witness

WHAT = "witness key"
KILL_SECONDS = 10
PARENT_SECONDS = 0.5
BACKPRESSURE = 256
HEADER_MILLISECONDS_MAX = 10_000


class Setup(NamedTuple):
    """What a witness serves with. `logs` are verifier keys; several may have one name."""

    key_file: Path
    state_file: Path
    logs: tuple[str, ...]
    host: str
    port: int


def witness_of(setup: Setup) -> Witness:
    """The witness that files and arguments describe.

    Raises ConsentError if a file is missing, damaged or readable for others, if key and state do not
    belong together, or an argument is no key of a log.
    """
    if not setup.logs:
        raise ConsentError("invalid_value", "no log is given: say its verifier key by --log or --policy")
    logs: dict[str, list[Verifier]] = {}
    for key in (Verifier.parse(text) for text in setup.logs):
        logs.setdefault(key.name, []).append(key)
    cosigner, state = cosigner_of(setup.key_file, setup.state_file)
    return Witness(cosigner, state, logs)


def cosigner_of(key_file: Path, state_file: Path) -> tuple[Cosigner, State]:
    """A key with its state. Raises ConsentError if either cannot be used, or they are not of each other."""
    seed = read_seed(key_file, WHAT)
    state, verifier = open_state(state_file)
    cosigner = Cosigner(verifier.name, seed)
    if str(cosigner.verifier) != str(verifier):
        raise ConsentError(
            "invalid_value", f"{state_file} is the state of another key than {key_file}: of {verifier}"
        )
    return cosigner, state


def serve(setup: Setup, told: Callable[[Witness], None]) -> None:
    """Serve until SIGTERM or SIGINT, once `told` was called.

    Raises ConsentError as `witness_of` does, or if it cannot listen.
    """
    try:
        from granian.constants import Interfaces, Loops
        from granian.http import HTTP1Settings
        from granian.log import LogLevels
        from granian.server import Server
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is missing; install the extra consent-gate[witness]"
        ) from error
    witness = witness_of(setup)  # in this process, too: whoever starts it is told what is wrong
    _require_free(setup.host, setup.port)
    told(witness)
    os.register_at_fork(after_in_child=_obey_signals)
    server = Server(
        "witness",
        address=setup.host,
        port=setup.port,
        interface=Interfaces.ASGI,
        loop=Loops.asyncio,
        websockets=False,
        backpressure=BACKPRESSURE,
        log_level=LogLevels.warning,
        workers_kill_timeout=KILL_SECONDS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_MILLISECONDS_MAX),
    )
    server.serve(target_loader=partial(_application, setup), wrap_loader=False)


def _application(setup: Setup) -> Application:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    return Application(witness_of(setup))


def _end_with(parent: int) -> None:
    """End this worker when its parent was killed: it would hold the port for ever. Nothing is lost by it."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _require_free(host: str, port: int) -> None:
    if not 0 < port < 65_536:
        raise ConsentError("invalid_value", "--port is from 1 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise ConsentError("unavailable", f"cannot listen on {host} port {port}: {error.strerror}") from error


def _obey_signals() -> None:
    """A forked worker inherits handlers that are its parent's; until it has its own, it ends at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
