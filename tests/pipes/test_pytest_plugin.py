"""The plugin in runs of pytest of their own: it fails what may not be used or cannot be asked about."""

from __future__ import annotations

import subprocess
import sys

import pytest
from consent_command import TRAIN, Stack

pytest_plugins = ["pytester"]

NOWHERE = "http://127.0.0.1:9"
LIGHT = {"consent_gate", "consent_gate.pytest_plugin"}


def run(pytester: pytest.Pytester, *words: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "addopts=", *words, timeout=100)


@pytest.fixture
def asking(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The settings that a pipeline has."""
    monkeypatch.setenv("CONSENT_URL", stack.url)
    monkeypatch.setenv("CONSENT_TOKEN", stack.keys["pipeline"])
    return stack


def test_given_rows_of_all_kinds_when_tests_run_then_only_those_pass_that_may(
    pytester: pytest.Pytester, asking: Stack
) -> None:
    pytester.makeini(f"[pytest]\nconsent_purpose = {TRAIN}\n")
    pytester.makepyfile(
        f"""
        from datetime import datetime, timezone

        RECENT = datetime(2024, 6, 1, tzinfo=timezone.utc)

        def rows(*names):
            return [{{"w": name, "t": RECENT}} for name in names]

        def test_good(assert_consented, consent_gate):
            assert_consented(rows({asking.on[40]!r}), workspace="w", collected="t")
            assert consent_gate.check({asking.on[40]!r}, collected=RECENT)

        def test_bad(assert_consented):
            assert_consented(rows({asking.on[40]!r}, {asking.out[0]!r}), workspace="w", collected="t")

        def test_empty(assert_consented):
            assert_consented([], workspace="w")

        def test_empty_on_purpose(assert_consented):
            assert_consented([], workspace="w", allow_empty=True)

        def test_misspelt(assert_consented):
            assert_consented(rows({asking.on[40]!r}), workspace="v")
        """
    )
    ran = run(pytester)
    ran.assert_outcomes(passed=2, failed=3)
    ran.stdout.fnmatch_lines(
        [
            f"*AssertionError: 1 of 2 rows may not be used for {TRAIN}:",
            f"*1  opted_out (it was opted out): '{asking.out[0]}'",
            "*Filter the data before it is used*",
        ]
    )
    ran.stdout.fnmatch_lines(["*say allow_empty=True*"])
    ran.stdout.fnmatch_lines(["*consent: it could not be decided: an item has no 'v'*"])


@pytest.mark.parametrize(
    ("url", "token", "why"),
    [
        (NOWHERE, "key", "*nothing answers at*"),
        ("", "key", "*say its address by --consent-url*"),
        (NOWHERE, "", "*CONSENT_TOKEN*"),
        ("ftp://nowhere", "key", "*consent:*"),
    ],
)
def test_given_no_ledger_that_answers_when_tests_run_then_they_are_errors_and_not_skipped(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, url: str, token: str, why: str
) -> None:
    monkeypatch.setenv("CONSENT_TOKEN", token)
    pytester.makepyfile(
        """
        def test_rows(assert_consented):
            assert_consented([{"w": "a"}], workspace="w", purpose="train")

        def test_without_it():
            pass
        """
    )
    ran = run(pytester, *(["--consent-url", url] if url else []))
    ran.assert_outcomes(passed=1, errors=1)
    ran.stdout.fnmatch_lines([why])
    ran.stdout.no_fnmatch_line("*During handling of*")


def test_given_a_snapshot_without_key_or_age_when_tests_run_then_they_are_errors(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeini("[pytest]\nconsent_snapshot = facts.parquet\nconsent_max_age = a day\n")
    pytester.makepyfile("def test_rows(assert_consented):\n    pass\n")
    ran = run(pytester)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*a snapshot needs the ledger's public key*"])


def test_given_tests_that_ask_for_nothing_when_the_plugin_is_loaded_then_it_imports_nothing_else() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import consent_gate.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert set(done.stdout.split()) == LIGHT, done.stderr


def test_the_plugin_is_found_by_its_name() -> None:
    from importlib.metadata import entry_points

    [found] = entry_points(group="pytest11", name="consent")
    assert found.value == "consent_gate.pytest_plugin"
