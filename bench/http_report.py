"""Figures of the HTTP benches, as a table or as JSON, with the disk's fdatasync time beside them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SYNCS = 50


class Line(NamedTuple):
    """One figure, and what it should reach: at least `reach` a second, at most `p99_ms_max`."""

    what: str
    a_second: float
    p50_ms: float
    p99_ms: float
    reach: float | None = None
    p99_ms_max: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it does; None if nothing is asked of it."""
        if self.reach is None and self.p99_ms_max is None:
            return None
        return (self.reach is None or self.a_second >= self.reach) and (
            self.p99_ms_max is None or self.p99_ms <= self.p99_ms_max
        )


def fdatasync_ms(folder: Path) -> float:
    """The median time of an fdatasync after writing 4 KiB to the disk of `folder`."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return sorted(took)[SYNCS // 2] * 1000


def report(title: str, lines: list[Line], folder: Path, as_json: bool, errors: int) -> None:
    """Print the figures. Raises AssertionError if any answer was an error: then they say nothing."""
    sync = fdatasync_ms(folder)
    if as_json:
        told = [line._asdict() | {"reached": line.reached} for line in lines]
        print(json.dumps({"title": title, "fdatasyncMs": sync, "errors": errors, "lines": told}))
    else:
        print(f"{title}\nfdatasync: {sync:.2f} ms\n")
        for line in lines:
            mark = {None: "", True: "reached", False: "not reached"}[line.reached]
            print(
                f"{line.what:42} {line.a_second:12,.0f}/s   p50 {line.p50_ms:8.2f} ms   "
                f"p99 {line.p99_ms:8.2f} ms   {mark}"
            )
    assert errors == 0, f"{errors} answers were errors"
