"""Fixtures for everybody: real servers once a session, a database of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import settings
from servers import fresh_database, kind, migrated_template, nats_server, postgres_server, temporary_folder

if TYPE_CHECKING:
    from consent_command import Stack

# How long an example takes says something about the machine, and nothing about what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


LONGEST_FOLDERS = (
    "simulation", "cli", "pipes", "local", "log", "http", "recovery", "projector", "engines", "domain", "e2e",
    "monitor", "erasure", "gate_api", "faults", "tampering", "gate",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever takes long begins early, or one processor would end up with it alone; a folder stays together,
    so that what its tests share is made once and waits for none of them."""
    places = {folder: place for place, folder in enumerate(LONGEST_FOLDERS)}
    root = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(root).parts[0], len(places)))


def pytest_report_header() -> list[str]:
    return [
        f"PostgreSQL: {kind('CONSENT_TEST_DATABASE_URL')}",
        f"NATS: {kind('CONSENT_TEST_NATS_URL')}",
    ]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    with nats_server() as url:
        yield url


@pytest_asyncio.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_url) as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def migrated_database_template(postgres_url: str) -> AsyncIterator[str]:
    """Name of a database with every service's schema, to be copied and never connected to."""
    async with migrated_template(postgres_url) as name:
        yield name


@pytest_asyncio.fixture
async def migrated_database_url(postgres_url: str, migrated_database_template: str) -> AsyncIterator[str]:
    """A database of the test's own, as after `migrate` of both services."""
    async with fresh_database(postgres_url, template=migrated_database_template) as url:
        yield url


@pytest.fixture(scope="session")
def example_stack() -> Iterator[Stack]:
    """A ledger as `consent-local up` runs it, with a little history, for all folders that ask as users do.

    Its workspaces are many: a test that changes one takes one that no other test names.
    """
    from consent_command import started  # not above: few tests need all that it imports

    with temporary_folder() as folder, started(folder) as running:
        yield running
