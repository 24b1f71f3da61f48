"""A host's replica as a witness of what its ledger lost: it names whose opt-outs those were."""

from __future__ import annotations

from pathlib import Path

from consent_ledger.recovery.host_replica import HostReplica, Remembered
from gate_ledger import replica_of
from scenario import ORIGIN, Ledger, enrolled, opt_out, scope, workspace


def told() -> tuple[Ledger, int]:
    """A ledger, and how much of it was left: opt-outs of one workspace before, of another and of an
    organisation after it."""
    ledger = enrolled().given(workspace("before"), workspace("after"), workspace("plain"))
    ledger.given(opt_out(scope=scope("before")))
    size = len(ledger.log)
    ledger.given(opt_out(scope=scope("after")), opt_out(scope=scope("corp", "organisation")))
    return ledger, size


def test_given_opt_outs_above_what_is_left_then_they_are_named_and_no_others(tmp_path: Path) -> None:
    ledger, size = told()
    replica_of(ledger, tmp_path)
    seen = HostReplica(str(tmp_path), ORIGIN)
    assert seen.remembered == Remembered(1, len(ledger.log))
    assert seen.narrowed_after(size) == ["organisation/corp", "workspace/after"]
    assert seen.narrowed_after(len(ledger.log)) == []


def test_given_no_replica_or_another_ledgers_then_nothing_is_said(tmp_path: Path) -> None:
    ledger, _ = told()
    replica_of(ledger, tmp_path / "replica")
    assert HostReplica(str(tmp_path / "replica"), "other.test/ledger").remembered == Remembered(0, 0)
    assert HostReplica("", ORIGIN).remembered == Remembered(0, 0)
    nowhere = HostReplica(str(tmp_path / "nowhere"), ORIGIN)
    assert (nowhere.remembered, nowhere.narrowed_after(0)) == (Remembered(0, 0), [])
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    empty = HostReplica(str(tmp_path / "empty"), ORIGIN)
    assert (empty.remembered, empty.narrowed_after(0)) == (Remembered(0, 0), [])
