"""What a backup holds of the schema `ledger`, and how it is written down.

    manifest.json          everything below, and the head
    events.copy …          a table each, as PostgreSQL's COPY in its binary format gives it
    checkpoints/1 …        the published checkpoint of each epoch, as it was before the tables were read

The head is in the manifest: its table has one row for ever, which nobody may insert again.
"""

from __future__ import annotations

from typing import Final

import msgspec

FORMAT = 1
MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"
BYTES_A_READ = 1 << 20

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "events": ("position", "stream", "version", "id", "type", "recorded_at", "body", "leaf_hash"),
    "idempotency": (
        "key",
        "principal",
        "body_hash",
        "first_position",
        "last_position",
        "outcome",
        "recorded_at",
    ),
    "blobs": ("sha256", "media_type", "body"),
    "api_keys": (
        "id",
        "prefix",
        "key_hash",
        "role",
        "scope_kind",
        "scope_id",
        "name",
        "principal",
        "created_at",
        "revoked_at",
        "may_unseal",
    ),
    "unsealings": ("number", "position", "principal", "reason", "at"),
}
"""Every table but `head` and `migrations`, with all its columns."""


class Made(msgspec.Struct, frozen=True, rename="camel"):
    """A migration that made the schema."""

    name: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """`range` is the head's, in base64; `files` maps each path to its SHA-256; `made_at` is RFC 3339."""

    format: int
    origin: str
    epoch: int
    position: int
    recorded_at: str
    range: bytes
    root: bytes
    made_at: str
    schema: list[Made]
    files: dict[str, str]


def file_of(table: str) -> str:
    """The file of a table."""
    return f"{table}.copy"
