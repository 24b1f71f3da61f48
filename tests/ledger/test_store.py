"""The store in PostgreSQL passes the suite of all stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from consent_ledger.opening import claim_origin
from consent_ledger.store import ROLE, PostgresStore
from consent_plumbing.postgres import open_pool
from store_suite import StoreSuite
from writing import ORIGIN


class TestPostgresStore(StoreSuite):
    @pytest_asyncio.fixture
    async def stores(self, migrated_database_url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
        pool = await open_pool(migrated_database_url, "stores", role=ROLE)
        await claim_origin(pool, ORIGIN)
        stores = PostgresStore(pool), PostgresStore(pool)
        try:
            yield stores
        finally:
            for store in stores:
                await store.close()
            await asyncio.wait_for(pool.close(), 10)
