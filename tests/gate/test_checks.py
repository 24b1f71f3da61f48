"""Never a wrong yes: what is old, incomplete, malformed or broken is answered, and never with permit."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from consent_domain.identifiers import is_id
from consent_domain.instants import moment_of
from consent_gate import answers, checks
from consent_gate.answers import Answer, wire_answer
from consent_gate.cells import change_key
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from consent_gate.watched import Withdrawal
from consent_ledger.floors import Floors
from gate_ledger import gate_of, mark, recorded, replica_of
from scenario import START, enrolled, opt_out, policy, workspace


def undecided(answer: Answer, code: str) -> None:
    assert (answer.decision, bool(answer), answer.permitted) == ("undecided", False, False)
    assert [reason.code for reason in answer.reasons] == [code]
    assert answer.windows == () and answer.standing == "unknown"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return gate_of(enrolled().given(workspace("w2"), workspace("out"), opt_out()), tmp_path, max_staleness=60)


def test_an_answer_is_true_if_and_only_if_it_permits(gate: Gate) -> None:
    assert gate.check("w2") and gate.check("w2").decision == "permit"
    assert not gate.check("acme") and gate.check("acme").decision == "deny"
    assert not gate.check("w2", max_staleness=0) and gate.check("w2", max_staleness=0).decision == "undecided"


def test_given_no_replica_then_undecided(tmp_path: Path) -> None:
    gate = Gate(Replica.open(tmp_path), purpose="train")
    undecided(gate.check("acme"), "catching_up")
    assert gate.check_many(["acme", "w2"]).permitted == [False, False]
    assert gate.status().state == "catching_up"
    assert gate.check("acme").token == "" and gate.check("acme").ledger_time is None


def test_given_no_watermark_yet_then_undecided(tmp_path: Path) -> None:
    ledger = enrolled()
    replica = Replica.open(tmp_path)
    replica.build("consent.test/ledger", 1).finish(0)
    replica.apply_events(recorded(ledger))
    undecided(Gate(replica, purpose="train").check("acme"), "catching_up")


def test_given_a_replica_older_than_the_gate_or_the_caller_allows_then_undecided(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = checks.boot_nanoseconds
    assert gate.check("w2")
    monkeypatch.setattr(checks, "boot_nanoseconds", lambda: clock() + 10_000_000_000)
    undecided(gate.check("w2", max_staleness=9), "stale")
    assert gate.check("w2", max_staleness=11)
    monkeypatch.setattr(checks, "boot_nanoseconds", lambda: clock() + 61_000_000_000)
    undecided(gate.check("w2"), "stale")
    undecided(gate.check("w2", max_staleness=1e6), "stale")  # a caller cannot ask for less than the gate does


def test_given_a_clock_that_is_before_the_watermark_then_undecided(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "boot_nanoseconds", lambda: 1)
    undecided(gate.check("w2"), "stale")


def test_given_a_position_that_the_replica_has_not_reached_then_undecided(gate: Gate) -> None:
    assert gate.check("w2", at_least=gate.replica.position)
    undecided(gate.check("w2", at_least=gate.replica.position + 1), "stale")
    assert gate.check_many(["w2"], at_least=gate.replica.position + 1).permitted == [False]


def test_given_a_halted_replica_then_undecided_until_it_goes_on(gate: Gate) -> None:
    gate.replica.halt("a fork")
    undecided(gate.check("w2"), "halted")
    assert (gate.status().state, gate.status().why) == ("halted", "a fork")
    gate.replica.halt("")
    assert gate.check("w2")


@pytest.mark.parametrize(
    "name",
    ["nobody", "", "no/id", "x" * 129, "x" * 600, "\x00meta", "\x00book", "\x01corp", "\ud800", "ä", " w2"],
)
def test_given_an_id_that_is_unknown_or_none_then_deny(gate: Gate, name: str) -> None:
    answer = gate.check(name)
    assert answer.decision == "deny" and not answer
    assert answer.reasons[0].code in ("unknown_workspace", "invalid_id")
    assert gate.check_many([name]).permitted == [False]
    assert (name in answer.sentence) == is_id(name) or name == "", "what is no id is not repeated"


def test_given_an_id_that_is_the_key_of_a_note_then_only_its_own_row_is_denied(
    tmp_path: Path,
) -> None:
    ledger = enrolled().given(workspace("w2"))
    replica = replica_of(ledger, tmp_path)
    applied = len(ledger.log)
    replica.apply_events(recorded(ledger.given(workspace("w3")), applied), mark(ledger))
    gate = Gate(replica, purpose="train", max_staleness=60)
    name = change_key(applied + 1, "workspace", "w3").decode()
    with replica.snapshot() as snapshot:
        assert ("workspace", "w3") in (snapshot.changes_after(applied) or ()), "or the note is another one"
    assert gate.check(name).decision == "deny"
    assert gate.check_many(["w2", name, "w3"]).permitted == [True, False, True]
    with gate.watch(["w2", name]) as watching:
        assert [one.workspace for one in watching.news() if isinstance(one, Withdrawal)] == [name]


@pytest.mark.parametrize("workspace_id", [None, 5, b"w2", object(), [None], ["w2", 5], {"w2": 1}.values, 1.5])
def test_given_a_workspace_of_a_wrong_type_then_undecided(gate: Gate, workspace_id: Any) -> None:
    answer = gate.check(workspace_id)
    assert not answer and answer.decision == "undecided"
    assert answer.sentence and repr(answer)
    assert gate.check_many(["w2", workspace_id, "w2"]).permitted == [True, False, True]


@pytest.mark.parametrize(
    "how",
    [
        {"purpose": 5},
        {"purpose": b"train"},
        {"purpose": ["train"]},
        {"purpose": "x" * 300},
        {"categories": "messages"},
        {"categories": 5},
        {"categories": (5,)},
        {"categories": ["c"] * 100},
        {"collected": datetime(2024, 1, 1)},
        {"collected": "2024-01-01"},
        {"collected": (datetime(2024, 1, 1, tzinfo=UTC),)},
        {"collected": (datetime(2024, 1, 1, tzinfo=UTC), None)},
        {"max_staleness": "5"},
        {"max_staleness": float("nan")},
        {"at_least": "5"},
    ],
)
def test_given_a_question_that_is_malformed_then_undecided(gate: Gate, how: Any) -> None:
    answer = gate.check("w2", **how)
    assert not answer and answer.decision == "undecided"
    assert gate.check_many(["w2"], **how).permitted == [False]


def test_given_no_purpose_at_all_then_undecided(tmp_path: Path) -> None:
    undecided(Gate(replica_of(enrolled(), tmp_path)).check("acme"), "malformed")


def test_given_nobody_then_deny(gate: Gate) -> None:
    assert gate.check([]).reasons[0].code == "no_workspace"
    assert gate.check_many([]).permitted == []


def test_given_several_workspaces_then_permit_only_if_all_permit(gate: Gate) -> None:
    assert gate.check(["w2", "out"])
    answer = gate.check(("w2", "acme"))
    assert not answer and answer.reasons[0].workspace == "acme"


def test_given_a_collection_time_then_it_counts(gate: Gate) -> None:
    now = gate.check("w2").ledger_time
    assert now is not None
    assert gate.check("w2", collected=now)
    assert gate.check("w2", collected=(now, now))
    assert gate.check("w2", collected=now - timedelta(days=1)).reasons[0].code == "before_enrolment"
    assert (
        gate.check("w2", collected=(now, now - timedelta(seconds=1))).reasons[0].code == "collected_backwards"
    )
    assert gate.check("w2", collected=now + timedelta(days=1)).reasons[0].code == "collected_in_future"


def test_given_something_that_breaks_inside_then_undecided(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(checks, "rule_case", broken)
    undecided(gate.check("acme"), "undecided")
    monkeypatch.setattr(gate._reader, "view", None)
    monkeypatch.setattr(gate._reader, "begin", broken)
    undecided(gate.check("w2"), "undecided")
    assert gate.check_many(["w2"]).reason_codes == ["undecided"]


def test_given_a_floor_ahead_of_the_replica_then_undecided_for_whoever_depends_on_it(tmp_path: Path) -> None:
    ledger = enrolled().given(workspace("w2", organisation="corp"), workspace("w3"))
    floors = Floors(lambda: 0)
    gate = Gate(replica_of(ledger, tmp_path), purpose="train", floors=floors, max_staleness=60)
    ahead = gate.replica.position + 1
    assert gate.check("w2") and gate.check("w3")
    floors.raise_floor("organisation/corp", ahead)
    undecided(gate.check("w2"), "stale")
    assert gate.check("w3")
    floors.raise_floor("purpose/train", ahead)
    undecided(gate.check("w3"), "stale")
    assert gate.check_many(["w3"]).permitted == [False]


def test_rows_of_a_batch_are_answered_as_each_alone(gate: Gate) -> None:
    names = ["w2", "acme", "nobody", "no/id", "out"] * 700
    batch = gate.check_many(names)
    alone = {name: gate.check(name) for name in set(names)}
    assert batch.permitted == [bool(alone[name]) for name in names]
    assert [batch.reason_codes[one] for one in batch.reasons] == [
        alone[name].reasons[0].code for name in names
    ]
    assert (batch.token, batch.policy_version) == (alone["w2"].token, alone["w2"].policy_version)
    assert asyncio.run(gate.check_many_async(names)).permitted == batch.permitted


def test_given_a_replica_that_ages_within_a_batch_then_later_slices_are_undecided(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = gate.batch()
    batch.take(["w2"] * 10)
    gate.replica.halt("a fork")
    batch.take(["w2"] * 10)
    assert batch.answers().permitted == [True] * 10 + [False] * 10


def test_threads_that_check_while_policies_change_see_one_state_each(tmp_path: Path) -> None:
    ledger = enrolled().given(workspace("w2"))
    replica = replica_of(ledger, tmp_path)
    gate = Gate(replica, purpose="train", max_staleness=60)
    position = len(ledger.log)
    ledger.given(opt_out(), policy("2", ledger.now + 10, direction="looser"))
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answer = gate.check("acme")
            if bool(answer) != (answer.position <= position):
                wrong.append(f"{answer} at {answer.position}")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for event in recorded(ledger, position):
        replica.apply_events([event], mark(ledger))
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_answer_travels_with_all_it_stands_on(gate: Gate) -> None:
    answer = gate.check("acme")
    wire = wire_answer(answer)
    assert (wire.decision, wire.standing) == ("deny", "opt_out_requested")
    assert wire.reasons[0].position == str(gate.replica.position)
    assert wire.token == f"consent.test/ledger/1/{gate.replica.position}" == answer.token
    assert wire.staleness_ms is not None and wire.staleness_ms >= 0
    assert wire.ledger_time > moment_of(START).isoformat()[:10]
    assert wire.decision_id != wire_answer(gate.check("acme")).decision_id
    encoded = answers.encode(wire_answer(gate.check("w2")))
    assert b'"permittedCollected":[{"from":"' in encoded and b'"decision":"permit"' in encoded
