"""One connection for one long piece of work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from consent_domain.errors import ConsentError
from consent_domain.instants import micros
from consent_plumbing.postgres import CONNECT_SECONDS_MAX, Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.seams import Head

COMMAND_SECONDS_MAX = 12 * 3_600.0
"""All of a large log may be read by one statement."""


@asynccontextmanager
async def connected(database_url: str, name: str, role: str | None = None) -> AsyncIterator[Connection]:
    """A connection, closed at the end; what was not committed is rolled back. Raises what asyncpg raises."""
    connection = await asyncpg.connect(
        database_url,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=COMMAND_SECONDS_MAX,
        server_settings={"application_name": name, "timezone": "UTC", **({"role": role} if role else {})},
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_SECONDS_MAX)


async def head_of(connection: Connection, statement: str = "read_head") -> Head:
    """The head, by `read_head` or `lock_head`. Raises ConsentError `unavailable` if there is none."""
    row = await connection.fetchrow(STATEMENTS[statement])
    if row is None:
        raise ConsentError("unavailable", "the ledger has no head: run `consent-ledger migrate`")
    return Head(
        row["origin"],
        row["epoch"],
        row["position"],
        micros(row["recorded_at"]),
        row["range"],
        micros(row["now"]),
    )


def require_origin(head: Head, origin: str) -> None:
    """Raise ConsentError `other_origin` if the database holds another ledger than the settings name."""
    if head.origin not in ("", origin):
        raise ConsentError(
            "other_origin",
            f"this database holds the ledger {head.origin!r}, and CONSENT_ORIGIN names {origin!r}",
        )
