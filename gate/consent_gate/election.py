"""Who leads: the process that holds the lock on a folder, which ends with the process."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

_held: weakref.WeakSet[Election] = weakref.WeakSet()


class Election:
    """One process's candidacy for a folder."""

    def __init__(self, folder: Path, lock: str = "leader.lock") -> None:
        self._path = folder / lock
        self._file: int | None = None

    def lead(self) -> bool:
        """Whether this process leads, from now until `resign` or its death. Never waits. Raises OSError."""
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        _held.add(self)
        return True

    def resign(self) -> None:
        """Let another process lead. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _after_fork() -> None:
    """A child shares its parent's lock and would keep it when the parent dies, while nobody follows."""
    for election in list(_held):
        election.resign()


os.register_at_fork(after_in_child=_after_fork)
