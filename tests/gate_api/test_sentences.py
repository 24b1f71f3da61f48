"""What a gate says by itself says what to do; and what was not said about the data is asked for exactly."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from consent_domain.commands import WithdrawOptOut
from consent_domain.instants import DAY
from consent_domain.reasons import WINDOWS_SAID_MAX, windows_in_words
from consent_domain.ruling import Window
from consent_gate import pin
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from gate_ledger import gate_of
from scenario import OWNER, START, enrolled, opt_out


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return gate_of(enrolled(), tmp_path, max_staleness=60)


def test_given_data_of_a_time_that_nobody_stated_then_the_sentence_says_what_to_pass(tmp_path: Path) -> None:
    ledger = enrolled().given(opt_out())
    request = ledger.request()
    ledger.wait(DAY)
    ledger.given(WithdrawOptOut(request=request, applicant=OWNER))
    gate = gate_of(ledger, tmp_path, max_staleness=60)
    answer = gate.check("acme")
    assert answer.reasons[0].code == "collected_unstated" and len(answer.windows) == 2
    assert "say when the data was collected (`collected`)" in answer.sentence
    assert f"permitted is what was collected {windows_in_words(answer.windows)}" in answer.sentence
    stated = answer.ledger_time
    assert stated is not None and gate.check("acme", collected=stated), "what it says to pass is permitted"


def test_given_many_windows_then_the_latest_are_said() -> None:
    windows = [Window(START + n * DAY, START + n * DAY + 1) for n in range(WINDOWS_SAID_MAX + 2)]
    said = windows_in_words([*windows, Window(START + 100 * DAY, None)])
    assert said.startswith("earlier, or from ") and said.count("from") == WINDOWS_SAID_MAX
    assert said.endswith(" on") and windows_in_words([]) == "at no time"


@pytest.mark.parametrize(
    ("how", "what_to_do"),
    [
        ({"collected": datetime(2024, 1, 1)}, "datetimes with a zone"),
        ({"collected": "2024-01-01"}, "a datetime with a zone, or the first and the last one"),
        ({"categories": "messages"}, "categories come as a list"),
        ({"workspace": None}, "named by its id"),
        ({"workspace": ["acme", 5]}, "several owners by a list"),
        ({"workspace": "no/id"}, "send it as the ledger knows it"),
        ({"workspace": []}, "name whose data it is"),
        ({"purpose": "trian"}, "GET /v1/purposes"),
        ({"max_staleness": 0}, "ask again when the ledger can be reached"),
        ({"at_least": 10**9}, "ask again when the ledger can be reached"),
    ],
)
def test_given_a_question_that_gets_no_yes_then_the_sentence_says_what_to_do(
    gate: Gate, how: dict[str, Any], what_to_do: str
) -> None:
    answer = gate.check(**({"workspace": "acme"} | how))
    assert not answer and what_to_do in answer.sentence, answer.sentence


def test_given_no_purpose_then_the_sentence_says_where_to_name_it(gate: Gate) -> None:
    answer = Gate(gate.replica).check("acme")
    assert "name the purpose: in the question, or once for all" in answer.sentence


def test_given_no_replica_then_the_sentence_says_to_wait(tmp_path: Path) -> None:
    answer = Gate(Replica.open(tmp_path), purpose="train").check("acme")
    assert "wait until the gate is live" in answer.sentence


def test_given_a_halted_gate_then_the_sentence_says_until_when(gate: Gate) -> None:
    gate.replica.halt("a fork")
    assert "until that is mended" in gate.check("acme").sentence


def test_given_rows_of_a_time_that_nobody_stated_then_the_report_says_which_column_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pin, "boot_nanoseconds", lambda: 0)  # what the replica holds is all there is
    ledger = enrolled().given(opt_out())
    request = ledger.request()
    ledger.wait(DAY)
    ledger.given(WithdrawOptOut(request=request, applicant=OWNER))
    gate = gate_of(ledger, tmp_path, max_staleness=60)
    rows = [{"w": "acme", "t": gate.check("acme").ledger_time}]
    without, stated = gate.filter(rows, "w"), gate.filter(rows, "w", "t")
    assert list(without.data) == [] and "1 rows were dropped" in without.report().advice
    assert "collected='…'" in without.report().advice
    assert list(stated.data) == rows and stated.report().advice == ""
