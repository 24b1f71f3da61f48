"""LMDB environments, opened once a process, and opened anew after a fork.

Learnt by breaking it: the same environment opened twice in one process loses its reader locks;
one that came through a fork shares its parent's reader slots; `close` under a reader of another
thread is a crash. So there is one handle a path and process, its pid is compared before use,
and nobody closes it: it goes when the last one who holds it lets go.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

import lmdb

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
_lock = threading.Lock()


def environment(path: Path, map_bytes: int, *, create: bool = False) -> Environment:
    """The process's handle of the environment at `path`. Raises lmdb.Error if there is none to open."""
    key = os.path.realpath(path)
    with _lock:
        known = _open.get(key)
        if known is not None and known.pid == os.getpid():
            return known
        if known is not None:
            known.lmdb.close()
        opened = Environment(path, map_bytes, create)
        _open[key] = opened
        return opened


def _after_fork() -> None:
    """In the child: a lock that another thread of the parent held would be held for ever."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
