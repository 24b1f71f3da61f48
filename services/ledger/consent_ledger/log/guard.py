"""What holds appends back: a log that is halted, or a database that is behind what was signed."""

from __future__ import annotations

import time
from typing import NamedTuple

from consent_domain.errors import ConsentError

from consent_ledger.log.folder import LogFolder
from consent_ledger.seams import Clock, Head, StoreUnavailable

READ_SECONDS = 1.0


class HeldBack(StoreUnavailable):
    """Nothing may be appended now; the message says to people why, and what to do."""


class SignedSize(NamedTuple):
    """The published checkpoint of the latest epoch; (0, 0) before the first."""

    epoch: int
    size: int


class Guard:
    """Reads the log's folder at most once a second. For one loop or thread."""

    def __init__(self, folder: LogFolder, clock: Clock = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._read_at: float | None = None
        self._signed = SignedSize(0, 0)
        self._trouble = ""

    def signed_size(self) -> SignedSize:
        """What was signed, as of a second ago. Raises HeldBack while the log is halted or cannot be
        read. Two small files once a second, else nothing."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= READ_SECONDS:
            self._read_at = now
            self._trouble = self._look()
        if self._trouble:
            raise HeldBack(self._trouble)
        return self._signed

    def require_current(self, head: Head) -> None:
        """Raise HeldBack if nothing may be appended behind `head`."""
        signed = self.signed_size()
        if (head.epoch, head.position) < signed:
            raise HeldBack(
                f"the head is at {head.epoch}/{head.position}, and {signed.epoch}/{signed.size} was signed: "
                "the database was restored from a backup; run `consent-ledger recover`"
            )

    def _look(self) -> str:
        halt = self._folder.halted()
        if halt is not None:
            return f"the log is halted ({halt.reason}): {halt.detail}"
        try:
            epoch = self._folder.current_epoch()
            checkpoint = self._folder.checkpoint(epoch) if epoch else None
        except ConsentError as error:
            # A checkpoint that cannot be read is made anew by the publisher; what was known stands meanwhile.
            return "" if error.code == "damaged" and self._signed.epoch else error.detail
        if checkpoint is not None:
            self._signed = SignedSize(epoch, checkpoint.size)
        return ""
