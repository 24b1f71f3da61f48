"""Where events above a restored head may still be: trees that were signed, and the stream of all events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import NamedTuple, Protocol

from consent_domain.envelope import stream_of
from consent_domain.errors import ConsentError
from consent_gate.audit.trees import VerifiedTree
from consent_plumbing.event_stream import EventStream, Span, StreamUnavailable

RUN_EVENTS = 1_024
_UNUSABLE = (ConsentError, OSError, StreamUnavailable)


class Source(Protocol):
    """Where events may be had. `trouble` says, in words, why it gave less than it should have."""

    name: str
    trouble: str

    def after(self, position: int) -> AsyncIterator[list[bytes]]:
        """The events that follow a position without a gap, as far as this source holds them. Never raises
        for what is wrong with the source: it ends, and says so."""


class SignedTree:
    """The events of a tree whose root was signed, each proven to be in it."""

    def __init__(self, name: str, tree: VerifiedTree, last: int) -> None:
        """`last` is the last event that is to be had here."""
        self.name = name
        self.trouble = ""
        self.tree = tree
        self._last = last

    async def after(self, position: int) -> AsyncIterator[list[bytes]]:
        """See Source."""
        self.trouble = ""
        if position >= self._last:
            return
        try:
            for _, entries in self.tree.bundles(position + 1, self._last):
                yield entries
                position += len(entries)
        except _UNUSABLE as error:
            self.trouble = f"event {position + 1} is not to be had from {self.name}: {error}"


class StreamEnd(NamedTuple):
    """The last event in the stream."""

    position: int
    body: bytes


class RelayedEvents:
    """What the relay put into JetStream. Nobody signed it: it is only what follows, byte for byte."""

    def __init__(self, stream: EventStream, span: Span) -> None:
        self.name = "JetStream"
        self.trouble = ""
        self._stream = stream
        self._span = span

    async def after(self, position: int) -> AsyncIterator[list[bytes]]:
        """See Source."""
        try:
            begin = await self._sequence_after(position)
            run: list[bytes] = []
            async with aclosing(self._stream.messages(begin, self._span.last)) as messages:
                async for body in messages:
                    named = stream_of(body)
                    if named is None or named[1] != position + 1:
                        where = "no event" if named is None else f"event {named[1]}"
                        self.trouble = f"{where} follows event {position} in JetStream"
                        break
                    position += 1
                    run.append(body)
                    if len(run) == RUN_EVENTS:
                        yield run
                        run = []
            if run:
                yield run
        except _UNUSABLE as error:
            self.trouble = f"JetStream ended at event {position}: {error}"

    async def _sequence_after(self, position: int) -> int:
        """The sequence of the first message with an event after `position`; positions rise in the stream."""
        low, high = self._span.first, self._span.last + 1
        while low < high:
            middle = (low + high) // 2
            body = await self._stream.message(middle)
            named = None if body is None else stream_of(body)
            if named is not None and named[1] > position:
                high = middle
            else:
                low = middle + 1
        return low

    async def event_at(self, position: int) -> bytes | None:
        """The event at a position; None if the stream does not hold it. Raises StreamUnavailable."""
        body = await self._stream.message(await self._sequence_after(position - 1))
        named = None if body is None else stream_of(body)
        return body if named is not None and named[1] == position else None

    async def end(self) -> StreamEnd | None:
        """The last event; None if it is not there. Raises StreamUnavailable."""
        body = await self._stream.message(self._span.last)
        named = None if body is None else stream_of(body)
        return None if body is None or named is None else StreamEnd(named[1], body)
