"""Whose key a request came with: all API keys, held in memory and read again every second."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from hashlib import sha256

import msgspec
import structlog
from consent_domain.errors import ConsentError
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.api_keys import is_well_formed
from consent_ledger.database import STATEMENTS

RELOAD_SECONDS = 1.0
STALE_SECONDS_MAX = 30.0

_log = structlog.get_logger()


class Principal(msgspec.Struct, frozen=True):
    """Who a key speaks for. An owner is bound to one workspace or organisation; some auditors may unseal."""

    id: str
    role: str
    scope_kind: str | None
    scope_id: str | None
    name: str
    may_unseal: bool = False


class KeyRing:
    """All keys that are not revoked. It is state, not a cache: reloaded whole, refused when too old."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._keys: dict[bytes, tuple[bytes, Principal]] = {}
        self._stale_at = float("-inf")

    @property
    def is_current(self) -> bool:
        """Whether anybody can be authenticated: the keys were read within the last 30 s."""
        return self._clock() <= self._stale_at

    async def reload(self) -> None:
        """Read every key. Raises as the database does; the age counts from before the question was sent."""
        asked_at = self._clock()
        async with acquire(self._pool) as connection:
            rows = await connection.fetch(STATEMENTS["all_api_keys"])
        self._keys = {
            row["prefix"].encode(): (
                row["key_hash"],
                Principal(
                    row["principal"],
                    row["role"],
                    row["scope_kind"],
                    row["scope_id"],
                    row["name"],
                    row["may_unseal"],
                ),
            )
            for row in rows
            if row["revoked_at"] is None
        }
        self._stale_at = asked_at + STALE_SECONDS_MAX

    async def run(self) -> None:
        """Reload every second until cancelled, so that a revoked key stops working within about that."""
        while True:
            try:
                await self.reload()
            except Exception as error:  # whatever it is: nobody else ever reads them again
                _log.warning("api_keys_not_reloaded", error=type(error).__name__)
            await asyncio.sleep(RELOAD_SECONDS)

    def authenticate(self, header: bytes | None) -> Principal:
        """The principal of an `Authorization: Bearer …` header.

        Raises ConsentError `unauthenticated`, or `unavailable` if no reload succeeded for 30 s.
        """
        if not self.is_current:
            raise ConsentError("unavailable", "the API keys could not be read for 30 s; try again later")
        if header is None or header[:7].lower() != b"bearer ":
            raise ConsentError("unauthenticated", "send the API key as `Authorization: Bearer ck_…`")
        key = header[7:]
        known = self._keys.get(key[5:13])
        if known is None or not hmac.compare_digest(known[0], sha256(key).digest()):
            why = "unknown or revoked" if is_well_formed(key.decode("latin-1")) else "mistyped or cut off"
            raise ConsentError("unauthenticated", f"the API key is {why}")
        return known[1]
