"""The clock that ages are counted on, and the name of this boot of the machine.

The boot clock never jumps, goes on while the machine sleeps, and is the same for all
processes of the host, so one process may write a reading of it and another compare. But for
those that were given another one: a container may have a time namespace, whose boot clock is
shifted. Its readings are as good as another boot's, and so is its name.
"""

from __future__ import annotations

import subprocess
import time
from functools import cache, partial
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SHIFTS = Path("/proc/self/timens_offsets")
# Linux's monotonic clock stands still during sleep and BOOTTIME does not; on macOS MONOTONIC goes on.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


boot_nanoseconds = partial(time.clock_gettime_ns, _CLOCK)
"""Nanoseconds since the machine booted; a reading takes about 0.1 µs."""


@cache
def boot_id() -> str:
    """A name that is new with every boot, and with every shift of its clock: where it is the same,
    readings of `boot_nanoseconds` can be compared. Raises OSError where the system has none."""
    if _BOOT_ID.exists():
        return _BOOT_ID.read_text().strip() + _shift()
    named = subprocess.run(
        ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True, text=True
    )
    return named.stdout.strip()


def _shift() -> str:
    """How this process's boot clock differs from the machine's; nothing if it does not."""
    if not _SHIFTS.exists():
        return ""
    lines = (line.split() for line in _SHIFTS.read_text().splitlines())
    shifts = [":".join(line[1:]) for line in lines if line[0] == "boottime" and set(line[1:]) != {"0"}]
    return "".join(f"+{shift}" for shift in shifts)
