"""How fresh a replica is: the watermarks that it has reached, and how one more counts."""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.instants import Micros
from msgspec.structs import replace

from consent_gate.cells import Meta


class Mark(NamedTuple):
    """The log stood at `position` at its own `time`, by a request sent at `asked` (boot clock, ns)."""

    epoch: int
    position: int
    time: Micros
    asked: int


def standing_at(meta: Meta, position: int, time: Micros) -> Meta:
    """`meta` of a replica that was brought to `position`, as the ledger had it at `time` or later."""
    return replace(meta, position=position, time=max(meta.time, time))


def noted(meta: Meta, mark: Mark | None) -> Meta:
    """`meta` with a watermark, if it can count: reached, of this epoch, and newer in both clocks.

    An answer that is replayed has no newer time, so it keeps nothing fresh.
    """
    if (
        mark is None
        or mark.epoch != meta.epoch
        or mark.position > meta.position
        or mark.position < meta.watermark_position
        or mark.time <= meta.watermark_time
        or mark.asked <= meta.watermark_asked
    ):
        return meta
    return replace(
        meta,
        time=max(meta.time, mark.time),
        watermark_position=mark.position,
        watermark_time=mark.time,
        watermark_asked=mark.asked,
    )
