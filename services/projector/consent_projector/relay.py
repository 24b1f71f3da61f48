"""The relay: every event, in order, into the JetStream stream for other systems.

The subject is `consent.v1.events.<type>`, and a type's version is a token of its own:
`consent.v1.events.opt-out-requested.v1`, so that `consent.v1.events.opt-out-requested.*` is every version.

The stream itself says how far it is: its last message is an event, whose position is compared with the
cursor, and whose bytes with the ledger's. Each message names the sequence that it must follow, so the
server keeps order, refuses a relay that was paused and woke late, and a batch of which a part was lost
ends at the loss. Together with the message id (the event's) nothing is missing, twice or out of order.

- Stream deleted or lost: it is made again and filled from `fill_from` on.
- Messages at its end lost: they are published again.
- Messages removed by somebody's retention or purge: they stay away; the cursor says where to go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import msgspec
from consent_domain.envelope import stream_of
from consent_plumbing.nats import STREAM, Message, StreamEnd

from consent_projector.seams import Bus, Clock, Cursor, Fault, OutOfOrder, Store
from consent_projector.stored import Stored

SUBJECT = "consent.v1.events."
UNREADABLE_SUBJECT = SUBJECT + "unreadable"
"""Bytes whose type cannot be read are relayed all the same: whoever receives them must see a hole."""
_UNREADABLE_ID = "position"
WATCH_SECONDS = 1.0
EVENTS_MAX = 256


class StreamDisagrees(Exception):
    """The stream ends with an event that the ledger does not hold: it was filled from a lost history.

    It may be the only place that still holds it, so nothing is published until either the ledger has taken
    it back (`consent-ledger recover --from-jetstream`), or the stream is deleted by hand, and filled again.
    """


_TYPE = re.compile(r"[A-Za-z0-9_-]{1,100}(\.[A-Za-z0-9_-]{1,100}){0,8}")


class _Named(msgspec.Struct, frozen=True):
    id: str
    type: str


_decode = msgspec.json.Decoder(_Named).decode


class Relay:
    """The stream of all events, as a sink of the ordered consumer, which must not be given hints."""

    name = "relay"

    def __init__(self, store: Store, bus: Bus, clock: Clock, fill_from: int = 1) -> None:
        assert fill_from >= 1, "positions begin at 1"
        self._store = store
        self._bus = bus
        self._clock = clock
        self._fill_from = fill_from
        self._created: datetime | None = None
        self._sequence: int | None = None
        self._at = 0
        self._watched = 0.0

    async def check(self, owner: str, cursor: Cursor) -> Cursor | None:
        """Look at the stream's end if it is not known, and once a second: nobody tells of a deleted one.

        A cursor that is not where this relay left it was moved by another, or began again.
        """
        now = self._clock.monotonic()
        if cursor.position != self._at:
            self._sequence = self._created = None
        if self._sequence is not None and now - self._watched < WATCH_SECONDS:
            return cursor
        end = await self._bus.stream_end()
        self._watched = now
        if (end.created, end.sequence) == (self._created, self._sequence):
            return cursor
        self._sequence = None
        position = await self._position_at(end, cursor)
        if position != cursor.position and not await self._store.move(self.name, owner, cursor, position):
            return None
        self._created, self._sequence, self._at = end.created, end.sequence, position
        return Cursor(position, cursor.generation)

    async def _position_at(self, end: StreamEnd, cursor: Cursor) -> int:
        if end.sequence == 0:
            return self._fill_from - 1
        if end.last is None:
            return cursor.position
        position = _position_of(end)
        ours = await self._store.events_after(position - 1, 1) if position else []
        if not ours or ours[0].body != end.last:
            raise StreamDisagrees(
                f"the stream ends with an event at {position} that the ledger does not hold: either take it "
                "back (consent-ledger recover --from-jetstream), or, if a new epoch has begun without it, "
                f"delete the stream {STREAM}: it is made again and filled from the ledger"
            )
        return position

    async def apply(
        self, owner: str, cursor: Cursor, events: Sequence[Stored], heard: bool
    ) -> tuple[Cursor, list[Fault]] | None:
        """Publish, then move the cursor. What happens between the two, `check` puts right."""
        assert not heard, "what was heard is not proven to be the ledger's, and cannot be unpublished"
        sequence, self._sequence = self._sequence, None
        assert sequence is not None, "check comes before apply"
        faults: list[Fault] = []
        try:
            await self._bus.publish_in_order([_message(event, faults) for event in events], sequence)
        except OutOfOrder:
            return None
        upto = events[-1].position
        if not await self._store.move(self.name, owner, cursor, upto):
            return None
        self._sequence, self._at = sequence + len(events), upto
        return Cursor(upto, cursor.generation), faults


def _position_of(end: StreamEnd) -> int:
    """The position of the event that the stream ends with; 0 if it is no event."""
    named = stream_of(end.last or b"")
    if named is not None:
        return named[1]
    prefix, _, position = end.last_id.rpartition("-")
    return int(position) if prefix == _UNREADABLE_ID and position.isdigit() else 0


def _message(event: Stored, faults: list[Fault]) -> Message:
    try:
        named = _decode(event.body)
        _require_tokens(named.type)
    except Exception as error:  # RecursionError of deep nesting, too: the log goes on
        faults.append(Fault(event.position, event.stream, f"{type(error).__name__}: {error}"))
        return Message(UNREADABLE_SUBJECT, event.body, f"{_UNREADABLE_ID}-{event.position}")
    return Message(SUBJECT + named.type, event.body, named.id)


def _require_tokens(kind: str) -> None:
    """A type that is no subject (with blanks, wildcards, or empty tokens) would be refused or misrouted."""
    if not _TYPE.fullmatch(kind):
        raise ValueError(f"{kind[:100]!r} is no type of event")
