"""LMDB environments, opened once a process, and opened anew after a fork.

Learnt by breaking it: the same environment opened twice in one process loses its reader locks
when one is closed; `close` under a reader of another thread is a crash; and `close` in a child of
what came through a fork frees the *parent's* reader slots, so that pages are written over while
the parent still reads them. So there is one handle a path and process, its pid is compared before
use, and nobody closes it: it goes when the last one who holds it lets go. A child keeps what it
inherited, untouched, until it ends, and opens the same files anew.

And LMDB believes its files: one that was cut short, and the sparse end of a lock file on a disk that is
full, are a SIGBUS for whoever touches what is missing. So a file is measured before it is mapped, and the
lock file is written in full.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb
from consent_domain.errors import ConsentError
from lmdb import _envid

from consent_gate.folders import PRIVATE_FILE, PRIVATE_FOLDER, require_private, write_private

READERS_MAX = 1024
_DATA, _LOCK = "data.mdb", "lock.mdb"
_LOCK_BYTES = READERS_MAX * 64 + 4096
"""What LMDB wants for so many readers, 64 bytes each and a head; it takes a longer file as it is."""
MAP_BYTES = 1 << 36
"""64 GiB of address space, not of disk: a map that never fills never has to be grown under its readers."""


class Environment:
    """One environment as this process holds it."""

    def __init__(self, path: Path, map_bytes: int, create: bool) -> None:
        """Raises lmdb.Error or OSError if it cannot be opened, ConsentError `damaged` if its file was cut
        short, `unsafe_folder` if another user could have written it, `unavailable` if it cannot be mapped."""
        self.path = path
        self.pid = os.getpid()
        if create:
            _make(path)
        else:
            for part in (path, path / _DATA, path / _LOCK):
                require_private(part)
        self.lmdb = _mapped(path, map_bytes)
        self._file = os.stat(path / _DATA)
        if not create and self._file.st_size < self.file_bytes_min:
            raise ConsentError("damaged", f"{path} was cut short; whoever follows fetches it anew")

    @property
    def file_bytes_min(self) -> int:
        """How far readers may look into the file."""
        return (int(self.lmdb.info()["last_pgno"]) + 1) * int(self.lmdb.stat()["psize"])

    @property
    def is_in_place(self) -> bool:
        """Whether its path still leads to it: it may have been removed, or another one be there."""
        try:
            return os.path.samestat(self._file, os.stat(self.path / _DATA))
        except OSError:
            return False

    def fill_up(self) -> None:
        """Make the file as long as it says it is. Pages that were taken and given back were never written."""
        data = self.path / _DATA
        with suppress(OSError):
            if os.stat(data).st_size < self.file_bytes_min:
                os.truncate(data, self.file_bytes_min)


def _make(path: Path) -> None:
    path.mkdir(mode=PRIVATE_FOLDER)
    write_private(path / _LOCK, bytes(_LOCK_BYTES))


def _mapped(path: Path, map_bytes: int) -> lmdb.Environment:
    try:
        return lmdb.open(
            str(path),
            map_size=map_bytes,
            create=False,
            mode=PRIVATE_FILE,
            sync=False,
            max_readers=READERS_MAX,
            readahead=False,
        )
    except lmdb.MemoryError as error:
        gigabytes = map_bytes / (1 << 30)
        raise ConsentError(
            "unavailable",
            f"the replica takes {gigabytes:g} GiB of address space, though not of memory, and this process "
            "is not given as much: raise its limit (ulimit -v, RLIMIT_AS), or connect with mode='server'",
        ) from error


_open: weakref.WeakValueDictionary[str, Environment] = weakref.WeakValueDictionary()
_inherited: list[Environment] = []
"""What came through forks: never used, and never let go, which would close its files and lose the locks
that this process has on the same files."""
_lock = threading.Lock()


def environment(path: Path, map_bytes: int, *, create: bool = False) -> Environment:
    """The process's handle of the environment at `path`. Raises as `Environment` does."""
    key = os.path.realpath(path)
    with _lock:
        known = _open.get(key)
        if known is not None and known.pid == os.getpid() and known.is_in_place:
            return known
        if known is None or known.pid == os.getpid():
            opened = Environment(path, map_bytes, create)
        else:
            _inherited.append(known)
            with _inherited_files_forgotten():
                opened = Environment(path, map_bytes, create)
        _open[key] = opened
        return opened


@contextmanager
def _inherited_files_forgotten() -> Iterator[None]:
    """lmdb refuses to open files that are open already, and counts what was open before the fork.

    It asks `lmdb._envid.env_keys` which files those are. There is no public way; a test forks.
    """
    asked = _envid.env_keys
    _envid.env_keys = lambda *_: ()
    try:
        yield
    finally:
        _envid.env_keys = asked


def _after_fork() -> None:
    """In the child: a lock that another thread of the parent held would be held for ever."""
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_open.values())


os.register_at_fork(after_in_child=_after_fork)
