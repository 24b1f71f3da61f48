"""What is not what was written, and how whoever follows gets to know it.

LMDB keeps no checksums, so `cells` does. Whoever reads a cell that does not fit its checksum, or a
page that LMDB cannot make sense of, decides nothing and leaves a note in the replica's folder:

    damaged      names the environment that somebody found damaged

The follower looks for it once a second, gives that environment up, and fetches everything anew.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import lmdb
import msgspec
from consent_domain.errors import ConsentError

from consent_gate.boot import boot_nanoseconds
from consent_gate.folders import write_private

_HEEDED_NANOSECONDS_MIN = 10_000_000_000
"""No more often is everything fetched anew: memory that is broken breaks the next replica too."""
_DAMAGES = (
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.ProblemError,
    lmdb.VersionMismatchError,
    msgspec.MsgspecError,
)


def is_damage(error: BaseException) -> bool:
    """Whether an error says that what a replica holds is not what was written."""
    return isinstance(error, _DAMAGES) or (isinstance(error, ConsentError) and error.code == "damaged")


def report_damage(environment: Path) -> None:
    """Have whoever follows fetch anew what `environment` holds. Never raises."""
    with suppress(OSError):
        write_private(environment.parent / "damaged", environment.name.encode())


class DamageReports:
    """The notes that were left in a folder."""

    def __init__(self, folder: Path) -> None:
        self._note = folder / "damaged"
        self._heeded = -_HEEDED_NANOSECONDS_MIN

    def heed(self, name: str) -> bool:
        """Whether the environment of this name was found damaged; asked again, it says no. Raises OSError."""
        now = boot_nanoseconds()
        if now - self._heeded < _HEEDED_NANOSECONDS_MIN or not self._note.exists():
            return False
        self._heeded = now
        named = self._note.read_bytes()
        self._note.unlink()
        return named == name.encode()
