"""One stack for the folder, as `consent-local up` makes it: two workers, and a policy in force."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from http_service import Caller, publish_first_policy
from servers import temporary_folder
from stack import Stack, running_stack


@pytest.fixture(scope="session")
def started() -> Iterator[Stack]:
    with temporary_folder() as folder, running_stack(folder, workers=2) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session")
async def stack(started: Stack) -> Stack:
    async with httpx.AsyncClient(base_url=started.url, timeout=20) as client:
        await publish_first_policy(Caller(client, started.keys))
    return started


@pytest_asyncio.fixture
async def call(stack: Stack) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        yield Caller(client, stack.keys)
