"""Where workspaces stand, as long as somebody may be asked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from os import getpid
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.verdicts import Standing, Verdicts


class Guarded:
    """Verdicts that raise, rather than read a replica that is let go of or belongs to another process."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._pid = getpid()
        self._lock = threading.Lock()
        self.is_open = True
        self.everybody: Any = None
        """Of the pinned set, once there is one: it numbers lines and verdicts as these do."""
        self.table = verdicts.table
        self.lines = verdicts.lines

    @property
    def is_usable(self) -> bool:
        """Whether it can be asked about anybody, from here."""
        return self.is_open and getpid() == self._pid

    def require_open(self) -> None:
        """Raises ConsentError `unavailable` if nothing can be asked here any more."""
        if getpid() != self._pid:
            raise ConsentError(
                "unavailable", "the job belongs to the process that was forked; call job.pinned() before"
            )
        if not self.is_open:
            raise ConsentError("unavailable", "the job is closed; begin another one")

    def alone(self) -> AbstractContextManager[Any]:
        """No other thread numbers verdicts meanwhile: two of them would get the same number."""
        return self._lock

    def standings(self, names: Sequence[str]) -> list[Standing]:
        met = self._verdicts.met
        if any(name not in met for name in names):
            self.require_open()
            with self._lock:
                return self._verdicts.standings(names)
        return [met[name] for name in names]
