"""Watermarks: where the log stood, by its own clock, and when this host asked."""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.feed import Watermark
from consent_gate.boot import boot_nanoseconds

from consent_ledger.seams import Store


class Sent(NamedTuple):
    """A watermark, and this host's boot clock (nanoseconds) from before the question was sent."""

    watermark: Watermark
    boot_ns: int


async def read_watermark(store: Store) -> Sent:
    """The head of the log now. Raises StoreUnavailable. The store must be the primary, not a copy.

    Ledger time is the database's clock, or the last event's time where that is later.
    """
    boot_ns = boot_nanoseconds()
    head = await store.read_head()
    time_now = max(head.now, head.recorded_at)
    return Sent(Watermark(head.origin, head.epoch, head.position, time_now), boot_ns)
