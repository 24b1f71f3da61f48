"""How publishing is: what `/health/ready` says of the log."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import asyncpg
from consent_domain.errors import ConsentError
from consent_domain.instants import SECOND, Micros, micros
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import Halt, LogFolder, Status
from consent_ledger.seams import Head, StoreUnavailable

BEHIND_SECONDS_MAX = 5


class Condition(NamedTuple):
    """`behind_seconds`: for how long the oldest event that the checkpoint does not cover has been there."""

    halt: Halt | None
    size: int
    behind_seconds: float
    status: Status | None
    trouble: str

    @property
    def failures(self) -> list[str]:
        """What is wrong, in words; empty if nothing is. A witness that is away is no failure."""
        found = [f"log: halted ({self.halt.reason}): {self.halt.detail}"] if self.halt else []
        if self.trouble:
            found.append(f"log: {self.trouble}")
        elif self.behind_seconds > BEHIND_SECONDS_MAX:
            found.append(
                f"log: the checkpoint covers {self.size} events and is {self.behind_seconds:.0f} s behind; "
                "is `consent-ledger publish` running?"
            )
        return found


async def condition_of(folder: LogFolder, pool: Pool, head: Head) -> Condition:
    """How far the published checkpoint is behind `head`. Raises StoreUnavailable."""
    halt, status = await asyncio.to_thread(folder.halted), await asyncio.to_thread(folder.status)
    try:
        checkpoint = await asyncio.to_thread(folder.checkpoint, head.epoch)
    except ConsentError as error:
        return Condition(halt, 0, 0.0, status, error.detail)
    size = 0 if checkpoint is None else checkpoint.size
    try:
        waits_since = await _first_uncovered(pool, size) if size < head.position else head.now
    except ConsentError as error:
        return Condition(halt, size, 0.0, status, error.detail)
    return Condition(halt, size, max(0.0, (head.now - waits_since) / SECOND), status, "")


async def _first_uncovered(pool: Pool, size: int) -> Micros:
    try:
        async with acquire(pool) as connection:
            recorded_at = await connection.fetchval(STATEMENTS["event_recorded_at"], size + 1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable("the database does not answer") from error
    if recorded_at is None:
        raise ConsentError("damaged", f"the event at position {size + 1} is missing, below the head")
    return micros(recorded_at)
