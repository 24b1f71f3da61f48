"""One moment of this host's replica, for the commands that decide by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from consent_gate.commands.ledger import Ledger
from consent_gate.commands.settings import Settings
from consent_gate.gate import Gate
from consent_gate.pin import Pin, pinned


@contextmanager
def pinned_replica(ledger: Ledger, settings: Settings) -> Iterator[tuple[Gate, Pin]]:
    """The replica as of a moment that knows all that was recorded before this call, and who follows for it.

    Raises ConsentError at once if the key may not follow the feed, `stale` if no fresh state comes.
    """
    ledger.require_feed()
    gate = Gate.connect(
        settings.url,
        settings.token,
        replica_dir=settings.replica or None,
        verifier_key=settings.feed_key or None,
    )
    with gate, pinned(gate) as pin:
        yield gate, pin
