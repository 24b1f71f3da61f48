"""Watermarks: where the log stood, by its own clock, and when this host asked."""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.feed import Watermark
from consent_domain.instants import Micros
from consent_gate.boot import boot_nanoseconds

from consent_ledger.seams import Store


class LedgerTime:
    """Ledger time as one process tells it to those who follow: always later than what it told before.

    A gate counts no watermark whose time is not later, since it may be an old one that is sent again. So
    a database's clock that is set back must not show: for every gate, time would stand still until then.
    """

    def __init__(self) -> None:
        self._told: Micros = 0

    def at(self, now: Micros, recorded_at: Micros) -> Micros:
        """The time of a watermark: the database's clock, or the last event's time where that is later."""
        self._told = max(now, recorded_at, self._told + 1)
        return self._told


class Sent(NamedTuple):
    """A watermark, and this host's boot clock (nanoseconds) from before the question was sent."""

    watermark: Watermark
    boot_ns: int


async def read_watermark(store: Store, time: LedgerTime) -> Sent:
    """The head of the log now. Raises StoreUnavailable. The store must be the primary, not a copy."""
    boot_ns = boot_nanoseconds()
    head = await store.read_head()
    told = Watermark(head.origin, head.epoch, head.position, time.at(head.now, head.recorded_at))
    return Sent(told, boot_ns)
