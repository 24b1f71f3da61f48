"""What the messenger said, kept by position until the consumers of this process have passed it.

A hint may be missing, late, twice, out of order, or a lie: the consumer reads PostgreSQL for
what is not here, and `save` refuses bytes that are not the ledger's.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from consent_domain.batch import decode_committed
from consent_domain.envelope import stream_of
from consent_domain.errors import Unreadable

from consent_projector.stored import Stored

BYTES_MAX = 16 * 1024 * 1024

_log = structlog.get_logger()


class Hints:
    """For one loop and any number of consumers. Above `bytes_max` the oldest heard are forgotten first."""

    def __init__(self, origin: str, bytes_max: int = BYTES_MAX) -> None:
        self._origin = origin
        self._bytes_max = bytes_max
        self._bytes = 0
        self._heard: dict[int, Stored] = {}
        self._news = asyncio.Event()

    def offer(self, payload: bytes) -> None:
        """Take a message in and wake everybody who waits. One of another log, or unreadable, is dropped."""
        try:
            batch = decode_committed(payload)
        except Unreadable:
            _log.warning("hint_unreadable", bytes=len(payload))
            return
        if batch.origin != self._origin:
            return
        for position, body in enumerate(batch.bodies, batch.first):
            named = stream_of(body)
            if named is not None and named[1] == position:
                self._keep(Stored(position, named[0], body))
        self._news.set()
        self._news = asyncio.Event()

    def _keep(self, event: Stored) -> None:
        earlier = self._heard.pop(event.position, None)
        self._bytes += len(event.body) - (len(earlier.body) if earlier else 0)
        self._heard[event.position] = event
        while self._bytes > self._bytes_max:
            oldest = next(iter(self._heard))
            self._bytes -= len(self._heard.pop(oldest).body)

    def after(self, position: int, events_max: int) -> list[Stored]:
        """The events right after `position` without a gap, as many as were heard, at most `events_max`."""
        found: list[Stored] = []
        while len(found) < events_max and (event := self._heard.get(position + 1 + len(found))):
            found.append(event)
        return found

    def forget(self) -> None:
        """Drop everything heard."""
        self._heard.clear()
        self._bytes = 0

    @property
    def news(self) -> asyncio.Event:
        """Set by the next message. Take it before looking, wait for it after: nothing is missed between."""
        return self._news


async def wait_for(news: asyncio.Event, seconds_max: float) -> None:
    """Until `news` is set, at most `seconds_max`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(news.wait(), seconds_max)
