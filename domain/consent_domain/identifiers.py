"""Identifiers: what customers' ids may be, UUIDv7, and the token that names a position."""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import UUID

from consent_domain.errors import ConsentError

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ORIGIN = re.compile(r"[A-Za-z0-9._~/-]{1,128}")


def is_id(text: str) -> bool:
    """Whether `text` may name a workspace, organisation, purpose or run (1 to 128 of `[A-Za-z0-9._-]`)."""
    return _ID.fullmatch(text) is not None


def require_id(text: str, what: str) -> str:
    """`text` itself, or ConsentError `invalid_id` naming `what`."""
    if not is_id(text):
        raise ConsentError("invalid_id", f"{what} must be 1 to 128 of A-Z a-z 0-9 . _ -, and is not")
    return text


def uuid7(milliseconds: int, random: bytes) -> UUID:
    """A version 7 UUID (RFC 9562 §5.7) of a Unix time in milliseconds and 10 random bytes."""
    assert len(random) == 10, "74 bits of randomness are taken from 10 bytes"
    value = (milliseconds & ((1 << 48) - 1)) << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


class Token(NamedTuple):
    """A position of one log in one epoch, written `origin/epoch/position`."""

    origin: str
    epoch: int
    position: int

    def __str__(self) -> str:
        return f"{self.origin}/{self.epoch}/{self.position}"


def parse_token(text: str) -> Token:
    """The token that `text` writes; ConsentError `invalid_token` for anything else."""
    parts = text.rsplit("/", 2)
    if len(parts) == 3 and len(text) <= 200 and _ORIGIN.fullmatch(parts[0]):
        epoch, position = parts[1], parts[2]
        if epoch.isascii() and epoch.isdigit() and position.isascii() and position.isdigit():
            return Token(parts[0], int(epoch), int(position))
    raise ConsentError("invalid_token", "this is no token; tokens read origin/epoch/position")
