"""What both embedded servers need to be children: end with the parent, keep secrets private."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1


class ServerError(RuntimeError):
    """An embedded server did not start or stop; the message says why and names its log."""


def dies_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` after which the kernel sends `number` to the child when its parent thread ends.

    Python runs it after setuid, which matters: a change of user clears the setting. None where
    the kernel is not Linux. Start the child from a thread that lives as long as it should.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork: dlopen after it may deadlock
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent ended before the setting took hold
            os._exit(1)

    return arm


def kept_secret(path: Path) -> str:
    """The secret in the file, made (256 bits, mode 0600, synced) if there is none."""
    if not path.exists():
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    return path.read_text()


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago; another process may still take it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tail(path: Path, characters_max: int = 2000) -> str:
    """The end of a log, for an error message."""
    return path.read_text(errors="replace")[-characters_max:] if path.exists() else ""
