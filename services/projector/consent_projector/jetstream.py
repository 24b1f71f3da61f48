"""The real `Bus`: the plumbing's NATS connection, with its failures told apart as the seams promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from consent_plumbing.nats import Bus, Message, StreamEnd, WrongLastSequence
from nats.errors import Error

from consent_projector.seams import OutOfOrder, Unavailable


class JetStream:
    """The stream of all events."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def stream_end(self) -> StreamEnd:
        """As `Bus.stream_end`."""
        with _told_apart():
            return await self._bus.stream_end()

    async def publish_in_order(self, messages: Sequence[Message], after_sequence: int) -> None:
        """As `Bus.publish_in_order`."""
        with _told_apart():
            await self._bus.publish_in_order(messages, after_sequence)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except WrongLastSequence as error:
        raise OutOfOrder(str(error)) from error
    except (Error, OSError, TimeoutError) as error:
        raise Unavailable(f"NATS: {type(error).__name__}: {error}") from error
