"""What an ordered consumer needs from outside. The real ones wrap PostgreSQL, NATS and the clock;
a simulator may stand in for them, and has to keep the same promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from consent_projector.stored import Stored

if TYPE_CHECKING:
    from consent_plumbing.nats import Message, StreamEnd

LEASE_SECONDS = 3.0
"""How long a consumer that died keeps its standbys waiting."""

Row = tuple[object, ...]
"""A row of a view's table, in the order of its columns."""


class Cursor(NamedTuple):
    """The last position applied, and the generation of the table it was applied to."""

    position: int
    generation: int


class Fault(NamedTuple):
    """An event that could not be read or folded, and why. Whatever depends on its stream is denied."""

    position: int
    stream: str
    reason: str


class Changes(NamedTuple):
    """What a fold leads to: rows to insert or overwrite, and the events that were passed over with alarm."""

    rows: list[Row]
    faults: list[Fault]


class View(NamedTuple):
    """A table that is a fold of the log. Its statements are `load_<name>.sql` and `save_<name>.sql`.

    `keys` gives the parameters of `load` for a batch; None where rows need not be known to go on.
    `fold` is pure: rows as they were before the first of `events`, in order, to rows as they are after
    the last. `splits`: whether each row depends on the events of one stream, or is the book, so that a
    rebuild may be split over processes (see `database/statements/events_of_part.sql`). `reads_beside`:
    what it loads is more than its own rows, so that a rebuild takes its ordinary consumer.
    """

    name: str
    columns: tuple[str, ...]
    keys: Callable[[Sequence[Stored]], tuple[list[str], ...]] | None
    fold: Callable[[Iterable[Row], Iterable[Stored]], Changes]
    splits: bool
    reads_beside: bool = False


class Store(Protocol):
    """The ledger's events to read, and the views to write. Any call may raise `Unavailable`."""

    async def take_lease(self, view: str, owner: str) -> Cursor | None:
        """Take the lease of a view for `LEASE_SECONDS`, or renew it; None while another owner holds it.

        A view that was folded from a history which the ledger has not any more, as it was restored, is
        emptied, and its cursor stands at 0, in another generation.
        """
        ...

    async def release_lease(self, view: str, owner: str) -> None:
        """Give the lease back, if held, so that a standby need not wait."""
        ...

    async def events_after(self, position: int, events_max: int) -> list[Stored]:
        """The next committed events, in order, at most `events_max`; none at the head."""
        ...

    async def load(self, view: View, events: Sequence[Stored]) -> list[Row]:
        """The rows that `events` fold into, those that exist."""
        ...

    async def save(
        self, view: View, owner: str, cursor: Cursor, upto: int, rows: Sequence[Row], hashes: Sequence[bytes]
    ) -> bool:
        """Write the rows and move the cursor to `upto`, in one transaction; renews the lease.

        False, and nothing is written, unless `owner` still holds the view, the cursor still stands at
        `cursor`, and `hashes` (of events that came by the messenger) are those of the ledger's next events.
        """
        ...

    async def move(self, view: str, owner: str, cursor: Cursor, upto: int) -> bool:
        """Move the cursor alone, also back; False if it may not, as for `save`."""
        ...


class Bus(Protocol):
    """The messenger. It may lose anything. Any call may raise `Unavailable`."""

    async def stream_end(self) -> StreamEnd:
        """The end of the stream of all events, which is made if it is not there."""
        ...

    async def publish_in_order(self, messages: Sequence[Message], after_sequence: int) -> None:
        """Store messages right after `after_sequence`, in order, each acknowledged.

        Raises OutOfOrder at the first that the stream refuses since it ends elsewhere. What came before
        a failing message is stored, nothing behind it.
        """
        ...


class Clock(Protocol):
    """Time that only goes on."""

    def monotonic(self) -> float:
        """Seconds since some start."""
        ...


class Unavailable(Exception):
    """PostgreSQL or NATS cannot be reached or does not answer; nothing is known to be wrong."""


class OutOfOrder(Exception):
    """The stream does not end where its only writer believed: another wrote, or messages were lost."""
