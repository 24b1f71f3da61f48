"""Before a process writes: the schema is there, and the ledger has the origin that the settings name."""

from __future__ import annotations

from consent_domain.errors import ConsentError
from consent_plumbing.migrations import migrate
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.database import MIGRATIONS, STATEMENTS

SCHEMA = "ledger"


async def migrate_database(database_url: str) -> list[str]:
    """Bring the ledger's schema up to date; the names of the migrations applied now.

    Raises consent_plumbing.migrations.MigrationRefused and what the database raises.
    """
    return await migrate(database_url, SCHEMA, MIGRATIONS)


async def claim_origin(pool: Pool, origin: str) -> None:
    """Give a new ledger its origin, for ever. Does nothing if it is the one it has.

    Raises ConsentError `unavailable` if the ledger has another: the settings name another ledger, or
    the database is not the one meant. Also what the pool raises.
    """
    async with acquire(pool) as connection:
        claimed = await connection.fetchval(STATEMENTS["claim_origin"], origin)
        if claimed is None:
            head = await connection.fetchrow(STATEMENTS["read_head"])
            found = None if head is None else head["origin"]
            if found != origin:
                raise ConsentError(
                    "unavailable",
                    f"this database holds the ledger {found!r}, and CONSENT_ORIGIN names {origin!r}",
                )
