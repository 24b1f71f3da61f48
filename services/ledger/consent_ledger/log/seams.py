"""What publishing needs from outside. PostgreSQL's implementation is consent_ledger.store's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from consent_ledger.seams import Head, Stored


class Entry(NamedTuple):
    """An event as it goes into the tree, and the hash that was stored beside it."""

    position: int
    stream: str
    body: bytes
    leaf_hash: bytes


class LogStore(Protocol):
    """The ledger, read only. Every method raises consent_ledger.seams.StoreUnavailable."""

    async def read_head(self) -> Head:
        """The head as last committed."""

    async def entries_after(self, after: int, rows_max: int) -> list[Entry]:
        """The next committed events after a position, in order, with their stored leaf hashes."""

    async def events_of_stream(self, stream: str) -> Sequence[Stored]:
        """All committed events of one stream, in order."""
