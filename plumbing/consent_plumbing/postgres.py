"""The connection pool, with a bound on every wait.

`asyncpg` without `command_timeout` *and* a timeout on `acquire` can hang for ever on a server that
stops answering, even under `asyncio.wait_for`; so the pool is made and used only through this file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

COMMAND_SECONDS_MAX = 10.0
CONNECT_SECONDS_MAX = 5.0
ACQUIRE_SECONDS_MAX = 5.0
IDLE_IN_TRANSACTION_SECONDS_MAX = 10


async def open_pool(
    database_url: str,
    application_name: str,
    connections_max: int = 8,
    command_seconds_max: float = COMMAND_SECONDS_MAX,
    role: str | None = None,
) -> Pool:
    """A pool of at most `connections_max` connections, each opened when first needed.

    It is returned also while the server is down: acquiring then raises, and works once it is back.
    A connection that stays idle inside a transaction is ended by the server after
    `IDLE_IN_TRANSACTION_SECONDS_MAX`, so that a stopped process cannot keep the head's lock. With a
    `role`, every connection has that role's privileges instead of the user's own, who must be a member.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=connections_max,
        command_timeout=command_seconds_max,
        timeout=CONNECT_SECONDS_MAX,
        server_settings={
            "application_name": application_name,
            "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS_MAX}s",
            "timezone": "UTC",
            **({"role": role} if role else {}),
        },
    )


@asynccontextmanager
async def acquire(pool: Pool, seconds_max: float = ACQUIRE_SECONDS_MAX) -> AsyncIterator[Connection]:
    """A connection of the pool, given back at the end.

    Raises TimeoutError if none is free, or none can be opened, within `seconds_max`; OSError or
    asyncpg.PostgresError if the server refuses.
    """
    async with pool.acquire(timeout=seconds_max) as connection:
        yield connection
