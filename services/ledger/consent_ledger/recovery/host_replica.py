"""What this host's replica remembers of what the ledger lost: it names it, and cannot give it back."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import lmdb
from consent_domain.errors import ConsentError
from consent_domain.facts import Choices
from consent_gate.cells import PLAIN, Meta
from consent_gate.replica import Replica

NAMED_MAX = 1_000


class Remembered(NamedTuple):
    """How far the replica had followed, in which epoch; (0, 0): it says nothing."""

    epoch: int
    position: int


class HostReplica:
    """The replica at a folder, if there is one of this boot that follows `origin`. Nothing here raises."""

    def __init__(self, folder: str, origin: str) -> None:
        self._replica = Replica(Path(folder)) if folder and Path(folder).is_dir() else None
        self._origin = origin

    @property
    def remembered(self) -> Remembered:
        """Where it stands."""
        if self._replica is None:
            return Remembered(0, 0)
        try:
            meta = self._replica.meta
        except (ConsentError, OSError, lmdb.Error):
            return Remembered(0, 0)
        return (
            Remembered(meta.epoch, meta.position) if self._is_of_ledger(meta) and meta else Remembered(0, 0)
        )

    def _is_of_ledger(self, meta: Meta | None) -> bool:
        return meta is not None and meta.complete and meta.origin == self._origin

    def narrowed_after(self, size: int) -> list[str]:
        """Whose opt-outs, or ends of opt-ins, stand at positions above `size`: streams, NAMED_MAX at most.

        Reads every workspace: a second for a million.
        """
        found: list[str] = []
        if self._replica is None:
            return found
        try:
            with self._replica.snapshot() as snapshot:
                for name, facts in snapshot.organisations():
                    if _narrows_after(facts.choices, size):
                        found.append(f"organisation/{name}")
                for key, cell in snapshot.cells():
                    if len(found) >= NAMED_MAX:
                        break
                    if cell[:1] == PLAIN:
                        continue
                    if _narrows_after(snapshot.workspace_of(cell).choices, size):
                        found.append(f"workspace/{bytes(key).decode()}")
        except (ConsentError, OSError, lmdb.Error, ValueError):
            pass  # what it could still name is named
        return found[:NAMED_MAX]


def _narrows_after(choices: Choices, size: int) -> bool:
    return any(one.position > size and one.ended is None for one in choices.opt_outs) or any(
        one.ended_position > size for one in choices.opt_ins
    )
