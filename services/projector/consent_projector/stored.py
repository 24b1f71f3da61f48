"""An event as it is stored: the ledger's bytes, with the position and stream of its row."""

from __future__ import annotations

from typing import NamedTuple


class Stored(NamedTuple):
    """`body` may be unreadable; `position` and `stream` are the row's, never taken from unreadable bytes."""

    position: int
    stream: str
    body: bytes
