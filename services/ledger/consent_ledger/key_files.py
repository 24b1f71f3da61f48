"""The key of the feed, whose seed the ledger keeps in a file of its own."""

from __future__ import annotations

from pathlib import Path

from consent_gate.seeds import read_seed
from consent_gate.signatures import Signer


def load_signer(path: Path, origin: str) -> Signer:
    """The key that signs watermarks and the feed; its name is the log's origin.

    Raises ConsentError `unavailable` for a file that is missing, others may read, or holds no 32 bytes.
    """
    return Signer(origin, read_seed(path, "feed key"))
