"""NATS, the fast and lossy messenger: nothing here may stop a process or make the committer wait.

The connection is made in the background and tried again for ever; meanwhile messages are dropped,
because every consumer reads PostgreSQL for what it did not hear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error
from nats.js.api import Header, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

COMMITTED_SUBJECT = "consent.v1.committed"
CHECKPOINT_WANTED_SUBJECT = "consent.v1.checkpoint.wanted"
"""Somebody wants a checkpoint now, and not only after the usual second."""
STREAM = "CONSENT_EVENTS"
STREAM_SUBJECTS = "consent.v1.events.>"
DUPLICATE_WINDOW_SECONDS = 120.0
PENDING_BYTES_MAX = 2 * 1024 * 1024
ACKNOWLEDGEMENT_SECONDS_MAX = 5.0
CLOSE_SECONDS_MAX = 2.0

_WRONG_LAST_SEQUENCE = (10071, 10164)
"""The codes by which a server says that a stream does not end where the publisher expected."""

_log = structlog.get_logger()


class WrongLastSequence(Exception):
    """The stream does not end where its one writer believed."""


class StreamEnd(NamedTuple):
    """When the stream was made, its last sequence (0: none ever), and that message and its id.

    `last` is None if the message is not there any more: a retention rule or a purge took it away.
    """

    created: datetime | None
    sequence: int
    last: bytes | None
    last_id: str


class Message(NamedTuple):
    """One message of the stream; one with the same id within 2 minutes is stored once."""

    subject: str
    payload: bytes
    id: str


class Bus:
    """A connection that keeps trying. Make it inside the running loop; call `close` at the end."""

    def __init__(self, url: str, name: str) -> None:
        self._client = Client()
        self._hints: list[tuple[str, Callable[[bytes], None]]] = []
        self._connecting = asyncio.create_task(self._connect(url, name))

    async def _connect(self, url: str, name: str) -> None:
        await self._client.connect(
            url,
            name=name,
            connect_timeout=2,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            pending_size=PENDING_BYTES_MAX,
            error_cb=_log_error,
            disconnected_cb=_log_disconnected,
        )
        for subject, on_message in self._hints:
            await self._subscribe(subject, on_message)

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached now, as far as is known."""
        return self._client.is_connected

    async def publish(self, subject: str, payload: bytes) -> bool:
        """Hand a message to the connection, best effort: False if it was dropped. Never raises, never waits.

        It is dropped while disconnected, above the server's max payload, or when the buffer is full.
        """
        pending = self._client.pending_data_size + len(payload) + len(subject) + 64
        if not self._client.is_connected or pending > PENDING_BYTES_MAX:
            return False
        with suppress(Error, OSError):
            await self._client.publish(subject, payload)
            return True
        return False

    async def hint(self, subject: str, on_message: Callable[[bytes], None]) -> None:
        """Call `on_message` with each payload, once connected. Some may be missing: read PostgreSQL."""
        self._hints.append((subject, on_message))
        if self._connecting.done():
            await self._subscribe(subject, on_message)

    async def _subscribe(self, subject: str, on_message: Callable[[bytes], None]) -> None:
        async def deliver(message: Msg) -> None:
            on_message(message.data)

        await self._client.subscribe(subject, cb=deliver)

    async def stream_end(self) -> StreamEnd:
        """The end of the stream of all events, which is made if it is not there.

        Raises nats.errors.Error, TimeoutError or OSError if NATS does not answer.
        """
        if not self._client.is_connected:
            raise ConnectionClosedError
        manager = self._client.jetstream(timeout=ACKNOWLEDGEMENT_SECONDS_MAX)
        try:
            information = await manager.stream_info(STREAM)
        except NotFoundError:
            config = StreamConfig(
                name=STREAM,
                subjects=[STREAM_SUBJECTS],
                storage=StorageType.FILE,
                duplicate_window=DUPLICATE_WINDOW_SECONDS,
            )
            information = await manager.add_stream(config)
        sequence = information.state.last_seq
        if sequence:
            with suppress(NotFoundError):
                message = await manager.get_msg(STREAM, sequence)
                message_id = (message.headers or {}).get(Header.MSG_ID, "")
                return StreamEnd(information.created, sequence, message.data or b"", message_id)
        return StreamEnd(information.created, sequence, None, "")

    async def publish_in_order(self, messages: Sequence[Message], after_sequence: int) -> None:
        """Store messages right after `after_sequence`, in order, each acknowledged within 5 s.

        Raises WrongLastSequence at the first that the stream refuses since it ends elsewhere, or has
        already (a message id is stored once in 2 minutes); nats.errors.Error, TimeoutError or OSError if
        NATS does not acknowledge. What came before the failing message is stored, nothing behind it.
        """
        if not self._client.is_connected:
            raise ConnectionClosedError
        stream = self._client.jetstream()
        # Not publish_async: nats-py loses the refusals that the server answers it with (seen in 2.16). Tasks
        # begin in the order of their making; should one overtake another, the server refuses it.
        answers = await asyncio.gather(
            *(
                stream.publish(
                    message.subject,
                    message.payload,
                    timeout=ACKNOWLEDGEMENT_SECONDS_MAX,
                    stream=STREAM,
                    headers={Header.MSG_ID: message.id, Header.EXPECTED_LAST_SEQUENCE: str(sequence - 1)},
                )
                for sequence, message in enumerate(messages, after_sequence + 1)
            ),
            return_exceptions=True,
        )
        for sequence, answer in enumerate(answers, after_sequence + 1):
            if isinstance(answer, APIError) and answer.err_code in _WRONG_LAST_SEQUENCE:
                raise WrongLastSequence(str(answer)) from answer
            if isinstance(answer, BaseException):
                raise answer
            if answer.seq != sequence:
                raise WrongLastSequence(f"stored at {answer.seq}, expected at {sequence}")

    async def close(self) -> None:
        """Stop trying, and disconnect."""
        self._connecting.cancel()
        with suppress(asyncio.CancelledError, TimeoutError, Error, OSError):
            await asyncio.wait_for(self._client.close(), CLOSE_SECONDS_MAX)


async def _log_error(error: Exception) -> None:
    _log.warning("nats_error", error=type(error).__name__)


async def _log_disconnected() -> None:
    _log.warning("nats_disconnected")
