"""The two secrets that the ledger keeps in files of its own: the feed's key, and the master key."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from consent_domain.errors import ConsentError
from consent_gate.signatures import SEED_BYTES, Signer

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_signer(path: Path, origin: str) -> Signer:
    """The key that signs watermarks and the feed; its name is the log's origin.

    Raises ConsentError `unavailable` for a file that is missing, others may read, or holds no 32 bytes.
    """
    try:
        mode, seed = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise ConsentError("unavailable", f"the feed key {path} cannot be read: {error.strerror}") from error
    if mode & _OTHERS:
        raise ConsentError("unavailable", f"others may read the feed key {path}; run chmod 600 on it")
    if len(seed) != SEED_BYTES:
        raise ConsentError(
            "unavailable", f"the feed key {path} holds {len(seed)} bytes instead of {SEED_BYTES}"
        )
    return Signer(origin, seed)


def make_feed_key(path: Path) -> None:
    """Make the feed key's file (mode 0600, durable) if there is none.

    Of several processes that make it at once one wins. Raises OSError where it cannot be written.
    """
    if path.exists():
        return
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
            return
    finally:
        unfinished.unlink()
