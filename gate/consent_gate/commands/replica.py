"""One moment of this host's replica, for the commands that decide by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from consent_gate.commands.ledger import Ledger
from consent_gate.commands.settings import Settings
from consent_gate.commands.waiting import followed
from consent_gate.gate import Gate
from consent_gate.pin import Pin, pinned


@contextmanager
def pinned_replica(
    ledger: Ledger, settings: Settings, seconds_max: float | None
) -> Iterator[tuple[Gate, Pin]]:
    """The replica as of a moment that knows all that was recorded before this call, and who follows for it.

    Waits for it, and raises ConsentError, as `commands.waiting.followed` does.
    """
    gate, left = followed(ledger, settings, seconds_max)
    with gate, pinned(gate, left) as pin:
        yield gate, pin
