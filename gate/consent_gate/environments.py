"""LMDB environments, opened once a process, and opened anew after a fork.

Learnt by breaking it: the same environment opened twice in one process loses its reader locks
when one is closed; `close` under a reader of another thread is a crash; and `close` in a child of
what came through a fork frees the *parent's* reader slots, so that pages are written over while
the parent still reads them. So there is one handle a path and process, its pid is compared before
use, and nobody closes it: it goes when the last one who holds it lets go. A child keeps what it
inherited, untouched, until it ends, and opens the same files anew.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
from lmdb import _envid

READERS_MAX = 1024
MAP_BYTES = 1 << 36
"""64 GiB of address space, not of disk: a map that never fills never has to be grown under its readers."""


class Environment:
    """One environment as this process holds it."""

    def __init__(self, path: Path, map_bytes: int, create: bool) -> None:
        self.path = path
        self.pid = os.getpid()
        self.lmdb = lmdb.open(
            str(path),
            map_size=map_bytes,
            create=create,
            sync=False,
            max_readers=READERS_MAX,
            readahead=False,
        )


_open: weakref.WeakValueDictionary[str, Environment] = weakref.WeakValueDictionary()
_inherited: list[Environment] = []
"""What came through forks: never used, and never let go, which would close its files and lose the locks
that this process has on the same files."""
_lock = threading.Lock()


def environment(path: Path, map_bytes: int, *, create: bool = False) -> Environment:
    """The process's handle of the environment at `path`. Raises lmdb.Error if there is none to open."""
    key = os.path.realpath(path)
    with _lock:
        known = _open.get(key)
        if known is not None and known.pid == os.getpid():
            return known
        if known is None:
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
