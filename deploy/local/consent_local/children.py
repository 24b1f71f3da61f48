"""What every child process needs: to end with its parent, a bounded log, a private place for secrets."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
LOG_BYTES_MAX = 10 * 1024 * 1024
KILL_SECONDS_MAX = 10.0
POLL_SECONDS = 0.02


class ServerError(RuntimeError):
    """Something did not start or stop; the message says why, names the log, and says what to do."""


class Account(NamedTuple):
    """The unprivileged user and group that a server started by root runs as."""

    user: int
    group: int


class Asking(NamedTuple):
    """One way to ask a child to end, and how long it may take before the next, stronger one."""

    signal: signal.Signals
    seconds_max: float


def launch(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    *,
    on_parent_death: signal.Signals = signal.SIGTERM,
    owner: Account | None = None,
    output: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, with its output at the end of `log`; it ends with this thread.

    `output` (a descriptor) takes its standard output instead. Raises OSError if it cannot be started.
    """
    log.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            cwd="/",
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=descriptor if output is None else output,
            stderr=descriptor,
            start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor only
            preexec_fn=dies_with_parent(on_parent_death),
            user=owner.user if owner else None,
            group=owner.group if owner else None,
            extra_groups=[] if owner else None,
        )
    finally:
        os.close(descriptor)


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


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child ended; then also every process that it left in its group is gone.

    The group is killed while the child is a zombie: only until it is reaped is the group's number ours.
    """
    if process.returncode is not None:
        return True
    if sys.platform == "linux":
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.poll() is not None


def end(
    process: subprocess.Popen[bytes], askings: Sequence[Asking], hurry: Callable[[], bool] = lambda: False
) -> None:
    """Ask the child to end, more strongly each time, at last by SIGKILL, at once if `hurry()`; wait for it.

    Raises subprocess.TimeoutExpired if it outlives even that for 10 s (stuck in the kernel).
    """
    for number, seconds_max in askings:
        if has_ended(process) or hurry():
            break
        process.send_signal(number)
        deadline = time.monotonic() + seconds_max
        while not has_ended(process) and not hurry() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if not has_ended(process):
        process.kill()
        deadline = time.monotonic() + KILL_SECONDS_MAX
        while not has_ended(process):
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(process.args, KILL_SECONDS_MAX)
            time.sleep(POLL_SECONDS)


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """In words, for a terminal: "ended with exit code 1", "was killed by SIGKILL"."""
    code = process.returncode
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file by one of mode 0600, synced; whoever reads sees the old or the new one, whole."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_secret(path: Path) -> str:
    """The secret in the file (256 bits, base64), made if there is none."""
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32).encode())
    return path.read_text()


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago; another process may still take it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nobody listens on the port of loopback at this moment. Raises PermissionError for a low one."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except PermissionError:
        raise
    except OSError:
        return False
    return True


def tail(path: Path, characters_max: int = 2000) -> str:
    """The end of a log, for an error message."""
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4 * characters_max))
        return file.read().decode(errors="replace")[-characters_max:].strip()


def bound_log(log: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Empty a log that grew beyond `bytes_max`, after keeping it as `NAME.1` (one, the last).

    The child goes on writing to the same file: it opened it for appending, so its next line is the
    first. What it writes between the copy and the cut is lost.
    """
    with suppress(FileNotFoundError):
        if log.stat().st_size > bytes_max:
            log.with_name(log.name + ".1").write_bytes(log.read_bytes()[-bytes_max:])
            os.truncate(log, 0)
