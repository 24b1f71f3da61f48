"""Instants as whole microseconds since 1970-01-01T00:00:00Z, and RFC 3339 text of them.

Facts and decisions count in integers: they compare exactly, pack small, and no host's time
zone can reach them. Nothing here reads a clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from consent_domain.errors import ConsentError

Micros = int
"""Microseconds since the Unix epoch, UTC, without leap seconds."""

SECOND: Micros = 1_000_000
DAY: Micros = 86_400 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> Micros:
    """The instant of an aware `moment`, exact to the microsecond. Inverse of `moment_of`."""
    assert moment.tzinfo is not None, "a moment without a zone has no instant"
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(instant: Micros) -> datetime:
    """The aware UTC datetime of `instant`. Raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=instant)


def rfc3339(instant: Micros) -> str:
    """`instant` as RFC 3339 with six decimals and `Z`: `2026-01-31T09:00:00.000000Z`."""
    second, fraction = divmod(instant, SECOND)
    return f"{_to_the_second(second)}.{fraction:06d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(second: int) -> str:
    """The text up to the decimals. Events recorded together share it, and formatting it is the slow part."""
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19]


def parse_rfc3339(text: str) -> Micros:
    """The instant that `text` (RFC 3339, any offset) names.

    Raises ConsentError `invalid_time` for anything else, dates without a zone included.
    Digits past the microsecond are cut, never rounded: rounding could move into the future.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or len(text) < len("2026-01-31T09:00Z"):
        raise ConsentError("invalid_time", "this is no RFC 3339 time; write 2026-01-31T09:00:00Z")
    return micros(moment)
