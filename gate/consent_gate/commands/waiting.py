"""Waiting for the ledger, never in silence: one line on standard error says for what, why, and how long."""

from __future__ import annotations

import argparse
import math
import sys
import time
from types import TracebackType
from typing import Self

from consent_domain.errors import ConsentError

from consent_gate.commands.ledger import Ledger
from consent_gate.commands.settings import Settings
from consent_gate.commands.terminal import plain
from consent_gate.filtering import JOB_WAIT_SECONDS_MAX
from consent_gate.gate import Gate
from consent_gate.pin import require_hope

SILENT_SECONDS_MAX = 1.0
"""What takes no longer is no waiting."""
AGAIN_SECONDS_MIN = 10.0
"""Where there is no terminal, whose line is written over, another reason is told this long after the last."""
SECONDS_MAX = 86_400
_POLL_SECONDS = 0.02
_TRY_SECONDS = 0.5
_PASSES = ("unavailable", "overloaded", "stale", "damaged", "internal")
"""The codes of what may be over when it is tried again."""


def add_wait(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add `--wait` to a command's arguments, or to a group of them."""
    command.add_argument(
        "--wait", type=_seconds, metavar="SECONDS",
        help="for a ledger that does not answer yet, and for its newest state; by default "
        f"{JOB_WAIT_SECONDS_MAX:.0f} for its state, and not for who does not answer",
    )  # fmt: skip


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= SECONDS_MAX:
        raise ValueError(text)
    return seconds


def followed(ledger: Ledger, settings: Settings, seconds_max: float | None) -> tuple[Gate, float]:
    """A gate that knows the ledger's newest state, and the seconds that are left of `seconds_max`.

    Waits for it: see `add_wait`. Raises ConsentError as `Ledger.require_feed` and `pin.pinned` do: at once,
    or after some seconds, for what does not mend itself.
    """
    with Waiting(settings.url, JOB_WAIT_SECONDS_MAX if seconds_max is None else seconds_max) as waiting:
        while True:
            try:
                ledger.require_feed(settings.feed_key)
                break
            except ConsentError as error:
                if seconds_max is None or error.code not in _PASSES or not waiting.left:
                    raise
                waiting.tell(error.detail)
            time.sleep(min(_TRY_SECONDS, waiting.left))
        gate = Gate.connect(
            settings.url,
            settings.token,
            replica_dir=settings.replica or None,
            verifier_key=settings.feed_key or None,
        )
        try:
            while (status := gate.status()).state != "live":
                require_hope(status, waiting.seconds, waiting.seconds_max)
                waiting.tell(f"{status.state}{f', {status.why}' if status.why else ''}")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            gate.close()
            raise
        return gate, waiting.left


class Waiting:
    """The line. A context, which takes it away again where that can be."""

    def __init__(self, url: str, seconds_max: float) -> None:
        self.seconds_max = seconds_max
        self._url = url
        self._begun = time.monotonic()
        self._line = ""
        self._told_at = -math.inf
        self._is_terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """For how long it has been waited."""
        return time.monotonic() - self._begun

    @property
    def left(self) -> float:
        """How many seconds more are worth it."""
        return max(0.0, self.seconds_max - self.seconds)

    def tell(self, why: str) -> None:
        """Say that it is waited for, and why, if that is not seen already."""
        if self.seconds < SILENT_SECONDS_MAX:
            return
        line = f"consent: waiting for the ledger at {plain(self._url)}: {plain(why)}"
        whole = f"{line}; gives up in {math.ceil(self.left)} s"
        if self._is_terminal:
            if whole != self._line:
                self._line = whole
                print(f"\r\x1b[K{whole}", end="", file=sys.stderr, flush=True)
        elif line != self._line and self.seconds - self._told_at >= AGAIN_SECONDS_MIN:
            self._line, self._told_at = line, self.seconds
            print(whole, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal and self._line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
