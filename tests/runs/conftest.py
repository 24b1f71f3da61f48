"""A ledger of its own for each module of this folder, with its projector."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from registered import Registry, registry
from servers import fresh_database


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ledger(
    postgres_url: str,
    nats_url: str,
    migrated_database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Registry]:
    async with fresh_database(postgres_url, template=migrated_database_template) as database_url:
        folder = tmp_path_factory.mktemp("ledger")
        async with registry(database_url, nats_url, folder) as found:
            yield found
