"""Several gates on one folder: with other purposes, keys and addresses, and a folder of another ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from consent_gate.gate import Gate
from consent_gate.signatures import Signer
from faulty import KEY, Feed, connect, halves, permitted, serving, until
from gate_ledger import replica_of
from scenario import enrolled, opt_out, purpose, rules, scope, workspace

FORGED = Signer("consent.test/feed", b"\x07" * 32)


def settled(gate: Gate) -> bool:
    """Whether the gate refuses what lies in its folder, and says so."""
    status = gate.status()
    return status.state == "halted" and "give it a folder of its own" in status.why


def test_given_two_gates_with_other_purposes_on_one_replica_then_each_is_answered_for_its_own(
    tmp_path: Path,
) -> None:
    ledger, permits, _ = halves(rules=rules(purposes=(purpose(), purpose("serve", processing="serve"))))
    with serving(ledger) as feed:
        with (
            connect(feed, tmp_path) as trains,
            connect(feed, tmp_path, purpose="serve") as serves,
            connect(feed, tmp_path, purpose="no.such.purpose") as unknown,
        ):
            assert trains.wait_until_live(20) and serves.wait_until_live(20)
            position = feed.given(opt_out("train", scope=scope(permits[0])))
            until(lambda: min(gate.position() for gate in (trains, serves)) >= position)
            assert not trains.check(permits[0]) and serves.check(permits[0])
            assert trains.check(permits[0], "serve") and not serves.check(permits[0], "train")
            assert trains.check(permits[1])
            answer = unknown.check(permits[1])
            assert (answer.decision, answer.reasons[0].code) == ("deny", "unknown_purpose")
            assert unknown.check_many(permits).permitted == [False] * len(permits)
            assert feed.asked < 200


def test_given_a_gate_without_a_key_that_leads_then_one_that_pins_a_key_reads_nothing_of_it(
    tmp_path: Path,
) -> None:
    ledger, permits, _ = halves()
    with serving(ledger) as feed:
        feed.signer = FORGED  # nobody vouches for what it sends
        with connect(feed, tmp_path, verifier_key=None) as trusting:
            assert trusting.wait_until_live(20) and trusting.check(permits[0])
            with connect(feed, tmp_path) as pinned:
                until(lambda: settled(pinned))
                answer = pinned.check(permits[0])
                assert (answer.decision, answer.reasons[0].code) == ("undecided", "halted")
                assert permitted(pinned, permits) == []
                assert pinned.check_many(permits).permitted == [False] * len(permits)
                trusting.close()
                # It follows itself now, and what was there is not what its key vouches for.
                until(lambda: "signed" in pinned.status().why or "pinned" in pinned.status().why)
                assert permitted(pinned, permits) == []
                feed.signer = Feed(ledger).signer
                until(lambda: pinned.check(permits[0]))


def test_given_a_gate_that_pins_a_key_when_one_without_a_key_takes_over_then_nothing_unvouched_is_read_by_it(
    tmp_path: Path,
) -> None:
    ledger, permits, _ = halves()
    with serving(ledger) as feed, connect(feed, tmp_path, max_staleness=60.0) as pinned:
        assert pinned.wait_until_live(20) and pinned.check(permits[0])
        with connect(feed, tmp_path, verifier_key=None) as trusting:
            until(lambda: settled(trusting))
            pinned._following.stop()  # type: ignore[union-attr]
            feed.signer = FORGED
            until(lambda: trusting.check(permits[0]))
            until(lambda: not pinned.check(permits[0]))
            assert settled(pinned) and permitted(pinned, permits) == []


@pytest.mark.parametrize("pins", [True, False])
def test_given_a_folder_of_another_ledger_then_its_facts_are_nobodys_answer(
    tmp_path: Path, pins: bool
) -> None:
    ledger, _, _ = halves()
    strict = enrolled().given(workspace("w000"), opt_out(scope=scope("w000")))
    key: dict[str, Any] = {} if pins else {"verifier_key": None}
    with serving(ledger) as one, serving(strict) as other:
        if pins:
            other.signer = Signer("other.test/feed", bytes(range(1, 33)))
            key = {"verifier_key": str(other.signer.verifier)}
        with connect(one, tmp_path, **({} if pins else key)) as first:
            assert first.wait_until_live(20) and first.check("w000")
            with connect(other, tmp_path, **key) as second:
                until(lambda: settled(second))
                assert not second.check("w000") and not second.check("w002")
                first.close()
                if pins:  # the pages are of one origin here, and its key is another's
                    until(lambda: second.status().why)
                    assert not second.check("w000") and not second.check("w002")
                else:
                    until(lambda: second.status().state == "live")
                    assert second.check("w000").reasons[0].code == "opt_out_requested"
                    assert second.check("w002").reasons[0].code == "unknown_workspace"


def test_given_the_ledgers_own_replica_then_a_gate_on_the_feed_reads_nothing_of_it(tmp_path: Path) -> None:
    ledger, permits, _ = halves()
    assert replica_of(ledger, tmp_path).position > 0  # folded from events, by whoever: it does not say
    with serving(ledger) as feed, connect(feed, tmp_path) as gate:
        until(lambda: gate.check(permits[0]))
        assert feed.asked > 0 and gate.replica.meta is not None
        assert gate.replica.meta.source == f"key {KEY}"
