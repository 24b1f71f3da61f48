"""The store in PostgreSQL passes the suite of all stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from consent_ledger.opening import claim_origin
from consent_ledger.seams import StoreUnavailable
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

    async def test_given_a_transaction_that_failed_before_when_committed_then_it_is_not_applied(
        self, stores: tuple[PostgresStore, PostgresStore]
    ) -> None:
        with pytest.raises(StoreUnavailable):
            async with stores[0].transaction() as transaction:
                await transaction.lock_head()
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await transaction._connection.execute("SELECT 1 / 0")
                await transaction.commit()
        async with stores[0].transaction() as transaction:
            assert (await transaction.lock_head()).position == 0
