"""What the write path needs from outside: a store that remembers, and two sources that are not pure.

The docstrings are the implementer's contract. PostgreSQL's implementation (consent_ledger.store)
and every simulated one pass the same suite, tests/store_suite.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from consent_domain.instants import Micros


class StoreUnavailable(Exception):
    """Nothing was recorded, and the same may work later: no connection, a timeout, a conflict."""


class StoreRefused(Exception):
    """Nothing was recorded: the store refuses these rows, and would again."""


class CommitUnknown(Exception):
    """COMMIT was sent and its answer did not come: everything was recorded, or nothing."""


class Head(NamedTuple):
    """The end of the log. `range` is the compact Merkle range, joined; `now` the store's own clock."""

    origin: str
    epoch: int
    position: int
    recorded_at: Micros
    range: bytes
    now: Micros


class Stored(NamedTuple):
    """An event as it is kept; `version` counts the events of its stream from 1."""

    position: int
    stream: str
    version: int
    body: bytes


class Row(NamedTuple):
    """An event to be kept. Its position follows from where it stands in the batch."""

    stream: str
    version: int
    id: UUID
    type: str
    recorded_at: datetime
    body: bytes
    leaf_hash: bytes


class Key(NamedTuple):
    """An idempotency key: one principal's says nothing of another's."""

    principal: str
    key: str


class Known(NamedTuple):
    """What was answered under an idempotency key, and to which body."""

    body_hash: bytes
    outcome: bytes


class Answered(NamedTuple):
    """An idempotency key to be kept, with the positions of what it recorded (first and last)."""

    key: Key
    known: Known
    first: int
    last: int


class Transaction(Protocol):
    """One attempt to append. Unless `commit` returned (or its fate is unknown) nothing of it stays.

    Every method raises StoreUnavailable if it could not be done, and the whole transaction is lost then.
    """

    async def lock_head(self) -> Head:
        """Wait for the one lock that orders all commits, and read the head. Call it first, and once.

        What the other methods read is complete from then on: nobody else commits before this ends.
        """

    async def known(self, keys: Sequence[Key]) -> dict[Key, Known]:
        """Those of the idempotency keys that were recorded."""

    async def streams(self, names: Sequence[str]) -> list[Stored]:
        """All events of these streams (each named once), those of a stream in order."""

    async def book(self) -> list[Stored]:
        """All events of policies, purposes and the log itself, in order."""

    async def events_after(self, after: int, rows_max: int) -> list[Stored]:
        """The next events after a position, in order."""

    async def append(
        self,
        head: Head,
        rows: Sequence[Row],
        answered: Sequence[Answered],
        recorded_at: Micros,
        merkle_range: bytes,
    ) -> None:
        """Record rows at `head.position + 1` and on, the keys, and the new head, in one statement.

        Raises StoreRefused for rows that cannot be, such as a version or key that exists.
        """

    async def append_many(self, head: Head, rows: AsyncIterable[Row]) -> int:
        """Record rows at `head.position + 1` and on, as fast as the store can; how many there were.

        `rows` may be an iterator that computes them. Nothing else may be called before it is through;
        `move_head` must follow. Raises StoreRefused as `append`, and whatever the iterator raises.
        """

    async def move_head(self, head: Head, position: int, recorded_at: Micros, merkle_range: bytes) -> None:
        """Set the head after `append_many`. Raises StoreRefused if `position` is not that of the last row."""

    async def commit(self) -> None:
        """Make it durable. It is never cancelled: a caller that is cancelled, or has waited long enough,
        leaves it running.

        Raises CommitUnknown if no answer came; StoreUnavailable only if nothing was recorded for certain.
        """


class Store(Protocol):
    """Where the ledger is kept."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction, begun when entered and given up when left without `commit`. One at a time."""

    async def read_head(self) -> Head:
        """The head as last committed, without waiting for a commit. Raises StoreUnavailable."""

    async def events_after(self, after: int, rows_max: int) -> list[Stored]:
        """The next committed events after a position, in order. Raises StoreUnavailable."""

    async def stream_of_request(self, request: UUID) -> str | None:
        """The stream on which a request or opt-in began; None if there is none. Raises StoreUnavailable."""

    async def analyze(self) -> None:
        """Let the store look at its tables again after a large import. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Give back what is held. Transactions after it are refused."""


class Ids(Protocol):
    """Where ids of events come from."""

    def next(self, count: int) -> Sequence[UUID]:
        """`count` fresh UUIDs of version 7, the same whenever looked at.

        Each has at least 74 bits of randomness: an event's bytes must not be guessed from its leaf hash.
        """


class Clock(Protocol):
    """How long something took, in seconds of a clock that only goes forward."""

    def __call__(self) -> float:
        """Seconds since any fixed instant."""
