"""Seeds of Ed25519 keys in files: 32 bytes that only their owner may read (mode 0600)."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from consent_domain.errors import ConsentError

from consent_gate.durable import sync_folder
from consent_gate.signatures import SEED_BYTES

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_seed(path: Path, what: str) -> bytes:
    """The seed in a file, called `what` in messages.

    Raises ConsentError `unavailable` for a file that is missing, others may read, or holds no 32 bytes.
    """
    try:
        with path.open("rb") as file:
            mode, seed = os.fstat(file.fileno()).st_mode, file.read(SEED_BYTES + 1)
    except OSError as error:
        raise ConsentError("unavailable", f"the {what} {path} cannot be read: {error.strerror}") from error
    if mode & _OTHERS:
        raise ConsentError("unavailable", f"others may read the {what} {path}; run chmod 600 on it")
    if len(seed) != SEED_BYTES:
        raise ConsentError("unavailable", f"the {what} {path} does not hold the {SEED_BYTES} bytes of a seed")
    return seed


def make_seed(path: Path) -> bool:
    """Make a file with a new seed (mode 0600, durable) if there is none; whether it was made.

    Of several processes that make it at once one wins. Raises OSError where it cannot be written.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SEED_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)  # unlike a rename it never replaces a key that another process made
        except FileExistsError:
            return False
    finally:
        unfinished.unlink()
    sync_folder(path.parent)
    return True
