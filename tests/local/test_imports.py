"""A command imports what it needs: a shell that runs one, and `up` that runs eight, wait for no other's."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "asyncpg", "cryptography", "granian", "httpx", "litestar", "lmdb", "nats", "numpy", "pandas", "polars",
    "prometheus_client", "pyarrow", "uvloop",
}  # fmt: skip
PROGRAM = """
import sys
from {package} import {name}
try:
    {name}.main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
SECONDS_MAX = 60


@pytest.mark.parametrize(
    ("module", "words", "expected"),
    [
        ("consent_gate.cli", ("check", "--help"), {"cryptography", "httpx", "lmdb"}),
        ("consent_local.main", ("status", "--help"), set()),
        ("consent_local.main", ("demo", "--help"), set()),
        ("consent_ledger.main", ("keys", "create", "--help"), set()),
        ("consent_ledger.main", ("keys", "feed", "--help"), set()),
        ("consent_ledger.main", ("serve", "--help"), set()),
        ("consent_ledger.main", ("publish", "--help"), set()),
        ("consent_ledger.main", ("migrate", "--help"), set()),
        ("consent_projector.main", ("run", "--help"), set()),
        ("consent_projector.main", ("migrate", "--help"), set()),
    ],
)
def test_given_a_command_when_it_reads_its_arguments_then_it_has_imported_no_more_than_it_names(
    module: str, words: tuple[str, ...], expected: set[str]
) -> None:
    package, _, name = module.rpartition(".")
    program = PROGRAM.format(package=package, name=name)
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: "), done.stdout
    imported = HEAVY & set(done.stderr.split())
    assert imported <= expected, sorted(imported - expected)


@pytest.mark.parametrize(
    ("module", "left_out"),
    [
        ("consent_ledger.application", {"httpx", "numpy", "pandas", "pyarrow"}),
        ("consent_ledger.log.running", {"granian", "httpx", "litestar", "lmdb", "numpy", "pyarrow"}),
        ("consent_projector.running", {"cryptography", "httpx", "lmdb", "numpy", "pyarrow"}),
    ],
)
def test_given_a_service_when_it_starts_then_it_imports_nothing_of_other_work(
    module: str, left_out: set[str]
) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr
    assert not left_out & set(done.stdout.split())
