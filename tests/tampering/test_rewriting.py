"""The whole ledger rewritten and signed again with its own key; and two that are shown to two.

The docstring of each test names a row of the table in docs/explanation/tampering.md.
"""

from __future__ import annotations

import json
from pathlib import Path

from attacked import Honest, Rewritten, kinds, remembered, until
from consent_command import consent
from consent_ledger.log.publisher import State


def test_given_a_rewritten_database_when_only_the_log_s_key_is_hers_then_the_signer_refuses(
    rewritten: Rewritten,
) -> None:
    """everything is rewritten, and the signer's memory is not hers"""
    assert rewritten.step.state is State.HALTED
    assert rewritten.halt is not None and rewritten.halt.reason == "forked"


def test_given_everything_rewritten_and_signed_when_a_witness_saw_the_old_tree_then_it_keeps_the_proof(
    honest: Honest, rewritten: Rewritten, tmp_path: Path
) -> None:
    """everything is rewritten and signed again, and a witness saw the old tree"""
    place = rewritten.place
    assert place.fsck().findings == [], "the ledger alone is of one piece"

    def refused() -> bool:
        status = place.host.log.status()
        return status is not None and [one.state for one in status.witnesses] == ["refusing"]

    until(refused, "the witness refuses, and the publisher says so")
    assert place.host.log.note(1, "checkpoint.witnessed") is None
    key = honest.place.folder.parent / "witness.key"
    evidence = consent("witness", "evidence", "--key-file", str(key), "--json")
    assert "fork" in evidence.out or "inconsistent" in evidence.out, evidence
    assert kinds(place.look(tmp_path / "new", sample="0")) & {"split_view", "behind_witness"}


def test_given_everything_rewritten_and_signed_when_a_monitor_saw_the_old_tree_then_it_has_both_signatures(
    honest: Honest, rewritten: Rewritten, tmp_path: Path
) -> None:
    """everything is rewritten and signed again, and a monitor saw the old tree"""
    ran = rewritten.place.look(remembered(honest, tmp_path), witnessed=False, sample="0")
    (found,) = ran.told["alarms"]
    assert found["kind"] in ("forked", "rewritten")
    assert found["before"] != found["now"], "two checkpoints, and one key signed both"


def test_given_everything_rewritten_and_signed_when_nobody_saw_the_old_tree_then_nothing_finds_it(
    rewritten: Rewritten, tmp_path: Path
) -> None:
    """everything is rewritten and signed again, and nobody saw the old tree"""
    place = rewritten.place
    assert place.fsck().findings == []
    assert kinds(place.look(tmp_path / "new", witnessed=False)) == set()
    assert place.check("acme")["decision"] == "permit", "this is what witnesses are for"


def test_given_two_ledgers_shown_to_two_when_they_compare_checkpoints_then_it_is_found_and_not_before(
    honest: Honest, rewritten: Rewritten, tmp_path: Path
) -> None:
    """two auditors are shown two logs"""
    assert kinds(honest.place.look(tmp_path / "one", witnessed=False, sample="0")) == set()
    assert kinds(rewritten.place.look(tmp_path / "other", witnessed=False, sample="0")) == set()
    (tmp_path / "checkpoint").write_bytes(honest.place.get("/log/checkpoint").content)
    words = ["verify", rewritten.place.url, "--since", str(tmp_path / "checkpoint"), "--json"]
    compared = consent(
        *words, "--key", honest.place.log_key, CONSENT_TOKEN=honest.place.keys["auditor"],
        CONSENT_URL=rewritten.place.url,
    )  # fmt: skip
    assert compared.code == 1, compared
    assert json.loads(compared.out)["result"] == "bad"
    assert kinds(rewritten.place.look(tmp_path / "third", sample="0")) & {"split_view", "behind_witness"}
