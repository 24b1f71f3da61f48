"""A monitor on a log in a folder, which a test may change between two looks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from consent_domain.instants import Micros, micros
from consent_domain.witness_policy import WitnessPolicy
from consent_gate.audit.monitor.findings import Found
from consent_gate.audit.monitor.look import Asked, look
from consent_gate.audit.monitor.memory import Memory
from consent_gate.audit.monitor.sample import Ask
from consent_gate.audit.sources import FolderSource, LogSource
from consent_gate.audit.trust import Trust
from ledger_events import START
from signed_logs import SIGNER

SOON = micros(START) + 3_600_000_000
"""An hour after the first event: no request is overdue yet."""


class Monitor:
    """A monitor with its memory; `folder` is what is served now, `older` what of earlier epochs."""

    def __init__(self, folder: Path, memory: Path) -> None:
        self.folder = folder
        self.older: dict[int, Path] = {}
        self.memory = Memory(memory)
        self.trust = Trust((SIGNER.verifier,))
        self.source: LogSource | None = None

    def look(self, now: Micros = SOON, ask: Ask | None = None, sample: int = 50) -> Found:
        """Look once."""
        source = self.source or FolderSource(self.folder)
        asked = Asked(source, lambda epoch: FolderSource(self.older[epoch]), ask, self.trust, sample, 60.0)
        try:
            return look(asked, self.memory, now, random.Random(7))
        finally:
            source.close()

    def alarms(self, now: Micros = SOON, ask: Ask | None = None) -> list[str]:
        """The kinds of the alarms of a look that could check all."""
        found = self.look(now, ask)
        assert found.unchecked == []
        return [one.kind for one in found.alarms]

    def with_policy(self, policy: WitnessPolicy) -> None:
        """Ask for witnesses."""
        self.trust = self.trust._replace(policy=policy)


@pytest.fixture
def monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitor]:
    monkeypatch.setattr("consent_gate.audit.monitor.look.CATCH_UP_SECONDS", 0.0)
    made = Monitor(tmp_path / "log", tmp_path / "memory")
    yield made
    made.memory.close()
