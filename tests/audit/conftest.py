"""Tests of the auditor's side: no settings of whoever runs them, and an export to tamper with."""

from __future__ import annotations

from pathlib import Path

import pytest
from consent_gate.audit.export import Wanted, export
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trust import trust
from ledger_events import ORIGIN
from signed_logs import KEY, SIGNER, SignedLog, lawful

SIZE = 600
"""Two full bundles and a part of a third."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "TOKEN", "CONFIG", "FEED_KEY", "REPLICA", "VERIFIER_KEY"):
        monkeypatch.delenv(f"CONSENT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="session")
def log() -> SignedLog:
    return SignedLog(lawful(SIZE))


@pytest.fixture
def exported(log: SignedLog, tmp_path: Path) -> Path:
    """A whole export, as a folder."""
    source = FolderSource(log.write(tmp_path / "served"))
    out = tmp_path / "out"
    export(source, trust([SIGNER.verifier], None), Wanted(ORIGIN, keys=[KEY]), out, lambda done, total: None)
    return out
