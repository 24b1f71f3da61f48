"""Keeps children running: starts one again that ends, waiting longer each time, and says so.

Everything happens in the calling thread, which must be the main one: signals arrive there, the kernel
ends the children with it, and a fork beside other threads may deadlock. Nothing here waits but `wait`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, Protocol

from consent_local.children import (
    Asking,
    ServerError,
    bound_log,
    end,
    has_ended,
    how_it_ended,
    launch,
    tail,
)

BACKOFF_SECONDS_MIN = 0.2
BACKOFF_SECONDS_MAX = 15.0
STEADY_SECONDS = 30.0
"""A child that ran this long starts again at once, as if it had never ended."""
STARTING_POLL_SECONDS = 0.05
STEADY_POLL_SECONDS = 1.0
PATIENCE_SECONDS = 15.0
"""How often a person is told that something is still starting."""
RESTARTS_BEFORE_READY_MAX = 6
"""In 25 s: by then an earlier PostgreSQL that was killed has ended. Later there is no limit."""
EXIT_USAGE = 2
"""How our programs end when their settings are wrong: starting them again cannot help."""


class Stopped(Exception):
    """A signal asked us to stop while something was starting."""


class Program(Protocol):
    """What the supervisor must know of a child."""

    @property
    def name(self) -> str:
        """The word for it on the terminal."""

    @property
    def log(self) -> Path:
        """Where its output goes."""

    @property
    def askings(self) -> Sequence[Asking]:
        """How to make it end cleanly."""

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, without waiting. Raises OSError or ServerError."""

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it can be used, found out within a second."""


class ChildStatus(NamedTuple):
    """What others are told of a child. `state`: starting, running, waiting (to be started again)."""

    name: str
    state: str
    pid: int | None
    restarts: int


class _Child:
    """A program and where it stands. `due_at`: when to launch it, if there is no process."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.launched_at = 0.0
        self.due_at = 0.0
        self.backoff_seconds = BACKOFF_SECONDS_MIN
        self.restarts = 0
        self.exit_code: int | None = None


class Supervisor:
    """A context: inside it SIGTERM, SIGINT and SIGHUP ask to stop; at its end no child is left."""

    def __init__(
        self,
        say: Callable[[str], None],
        on_change: Callable[[list[ChildStatus]], None] = lambda _: None,
    ) -> None:
        """`say` gets sentences for people; `on_change` every child's status after each change."""
        self._say = say
        self._on_change = on_change
        self._children: list[_Child] = []
        self._signals = 0

    def __enter__(self) -> Supervisor:
        self._woken, wake = socket.socketpair()
        self._wake = wake
        self._woken.setblocking(False)
        wake.setblocking(False)
        asking = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._handlers = {number: signal.signal(number, self._on_stop) for number in asking}
        # SIGCHLD needs a handler, or no byte is written that wakes us.
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._descriptor = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stop()
        finally:
            signal.set_wakeup_fd(self._descriptor)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._wake.close()
            self._woken.close()

    def start(self, *programs: Program, seconds_max: float) -> None:
        """Start children beside each other, wait until all are ready, keep them running from then on.

        Raises ServerError, with the end of its log, if one is not ready in time, ends again and again,
        or its settings are wrong; Stopped when a signal comes first.
        """
        children = [_Child(program) for program in programs]
        self._children += children
        begun = told_at = time.monotonic()
        while True:
            self._step()
            starting = [child for child in children if not child.ready]
            if not starting:
                return
            seconds = time.monotonic() - begun
            for child in starting:
                hopeless = child.exit_code == EXIT_USAGE or child.restarts > RESTARTS_BEFORE_READY_MAX
                if hopeless or seconds > seconds_max:
                    raise ServerError(f"{child.program.name} did not start; {_end_of(child.program.log)}")
            if time.monotonic() - told_at > PATIENCE_SECONDS:
                told_at = time.monotonic()
                names = " and ".join(child.program.name for child in starting)
                self._say(f"still starting {names}; see {starting[0].program.log}")
            self._wait(STARTING_POLL_SECONDS)

    def run(
        self,
        *commands: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        seconds_max: float,
    ) -> list[bytes]:
        """Run programs that end by themselves, beside each other and the children; what each printed.

        Raises ServerError if one fails or takes longer; Stopped when a signal comes first.
        """
        deadline = time.monotonic() + seconds_max
        with ExitStack() as stack:
            outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands]
            processes = []
            for command, output in zip(commands, outputs, strict=True):
                process = launch(command, log, environment, output=output.fileno())
                stack.callback(end, process, [Asking(signal.SIGTERM, 5.0)], self._hurries)
                processes.append(process)
            while not all(has_ended(process) for process in processes):
                if time.monotonic() > deadline:
                    raise ServerError(f"setting up did not end within {seconds_max:.0f} s; {_end_of(log)}")
                self._step()
                self._wait(STARTING_POLL_SECONDS)
            for command, process in zip(commands, processes, strict=True):
                if process.returncode != 0:
                    words = " ".join([os.path.basename(command[0]), *command[1:]])
                    raise ServerError(f"`{words}` {how_it_ended(process)}; {_end_of(log)}")
            for output in outputs:
                output.seek(0)
            return [output.read() for output in outputs]

    def supervise(self) -> None:
        """Keep all children running until a signal asks to stop."""
        try:
            while True:
                self._step()
                steady = all(child.ready for child in self._children)
                self._wait(STEADY_POLL_SECONDS if steady else STARTING_POLL_SECONDS)
        except Stopped:
            return

    def _step(self) -> None:
        """Look at every child once; launch, bury, or welcome it."""
        before = self._statuses()
        for child in self._children:
            if child.process is None:
                if time.monotonic() >= child.due_at:
                    self._launch(child)
            elif has_ended(child.process):
                self._bury(child, how_it_ended(child.process))
            elif not child.ready and child.program.is_ready(child.process):
                child.ready = True
                if child.restarts:
                    self._say(f"{child.program.name} runs again")
            bound_log(child.program.log)
        if self._statuses() != before:
            self._on_change(self._statuses())

    def _launch(self, child: _Child) -> None:
        child.launched_at = time.monotonic()
        try:
            child.process = child.program.launch()
        except (OSError, ServerError) as error:
            self._bury(child, f"could not be started: {error}")

    def _bury(self, child: _Child, why: str) -> None:
        if time.monotonic() - child.launched_at >= STEADY_SECONDS:
            child.backoff_seconds = BACKOFF_SECONDS_MIN
        if child.process is not None:
            child.exit_code = child.process.returncode
        child.process, child.ready = None, False
        child.restarts += 1
        child.due_at = time.monotonic() + child.backoff_seconds
        name, log, seconds = child.program.name, child.program.log, child.backoff_seconds
        self._say(f"{name} {why}; starting it again in {seconds:.1f} s; see {log}")
        child.backoff_seconds = min(2 * child.backoff_seconds, BACKOFF_SECONDS_MAX)

    def _stop(self) -> None:
        """End the children, the last started first; at once after a second signal."""
        for child in reversed(self._children):
            if child.process is not None:
                end(child.process, child.program.askings, self._hurries)
                child.process, child.ready = None, False
        self._on_change([])

    def _statuses(self) -> list[ChildStatus]:
        return [
            ChildStatus(
                child.program.name,
                "waiting" if child.process is None else "running" if child.ready else "starting",
                None if child.process is None else child.process.pid,
                child.restarts,
            )
            for child in self._children
        ]

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _hurries(self) -> bool:
        return self._signals > 1

    def _wait(self, seconds_max: float) -> None:
        """Until a signal comes (a child's end is one) or the time is over. Raises Stopped if told to."""
        if not self._signals:
            select.select([self._woken], [], [], seconds_max)
            with suppress(BlockingIOError):
                while self._woken.recv(4096):
                    pass
        if self._signals:
            raise Stopped


def _end_of(log: Path) -> str:
    return f"{log} ends:\n{tail(log)}"
