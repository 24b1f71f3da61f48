"""What long-running commands say to whoever collects their logs: one JSON object a line on standard error."""

from __future__ import annotations

import json
import sys
import time

LEVELS = ("info", "warning", "error", "critical")


def tell(level: str, event: str, **facts: object) -> None:
    """Say that `event` happened; `level` is one of `LEVELS`. Never give it a secret."""
    assert level in LEVELS, f"there is no level {level}"
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"time": now, "level": level, "event": event, **facts}, ensure_ascii=False, default=str)
    # One write: lines of several threads do not mix.
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
