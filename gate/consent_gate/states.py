"""How a gate is, and what it needs from outside to stay that way."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Status(NamedTuple):
    """`state` is `live`, `catching_up`, `stale` or `halted`; only `live` permits. `why` is for people.

    `code` is of what is in the way, where it has one: those of `NEEDS_SOMEBODY` do not mend themselves.
    """

    state: str
    token: str
    position: int
    staleness: float | None
    why: str
    code: str = ""


NEEDS_SOMEBODY = ("wrong_key", "other_origin", "unsafe_folder", "unauthenticated", "forbidden")
"""What somebody must change: it is no use to wait for it to pass."""


class Following(Protocol):
    """What keeps the replica fresh."""

    def start(self) -> None:
        """Begin, or begin again in a process that was forked. Returns at once."""

    def stop(self) -> None:
        """End, and let another process of the host follow."""

    @property
    def why(self) -> str:
        """What went wrong last, empty if nothing did."""

    @property
    def code(self) -> str:
        """Its code, empty if it has none. See `Status`."""
