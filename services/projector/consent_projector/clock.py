"""The real `Clock`."""

from __future__ import annotations

import time


class MonotonicClock:
    """The host's monotonic clock; it is never compared with another host's."""

    def monotonic(self) -> float:
        """As `Clock.monotonic`."""
        return time.monotonic()
