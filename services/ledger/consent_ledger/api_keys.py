"""API keys: `ck_<role letter>_<prefix>_<secret><checksum>`, kept as SHA-256, held in memory.

The checksum (CRC-32 in base62, as in GitHub's tokens) lets scanners for leaked keys, and whoever
mistyped one, see without a database whether a text is a key.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from zlib import crc32

import asyncpg
import msgspec
import structlog
from consent_domain.errors import ConsentError
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.database import STATEMENTS

ROLE_LETTERS = {"admin": "a", "auditor": "u", "pipeline": "p", "owner": "o"}
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX_CHARACTERS = 8
_SECRET_CHARACTERS = 22
_CHECKSUM_CHARACTERS = 6
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


def is_well_formed(key: str) -> bool:
    """Whether a text is an API key by its form and checksum, without asking anybody."""
    length = len("ck_a_") + _PREFIX_CHARACTERS + 1 + _SECRET_CHARACTERS + _CHECKSUM_CHARACTERS
    return (
        len(key) == length
        and key.isascii()
        and key.startswith("ck_")
        and _checksum(key[:-_CHECKSUM_CHARACTERS]) == key[-_CHECKSUM_CHARACTERS:]
    )


async def create_key(
    connection: Connection,
    role: str,
    name: str,
    scope: tuple[str, str] | None = None,
    principal: str | None = None,
    may_unseal: bool = False,
) -> str:
    """A new key, shown once and never stored. `scope` is (kind, id), for owners only and always.

    Two keys of one person must name the same `principal`, or they count as two people; without one
    the key is a principal of its own. Raises ConsentError `invalid_value` for a role or scope that is
    none, or if another than an auditor `may_unseal`.
    """
    if role not in ROLE_LETTERS:
        raise ConsentError("invalid_value", f"the role must be one of {', '.join(ROLE_LETTERS)}")
    if (role == "owner") != (scope is not None) or (scope and scope[0] not in ("workspace", "organisation")):
        raise ConsentError("invalid_value", "only an owner is bound to a workspace or organisation")
    if may_unseal and role != "auditor":
        raise ConsentError("invalid_value", "only an auditor may unseal")
    prefix = _random(_PREFIX_CHARACTERS)
    unchecked = f"ck_{ROLE_LETTERS[role]}_{prefix}_{_random(_SECRET_CHARACTERS)}"
    key = unchecked + _checksum(unchecked)
    kind, scope_id = scope or (None, None)
    await connection.fetchval(
        STATEMENTS["insert_api_key"],
        prefix,
        sha256(key.encode()).digest(),
        role,
        kind,
        scope_id,
        name,
        principal or f"key-{prefix}",
        may_unseal,
    )
    return key


async def revoke_key(connection: Connection, prefix: str) -> bool:
    """Revoke a key by its prefix; False if there is none or it was revoked before."""
    return await connection.fetchval(STATEMENTS["revoke_api_key"], prefix) is not None


async def list_keys(connection: Connection) -> list[asyncpg.Record]:
    """Every key's row, the revoked ones too, oldest first."""
    return list(await connection.fetch(STATEMENTS["all_api_keys"]))


def _random(characters: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(characters))


def _checksum(text: str) -> str:
    number = crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
