"""What a committer remembers of the ledger between two transactions, so that it need not read it again.

It is state as of one head, never a cache with a lifetime: whoever locks the head compares it with
what was seen last. If others committed since, their events are read and folded; if the head is far
ahead, or is not the continuation of what was seen (a restored database), everything is forgotten.
The compact Merkle range settles which it is: equal ranges are equal histories.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import groupby

from consent_domain import merkle
from consent_domain.envelope import Event
from consent_domain.facts import home_of
from consent_domain.state import BookState, StreamState, fold, fold_book, fold_book_stored, fold_stored

from consent_ledger.seams import Head, Stored, Transaction

STREAMS_MAX = 50_000
FAR_BEHIND = 2_000
"""More events than this are not folded one by one: forgetting and reading on demand is cheaper."""


def is_everybodys(stream: str) -> bool:
    """Whether a stream concerns everybody (policies, purposes, the log itself)."""
    home = home_of(stream)
    return home is not None and home[0] == "book"


class Memory:
    """The state as of the head seen last, with at most `streams_max` streams, those used last."""

    def __init__(self, streams_max: int = STREAMS_MAX) -> None:
        self._streams_max = streams_max
        self._seen: Head | None = None
        self._streams: OrderedDict[str, StreamState] = OrderedDict()
        self.everybody = BookState()

    async def catch_up(self, transaction: Transaction, head: Head) -> None:
        """Bring what is remembered to the locked `head`. Raises what the transaction raises."""
        seen = self._seen
        if seen is not None and (seen.epoch, seen.range) == (head.epoch, head.range):
            return
        self._seen = None  # until this is through, nothing of it may be used
        if seen is None or not await self._follow(transaction, seen, head):
            self._streams.clear()
            everybody = BookState()
            for stored in await transaction.book():
                everybody = fold_book_stored(everybody, stored.stream, stored.position, stored.body)
            self.everybody = everybody
        self._seen = head

    async def _follow(self, transaction: Transaction, seen: Head, head: Head) -> bool:
        """Fold what others appended since; False if `head` is no continuation of `seen`, or too far ahead."""
        behind = head.position - seen.position
        if seen.epoch != head.epoch or not 0 < behind <= FAR_BEHIND:
            return False
        appended = await transaction.events_after(seen.position, behind)
        size, hashes = seen.position, merkle.split(seen.range)
        for stored in appended:
            size = merkle.append(size, hashes, merkle.leaf_hash(stored.body))
        if merkle.join(hashes) != head.range:
            return False
        for position, stream, _, body in appended:
            if is_everybodys(stream):
                self.everybody = fold_book_stored(self.everybody, stream, position, body)
            elif stream in self._streams:
                self._streams[stream] = fold_stored(self._streams[stream], stream, position, body)
        return True

    async def load(self, transaction: Transaction, names: Iterable[str]) -> dict[str, StreamState | None]:
        """These streams as of the head caught up with; None for one without events."""
        found: dict[str, StreamState | None] = {}
        missing = []
        for name in names:
            known = self._streams.get(name)
            if known is None:
                missing.append(name)
            else:
                self._streams.move_to_end(name)
            found[name] = known
        if missing:
            read = folded(await transaction.streams(missing))
            found |= read
            self._keep(read)
        return found

    def adopt(self, head: Head, after: Tentative) -> None:
        """Remember what was committed: `head` is the head that it left behind."""
        self._seen = head
        self.everybody = after.everybody
        self._keep({name: state for name, state in after.streams.items() if state is not None})

    def _keep(self, states: dict[str, StreamState]) -> None:
        for name, state in states.items():
            self._streams[name] = state
            self._streams.move_to_end(name)
        while len(self._streams) > self._streams_max:
            self._streams.popitem(last=False)


def folded(events: Iterable[Stored]) -> dict[str, StreamState]:
    """The states of streams from all their events, those of a stream together and in order."""
    states: dict[str, StreamState] = {}
    for name, own in groupby(events, key=lambda stored: stored.stream):
        state = None
        for position, stream, _, body in own:
            state = fold_stored(state, stream, position, body)
        assert state is not None, "a group has an event"
        states[name] = state
    return states


class Tentative:
    """The state while a batch is decided: what is remembered, and what the batch's commands add to it."""

    def __init__(self, everybody: BookState, streams: dict[str, StreamState | None]) -> None:
        """`streams` are all that the batch's commands may read or write, and is changed in place."""
        self.everybody = everybody
        self.streams = streams

    def stream(self, name: str) -> StreamState | None:
        """See consent_domain.state.State."""
        assert name in self.streams, f"{name} is decided about, and was not loaded"
        return self.streams[name]

    def version(self, stream: str) -> int:
        """How many events a stream has."""
        if stream in self.streams or not is_everybodys(stream):
            state = self.stream(stream)
            return 0 if state is None else state.version
        return self.everybody.versions.get(stream, 0)

    def fold(self, events: Sequence[Event]) -> None:
        """Add the events of one command: all of them, or none if one raises AssertionError."""
        everybody = self.everybody
        changed: dict[str, StreamState] = {}
        for event in events:
            stream = event.stream
            if stream in self.streams:
                changed[stream] = fold(changed.get(stream) or self.streams[stream], event)
            else:
                everybody = fold_book(everybody, event)
        self.everybody = everybody
        self.streams |= changed
