"""Given a snapshot file, when `consent snapshot verify` looks at it, then its exit code and words say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from consent_command import consent
from consent_gate.signatures import Signer
from scenario import ORIGIN, Ledger, enrolled, opt_out, scope, workspace
from snapshot_files import KEY, altered, note_beside, snapshot_of, until_now


@pytest.fixture
def ledger() -> Ledger:
    return until_now(enrolled(), 2 * 3_600 + 61)


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for name in ("CONSENT_URL", "CONSENT_TOKEN", "CONSENT_FEED_KEY", "CONSENT_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_given_a_good_one_then_it_says_whose_it_is_from_when_and_how_old(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = snapshot_of(ledger, tmp_path)
    ran = consent("snapshot", "verify", str(path), "--feed-key", KEY)
    assert ran.code == 0 and ran.out.startswith("GOOD") and not ran.err
    assert f"{ORIGIN} at position {len(ledger.log)}" in ran.out and "2 h 1 min ago" in ran.out
    told = consent("snapshot", "verify", str(path), "--feed-key", KEY, "--json").told
    assert told["result"] == "good" and told["token"] == f"{ORIGIN}/1/{len(ledger.log)}"
    assert 7_261 <= told["ageSeconds"] < 7_400 and told["rows"] > 2


def test_given_no_key_then_it_says_loudly_that_nobody_checked_whose_it_is(
    ledger: Ledger, tmp_path: Path
) -> None:
    path = str(snapshot_of(ledger, tmp_path))
    ran = consent("snapshot", "verify", path)
    assert ran.code == 2 and ran.out.startswith("UNSIGNED") and "NOT CHECKED" in ran.out
    assert consent("snapshot", "verify", path, "--json").told["result"] == "unsigned"


def test_given_one_from_the_future_then_it_says_so(ledger: Ledger, tmp_path: Path) -> None:
    path = snapshot_of(until_now(ledger, -100), tmp_path)
    assert "AFTER THIS HOST'S CLOCK" in consent("snapshot", "verify", str(path), "--feed-key", KEY).out


def test_given_bad_ones_then_1_and_what_could_not_be_checked_2(ledger: Ledger, tmp_path: Path) -> None:
    path = snapshot_of(ledger, tmp_path)
    other = str(Signer(ORIGIN, b"\7" * 32).verifier)
    ran = consent("snapshot", "verify", str(path), "--feed-key", other, "--json")
    assert (ran.code, ran.told["result"], ran.told["code"]) == (1, "bad", "proof_invalid")
    stranger = str(Signer("other.test/ledger", b"\7" * 32).verifier)
    assert consent("snapshot", "verify", str(path), "--feed-key", stranger).code == 2
    altered(ledger, path, lambda groups: [group.slice(0, 1) for group in [groups[-2], *groups]])
    assert consent("snapshot", "verify", str(path), "--feed-key", KEY).code == 1
    path.write_bytes(path.read_bytes()[:-1])
    ran = consent("snapshot", "verify", str(path), "--feed-key", KEY)
    assert ran.code == 1 and "pull it again" in ran.err and not ran.out
    note_beside(path).write_bytes(b"nonsense")
    assert consent("snapshot", "verify", str(path), "--feed-key", KEY).code == 1
    note_beside(path).unlink()
    assert consent("snapshot", "verify", str(path), "--feed-key", KEY).code == 2
    assert consent("snapshot", "verify", str(tmp_path / "none"), "--json").told["result"] == "unchecked"


def test_given_no_ledger_then_a_pull_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "facts.parquet"
    words = ("snapshot", "pull", "-o", str(out), "--url", "http://127.0.0.1:1", "--token", "ck_p_x")
    ran = consent(*words)
    assert ran.code == 2 and "did not answer" in ran.err
    assert list(tmp_path.iterdir()) == []
    assert consent("snapshot", "pull", "-o", str(out)).code == 2  # nobody said where
    ran = consent(*words[:3], str(tmp_path / "no" / "such" / "folder.parquet"), *words[4:])
    assert ran.code == 2 and "cannot be written" in ran.err


def test_given_a_snapshot_then_check_and_filter_ask_it_and_no_ledger(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ledger.given(workspace("out"), opt_out(scope=scope("out")))
    path = str(snapshot_of(ledger, tmp_path))
    asked = ("--purpose", "train", "--offline", path, "--feed-key", KEY)
    ran = consent("check", "acme", *asked, "--max-age", "24h")
    assert ran.code == 0 and "offline, on snapshot" in ran.out
    told = consent("check", "out", *asked, "--max-age", "24h", "--json")
    assert told.code == 1 and told.told["offline"]["ageSeconds"] > 60
    assert consent("check", "acme", *asked, "--max-age", "1h").code == 2  # two hours old
    rows = tmp_path / "rows.csv"
    rows.write_text("w,x\nacme,1\nout,2\n")
    out = tmp_path / "kept.csv"
    ran = consent("filter", str(rows), str(out), "--column", "w", *asked, "--max-age", "1d")
    assert ran.code == 0 and "nothing later was known" in ran.out, ran
    assert out.read_text() == "w,x\nacme,1\n"
    none = tmp_path / "none.csv"
    refused = consent("filter", str(rows), str(none), "--column", "w", *asked, "--max-age", "1m")
    assert refused.code == 2 and not none.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--offline", "x"),
        ("--offline", "x", "--max-age", "for ever"),
        ("--max-age", "1h"),
        ("--offline", "x", "--max-age", "1h", "--at", "2024-01-01T00:00:00Z"),
        ("--offline", "x", "--max-age", "1h", "--explain"),
    ],
)
def test_given_arguments_that_do_not_go_together_then_2(words: tuple[str, ...]) -> None:
    ran = consent("check", "acme", "--purpose", "train", "--feed-key", KEY, *words, "--json")
    assert (ran.code, ran.told["code"]) == (2, "invalid_value")
    assert "--offline" in ran.told["detail"] or "--max-age is 'for ever'" in ran.told["detail"]
    lost = ("filter", "x.csv", "--column", "w", "--lost-since", "1", "--offline", "x", "--max-age", "1h")
    assert consent(*lost, "--purpose", "train", "--feed-key", KEY).code == 2
