"""A whole ledger for the tests of pipes: as `consent-local up` runs it, with a little history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from consent_command import Stack, started
from servers import temporary_folder


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with temporary_folder() as folder, started(folder) as running:
        yield running


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests: neither variables nor files."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "TOKEN", "CONFIG", "FEED_KEY", "REPLICA"):
        monkeypatch.delenv(f"CONSENT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
