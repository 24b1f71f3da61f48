"""Who leads: the process that holds the lock on a folder, which ends with the process.

A lock belongs to a file, not to its name. So the leader makes sure at each step that the file it
locked is still the one by that name; whose file was removed, or moved away with the folder, leads
no longer, and stands again like everybody else.
"""

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
        """Whether this process leads, until `resign`, its death, or the end of the file. Never waits.

        Raises OSError if there can be no lock.
        """
        if self._file is not None:
            if self._is_in_place(self._file):
                return True
            self.resign()
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            in_place = self._is_in_place(file)
        except BlockingIOError:
            in_place = False
        except BaseException:
            os.close(file)
            raise
        if not in_place:
            os.close(file)
            return False
        self._file = file
        _held.add(self)
        return True

    def resign(self) -> None:
        """Let another process lead. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _is_in_place(self, file: int) -> bool:
        """Whether the file is still the one that others would lock."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False


def _after_fork() -> None:
    """A child shares its parent's lock and would keep it when the parent dies, while nobody follows."""
    for election in list(_held):
        election.resign()


os.register_at_fork(after_in_child=_after_fork)
