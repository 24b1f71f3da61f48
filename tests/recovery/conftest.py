"""A host with an empty ledger, and further empty databases to put one back into."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio
from recovering import Host
from servers import fresh_database


@pytest_asyncio.fixture
async def host(tmp_path: Path, migrated_database_url: str) -> AsyncIterator[Host]:
    host = Host(tmp_path / "host", migrated_database_url)
    yield host
    await host.close()


@pytest_asyncio.fixture
async def empty_database(
    postgres_url: str, migrated_database_template: str
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Gives the address of another empty, migrated database."""
    async with AsyncExitStack() as stack:

        async def make() -> str:
            return await stack.enter_async_context(
                fresh_database(postgres_url, template=migrated_database_template)
            )

        yield make
