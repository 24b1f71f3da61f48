"""NATS, the fast and lossy messenger: nothing here may stop a process or make the committer wait.

The connection is made in the background and tried again for ever; meanwhile messages are dropped,
because every consumer reads PostgreSQL for what it did not hear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import PubAck, StorageType, StreamConfig
from nats.js.errors import NotFoundError

COMMITTED_SUBJECT = "consent.v1.committed"
STREAM = "CONSENT_EVENTS"
STREAM_SUBJECTS = "consent.v1.events.>"
DUPLICATE_WINDOW_SECONDS = 120.0
PENDING_BYTES_MAX = 2 * 1024 * 1024
ACKNOWLEDGEMENT_SECONDS_MAX = 5.0
CLOSE_SECONDS_MAX = 2.0

_log = structlog.get_logger()


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

    async def ensure_stream(self) -> None:
        """Make the stream of all events if it is not there. Raises nats.errors.Error if NATS is down."""
        manager = self._client.jetstream(timeout=ACKNOWLEDGEMENT_SECONDS_MAX)
        try:
            await manager.stream_info(STREAM)
        except NotFoundError:
            config = StreamConfig(
                name=STREAM,
                subjects=[STREAM_SUBJECTS],
                storage=StorageType.FILE,
                duplicate_window=DUPLICATE_WINDOW_SECONDS,
            )
            await manager.add_stream(config)

    async def publish_acknowledged(self, subject: str, payload: bytes, message_id: str) -> PubAck:
        """Store a message in the stream; one with the same id within 2 minutes is stored once.

        Raises nats.errors.Error or TimeoutError if it was not acknowledged within 5 s.
        """
        return await self._client.jetstream().publish(
            subject,
            payload,
            timeout=ACKNOWLEDGEMENT_SECONDS_MAX,
            stream=STREAM,
            headers={"Nats-Msg-Id": message_id},
        )

    async def close(self) -> None:
        """Stop trying, and disconnect."""
        self._connecting.cancel()
        with suppress(asyncio.CancelledError, TimeoutError, Error, OSError):
            await asyncio.wait_for(self._client.close(), CLOSE_SECONDS_MAX)


async def _log_error(error: Exception) -> None:
    _log.warning("nats_error", error=type(error).__name__)


async def _log_disconnected() -> None:
    _log.warning("nats_disconnected")
