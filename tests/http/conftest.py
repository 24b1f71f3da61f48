"""One service for the many small tests of this folder: a database, a policy, a few customers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from http_service import (
    Caller,
    Service,
    client_of,
    enrol,
    in_process,
    make_keys,
    publish_first_policy,
    publisher,
    settings_for,
    until_ready,
)
from servers import fresh_database

OWNERS = (("workspace", "acme"), ("workspace", "other"), ("organisation", "group"))


@pytest_asyncio.fixture(scope="session")
async def service(
    postgres_url: str,
    nats_url: str,
    migrated_database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    async with fresh_database(postgres_url, template=migrated_database_template) as database_url:
        keys = await make_keys(database_url, *OWNERS)
        settings = settings_for(tmp_path_factory.mktemp("ledger"), database_url, nats_url)
        with publisher(settings):
            async with (
                in_process(settings) as dispatcher,
                client_of(dispatcher) as client,
                client_of(dispatcher.behind) as behind,
            ):
                call = Caller(client, keys)
                await publish_first_policy(call)
                await call.done("POST", "/v1/organisations", json={"organisation": "group"})
                for name, organisation in (("acme", ""), ("other", ""), ("member", "group")):
                    await enrol(call, name, organisation=organisation)
                yield Service(dispatcher, call, Caller(behind, keys), database_url)


@pytest_asyncio.fixture
async def call(service: Service) -> Caller:
    # Between these tests its loop stands still, and API keys that are older than 30 s are nobody's.
    await until_ready(service.call.client)
    return service.call
