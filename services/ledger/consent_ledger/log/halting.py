"""Whether the log is halted: asked for every answer, looked up at most every 20 ms."""

from __future__ import annotations

import time

from consent_domain.errors import ConsentError

from consent_ledger.log.folder import Halt, LogFolder
from consent_ledger.seams import Clock

LOOK_SECONDS = 0.02


class Halting:
    """What stands in the folder's `halt`, as of 20 ms ago. For one loop."""

    def __init__(self, folder: LogFolder, clock: Clock = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._looked: float | None = None
        self._halt: Halt | None = None

    def __call__(self) -> bool:
        """Whether nothing may be decided, appended or told to gates. Never raises."""
        return self.why() is not None

    def why(self) -> Halt | None:
        """Why, None if it is not halted. Never raises."""
        now = self._clock()
        if self._looked is None or not 0 <= now - self._looked < LOOK_SECONDS:
            self._halt = self._folder.halted()
            self._looked = now
        return self._halt

    def require_sound(self) -> None:
        """Raises ConsentError `damaged` while the log is halted; the details are for operators."""
        halt = self.why()
        if halt is not None:
            raise ConsentError(
                "damaged", f"the log is halted ({halt.reason}); nothing is told until that is mended"
            )
