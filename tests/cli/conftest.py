"""A whole ledger for the tests of the command: the one that all folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
from consent_command import Stack


@pytest.fixture(scope="session")
def stack(example_stack: Stack) -> Stack:
    return example_stack


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests: neither variables nor files."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "TOKEN", "CONFIG", "FEED_KEY", "REPLICA"):
        monkeypatch.delenv(f"CONSENT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
