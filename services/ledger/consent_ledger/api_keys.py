"""API keys: `ck_<role letter>_<prefix>_<secret><checksum>`, kept as SHA-256.

The checksum (CRC-32 in base62, as in GitHub's tokens) lets scanners for leaked keys, and whoever
mistyped one, see without a database whether a text is a key.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING
from zlib import crc32

from consent_domain.errors import ConsentError

from consent_ledger.database import STATEMENTS

if TYPE_CHECKING:
    import asyncpg
    from consent_plumbing.postgres import Connection

ROLE_LETTERS = {"admin": "a", "auditor": "u", "pipeline": "p", "owner": "o"}
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX_CHARACTERS = 8
_SECRET_CHARACTERS = 22
_CHECKSUM_CHARACTERS = 6


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
