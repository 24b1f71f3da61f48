"""What an examination found wrong."""

from __future__ import annotations

import msgspec

FINDINGS_MAX = 100
"""So many are told one by one; the others are counted."""

EVENT_DAMAGED = "event_damaged"
HEAD_DAMAGED = "head_damaged"
BEHIND = "behind"
FORKED = "forked"
CHECKPOINT_DAMAGED = "checkpoint_damaged"
BLOB_DAMAGED = "blob_damaged"
HALTING = (EVENT_DAMAGED, HEAD_DAMAGED, FORKED, BEHIND)
"""With one of these nothing of the ledger may be believed, the worst first."""


class Finding(msgspec.Struct, frozen=True):
    """`kind` is one of the words above; `position` 0: it is about no single event."""

    kind: str
    position: int
    detail: str


class Findings:
    """At most FINDINGS_MAX of them, in the order in which they were found, and how many there were."""

    def __init__(self) -> None:
        self.told: list[Finding] = []
        self.count = 0

    def add(self, kind: str, position: int, detail: str) -> None:
        """Take one in."""
        self.count += 1
        if len(self.told) < FINDINGS_MAX:
            self.told.append(Finding(kind, position, detail))

    def gravest(self) -> Finding | None:
        """The one for which the log halts; None if it need not."""
        return next((one for kind in HALTING for one in self.told if one.kind == kind), None)
