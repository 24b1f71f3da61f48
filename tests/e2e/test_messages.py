"""NATS is a messenger: without it everything goes on, and whatever it lost it is given again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import nats
import pytest
from consent_plumbing.nats import STREAM
from http_service import Caller
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError
from recorded_log import bytes_of_log
from stack import Stack
from steady_load import OPTED_OUT, Load

COMMANDS = 40
REFILLED_SECONDS_MAX = 30.0


@asynccontextmanager
async def stream_of(stack: Stack) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(stack.credentials["natsUrl"], connect_timeout=10)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def bytes_of_stream(stream: JetStreamContext, count: int) -> list[bytes]:
    """The stream's messages from the first to the `count`-th."""
    messages = await stream.subscribe("consent.v1.events.>", stream=STREAM, ordered_consumer=True)
    try:
        return [(await messages.next_msg(timeout=5)).data for _ in range(count)]
    finally:
        await messages.unsubscribe()


async def require_complete(stack: Stack, call: Caller) -> None:
    """The stream comes to hold the whole log, byte for byte, each event once."""
    log = await bytes_of_log(call)
    async with stream_of(stack) as stream, asyncio.timeout(REFILLED_SECONDS_MAX):
        held = 0
        while held < len(log):
            try:
                held = (await stream.stream_info(STREAM)).state.messages
            except NotFoundError:
                held = 0
            await asyncio.sleep(0.05)
        assert held == len(log)
        assert await bytes_of_stream(stream, held) == log


async def test_given_load_when_the_stream_is_deleted_then_it_is_filled_again_from_the_first_event(
    stack: Stack, call: Caller
) -> None:
    await require_complete(stack, call)
    load = Load(stack.url, stack.keys, "deleted")
    async with load.going():
        await load.until_acknowledged(COMMANDS // 2)
        async with stream_of(stack) as stream:
            assert await stream.delete_stream(STREAM)
        await load.until_acknowledged(COMMANDS // 2)
    load.require_sound()
    await require_complete(stack, call)


@contextmanager
def killed(stack: Stack) -> Iterator[None]:
    with stack.unsupervised():
        stack.kill("nats")
        yield


@contextmanager
def hanging(stack: Stack) -> Iterator[None]:
    """Its connections stay open, and nothing is read or answered on them."""
    pid = stack.pid("nats")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("without", [killed, hanging])
async def test_given_no_nats_for_the_whole_load_then_all_goes_on_and_the_stream_catches_up_later(
    stack: Stack, call: Caller, without: object
) -> None:
    load = Load(stack.url, stack.keys, f"nats-{without.__name__}")  # type: ignore[attr-defined]
    with without(stack):  # type: ignore[operator]
        async with load.going():
            await load.until_acknowledged(COMMANDS)
    load.require_sound()
    assert not load.troubles
    outs = [one for one in load.acknowledged if one.type == OPTED_OUT]
    assert sum(one.visible for one in outs) > len(outs) // 2, "this host hears of its own commits by itself"
    assert any(check.decision == "permit" for check in load.checks)
    await require_complete(stack, call)
