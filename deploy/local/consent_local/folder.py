"""The data folder of one local installation: whose it is, who uses it, what is in it.

format              what made it and in which version; without it a folder is not ours
lock                held (flock) by the `up` that uses it
credentials.json    addresses and API keys
ports.json          the ports of PostgreSQL and NATS, kept so that everybody finds them again
status.json         which children run
keys/               the feed key, the log key and what it signed, the master key and the key store of
                    sealed fields
log/                the log as files: tiles and checkpoints, which the publisher writes
postgres/, nats/    their data; replica/: the ledger's replica for checks
logs/               one log a child, bounded
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from pathlib import Path

from consent_local.account import RECORD, outside_folder
from consent_local.children import ServerError, free_port, is_free, write_atomically

FORMAT = 1
FORMAT_LINE = f"consent-local {FORMAT}\n"
FREE_BYTES_MIN = 512 * 1024 * 1024
LOCK_SECONDS_MAX = 1.0
LOCK = "lock"
FORMAT_FILE = "format"
# `format` and `lock` last: what a stopped removal leaves is still recognised, and still locked.
CONTENTS = (
    "credentials.json", "ports.json", "status.json", "keys", "log", "logs", "replica", "nats", "postgres",
    "postgres-password", RECORD, FORMAT_FILE, LOCK,
)  # fmt: skip


class DataFolder:
    """A folder that was recognised as ours; `close` gives up its lock."""

    def __init__(self, path: Path, lock: int) -> None:
        """Use `make` or `existing`."""
        self.path = path
        self._lock = lock

    @classmethod
    def make(cls, path: Path) -> DataFolder:
        """The folder, made if it is not there, and locked.

        Raises ServerError if it is in use, holds something else, was made by a newer version, or its
        disk is full; OSError if it cannot be made.
        """
        path = path.absolute()
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        if not _is_ours(path) and any(
            entry.name not in (LOCK, f"{FORMAT_FILE}.new") for entry in path.iterdir()
        ):
            raise ServerError(
                f"{path} holds other files and was not made by consent-local; name another folder"
            )
        folder = cls(path, _locked(path))
        try:
            free = shutil.disk_usage(path).free
            if free < FREE_BYTES_MIN:
                raise ServerError(
                    f"the disk of {path} is full: {free >> 20} MiB free, {FREE_BYTES_MIN >> 20} MiB needed"
                )
            if not _is_ours(path):
                write_atomically(path / FORMAT_FILE, FORMAT_LINE.encode())
            for name in ("keys", "logs"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def existing(cls, path: Path) -> DataFolder:
        """The folder, locked. Raises ServerError if it is not ours or is in use."""
        path = path.absolute()
        if not path.is_dir() or not _is_ours(path):
            raise ServerError(f"{path} is no folder of consent-local")
        return cls(path, _locked(path))

    def close(self) -> None:
        """Let others use it."""
        os.close(self._lock)

    def ports(self, names: tuple[str, ...]) -> dict[str, int]:
        """A port for each name: the one it had, unless somebody else took that meanwhile."""
        record = self.path / "ports.json"
        known: dict[str, int] = json.loads(record.read_text()) if record.exists() else {}
        ports = {name: known[name] if is_free(known.get(name, 0)) and name in known else 0 for name in names}
        for name in names:
            while not ports[name] or list(ports.values()).count(ports[name]) > 1:
                ports[name] = free_port()
        write_atomically(record, json.dumps(ports).encode())
        return ports

    def remove(self) -> list[str]:
        """Remove what consent-local made, the cluster outside the folder too; the names of what was left.

        Raises ServerError if PostgreSQL's recorded folder is none of ours; OSError if something cannot
        be removed: call it again.
        """
        outside = outside_folder(self.path)
        if outside is not None and outside.exists():
            shutil.rmtree(outside)
        for name in CONTENTS:
            _remove(self.path / name)
        left = sorted(entry.name for entry in self.path.iterdir())
        if not left:
            self.path.rmdir()
        return left


def in_use(path: Path) -> bool:
    """Whether an `up` holds the folder now."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_ours(path: Path) -> bool:
    try:
        line = (path / FORMAT_FILE).read_text()
    except FileNotFoundError:
        return False
    name, _, version = line.strip().partition(" ")
    if name != "consent-local" or not version.isdecimal():
        raise ServerError(f"{path / FORMAT_FILE} is not one of consent-local's; name another folder")
    if int(version) > FORMAT:
        raise ServerError(
            f"{path} was made by a newer version (format {version}, this one: {FORMAT}): use that version"
        )
    return True


def _locked(path: Path) -> int:
    """A descriptor that holds the lock. The kernel gives it up with the process, however that ends."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor)
        # A `reset` may have removed the file between the two calls: then this locks nothing.
        if not os.path.samestat(os.fstat(descriptor), os.stat(path / LOCK)):
            raise BlockingIOError
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        raise ServerError(
            f"{path} is in use by another consent-local; stop that, or name another folder"
        ) from None
    return descriptor


def _lock(descriptor: int) -> None:
    """Raises BlockingIOError if another holds it for a second; `in_use` holds it for a moment only."""
    deadline = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _remove(path: Path) -> None:
    for found in (path, path.with_name(path.name + ".new")):
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)
