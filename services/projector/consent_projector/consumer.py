"""The one ordered consumer: views and the relay differ only in their sink.

Rules, in the order in which they protect each other:

1. It applies only `position = last + 1`, from what the messenger said or else from PostgreSQL.
2. What is applied and the cursor are written in one transaction, which compares the cursor with what this
   consumer believes, and the owner with itself: a second consumer, or one that was paused and lost its lease,
   writes nothing. So a crash at any line leaves a whole number of batches applied, each once.
3. Whatever was believed and refused is forgotten, and read again from PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from consent_projector.seams import LEASE_SECONDS, Clock, Cursor, Fault, Store
from consent_projector.stored import Stored

if TYPE_CHECKING:
    from consent_projector.hints import Hints

EVENTS_MAX = 2_000
RENEW_SECONDS = LEASE_SECONDS / 3


class Sink(Protocol):
    """Where a consumer's events go."""

    @property
    def name(self) -> str:
        """The name of its cursor."""
        ...

    async def check(self, owner: str, cursor: Cursor) -> Cursor | None:
        """Called before each batch: the cursor, moved if the sink is found elsewhere; None if fenced."""
        ...

    async def apply(
        self, owner: str, cursor: Cursor, events: Sequence[Stored], heard: bool
    ) -> tuple[Cursor, list[Fault]] | None:
        """Apply the next events, `heard` from the messenger or read, and move the cursor; None if refused."""
        ...


class State(Enum):
    """What a step did: `APPLIED` events, found none (`IDLE`) or the lease `ELSEWHERE`, or was `REFUSED`."""

    APPLIED = "applied"
    IDLE = "idle"
    ELSEWHERE = "elsewhere"
    REFUSED = "refused"


class Step(NamedTuple):
    """What a step did, up to which position it knows its sink to be, and the events it had to pass over."""

    state: State
    position: int = 0
    events: int = 0
    faults: Sequence[Fault] = ()


class Hole(Exception):
    """The ledger has no event at a position below its head: nothing is applied until it is there again."""


class Consumer:
    """One consumer of one sink. `owner` is a name that no other process, now or later, ever has."""

    def __init__(
        self,
        sink: Sink,
        store: Store,
        clock: Clock,
        hints: Hints,
        owner: str,
        events_max: int = EVENTS_MAX,
    ) -> None:
        self.sink = sink
        self._store = store
        self._clock = clock
        self._hints = hints
        self._owner = owner
        self._events_max = events_max
        self._cursor: Cursor | None = None
        self._renewed = 0.0
        self._trusts_hints = True

    async def step(self) -> Step:
        """Apply the next batch, if there is one and the lease is held.

        Raises Unavailable if a dependency does not answer, Hole if the ledger lacks an event; both are
        for trying again later, and nothing is lost by it.
        """
        cursor, self._cursor = await self._held(), None
        cursor = cursor and await self.sink.check(self._owner, cursor)
        if cursor is None:
            return Step(State.ELSEWHERE)
        heard = self._hints.after(cursor.position, self._events_max) if self._trusts_hints else []
        self._trusts_hints = True
        events = heard or await self._store.events_after(cursor.position, self._events_max)
        if not events:
            self._cursor = cursor
            return Step(State.IDLE, cursor.position)
        if [event.position for event in events] != list(
            range(cursor.position + 1, cursor.position + 1 + len(events))
        ):
            raise Hole(f"the ledger does not hold every event after {cursor.position}")
        applied = await self.sink.apply(self._owner, cursor, events, bool(heard))
        if applied is None:
            self._trusts_hints = False
            return Step(State.REFUSED, cursor.position)
        self._renewed = self._clock.monotonic()
        self._cursor, faults = applied
        return Step(State.APPLIED, self._cursor.position, len(events), faults)

    async def release(self) -> None:
        """Give the lease back at the end, so that a standby goes on at once."""
        self._cursor = None
        await self._store.release_lease(self.sink.name, self._owner)

    async def _held(self) -> Cursor | None:
        """The cursor under a lease that was renewed lately; read anew after anything went wrong."""
        now = self._clock.monotonic()
        if self._cursor is None or now - self._renewed >= RENEW_SECONDS:
            self._cursor = await self._store.take_lease(self.sink.name, self._owner)
            self._renewed = now
        return self._cursor
