"""The JetStream stream of all events, read back: for whoever lost what it still holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import nats
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from consent_plumbing.nats import STREAM, STREAM_SUBJECTS

ANSWER_SECONDS_MAX = 5.0


class StreamUnavailable(Exception):
    """NATS cannot be reached, or does not answer."""


class Span(NamedTuple):
    """The first and the last sequence that a stream has messages at; first > last: it has none."""

    first: int
    last: int


class EventStream:
    """The stream, read only. Every method raises StreamUnavailable."""

    def __init__(self, client: Client) -> None:
        self._manager = client.jetstream(timeout=ANSWER_SECONDS_MAX)

    async def span(self) -> Span | None:
        """Where its messages are; None if there is no stream."""
        try:
            state = (await self._manager.stream_info(STREAM)).state
        except NotFoundError:
            return None
        except (Error, OSError, TimeoutError) as error:
            raise StreamUnavailable(f"{type(error).__name__}: {error}") from error
        return Span(state.first_seq, state.last_seq)

    async def message(self, sequence: int) -> bytes | None:
        """The message at a sequence; None if it was removed."""
        try:
            return (await self._manager.get_msg(STREAM, sequence)).data or b""
        except NotFoundError:
            return None
        except (Error, OSError, TimeoutError) as error:
            raise StreamUnavailable(f"{type(error).__name__}: {error}") from error

    async def messages(self, first: int, last: int) -> AsyncGenerator[bytes, None]:
        """The messages from one sequence to another, in order; those that were removed are left out."""
        try:
            subscription = await self._manager.subscribe(
                STREAM_SUBJECTS,
                stream=STREAM,
                ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first),
            )
            try:
                sequence = first - 1
                while sequence < last:
                    message = await subscription.next_msg(ANSWER_SECONDS_MAX)
                    sequence = message.metadata.sequence.stream
                    if sequence <= last:
                        yield message.data
            finally:
                await subscription.unsubscribe()
        except (Error, OSError, TimeoutError) as error:
            raise StreamUnavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def event_stream(url: str) -> AsyncIterator[EventStream]:
    """The stream on a server, connected for the while. Raises StreamUnavailable."""

    async def quiet(_: Exception) -> None:
        """What goes wrong is raised where it is waited for."""

    try:
        client = await nats.connect(
            url,
            name="consent-ledger recover",
            connect_timeout=2,
            reconnect_time_wait=0.2,
            # Below 1 it would try for ever, whatever `allow_reconnect` says.
            max_reconnect_attempts=1,
            allow_reconnect=False,
            error_cb=quiet,
        )
    except (Error, OSError, TimeoutError) as error:
        raise StreamUnavailable(f"{type(error).__name__}: {error}") from error
    try:
        yield EventStream(client)
    finally:
        await client.close()
