"""Questions that nobody should ask: ids that LMDB cannot hold, purposes nobody knows, nobody, and many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from consent_gate.gate import Gate
from faulty import halves
from gate_ledger import gate_of


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gate, list[str], list[str]]]:
    ledger, permits, denials = halves()
    yield gate_of(ledger, tmp_path_factory.mktemp("replica"), max_staleness=3600), permits, denials


IDS: list[Any] = [
    "",
    "\x00",
    "\x00meta",
    "\x00book",
    "\x01corp",
    "\x02\x00\x00",
    "w000\x00",
    "w000 ",
    " w000",
    "W000",
    "w000\n",
    "\ud800",
    "w000\udfff",
    "ｗ000",
    "w" * 128,
    "w" * 129,
    "w" * 511,
    "w" * 512,
    "w" * 1_000_000,
    "é" * 300,
    b"w000",
    bytearray(b"w000"),
    0,
    -1,
    1.5,
    None,
    True,
    object(),
    ["w000", "\x00meta"],
    ["w000", ""],
    ["w000", None],
    ["w000", ["w002"]],
    ("w000", "w001"),
    [],
    (),
    {},
    {"w000": 1, "\ud800": 2},
    iter(["w001"]),
]


@pytest.mark.parametrize("name", IDS, ids=lambda name: repr(name)[:20])
def test_given_what_is_no_workspaces_id_then_it_is_not_permitted_and_nothing_is_raised(
    world: tuple[Gate, list[str], list[str]], name: Any
) -> None:
    gate, permits, _ = world
    answer = gate.check(name)
    assert not answer
    assert answer.decision in ("deny", "undecided")
    assert answer.reasons[0].code and answer.sentence
    assert gate.check_many([permits[0], name, permits[1]]).permitted == [True, False, True]
    assert gate.check(permits[0])


@pytest.mark.parametrize(
    "purpose",
    ["", "no.such", "\x00", "\ud800", "t" * 256, "t" * 257, "TRAIN", "train ", 7, b"train", ["train"]],
)
def test_given_a_purpose_that_does_not_exist_then_nobody_is_permitted(
    world: tuple[Gate, list[str], list[str]], purpose: Any
) -> None:
    gate, permits, _ = world
    assert not gate.check(permits[0], purpose)
    assert gate.check_many(permits, purpose).permitted == [False] * len(permits)
    assert gate.check(permits[0], "train")


def test_given_questions_without_end_about_purposes_then_their_answers_are_not_kept_for_ever(
    world: tuple[Gate, list[str], list[str]],
) -> None:
    gate, permits, _ = world
    for number in range(3_000):
        assert not gate.check(permits[0], f"purpose.{number}")
    assert gate.check(permits[0])


def test_given_an_empty_batch_then_no_row_and_a_position(world: tuple[Gate, list[str], list[str]]) -> None:
    gate, permits, _ = world
    for nobody in ([], ()):
        answers = gate.check_many(nobody)
        assert (answers.permitted, answers.reasons, answers.reason_codes) == ([], [], [])
    assert gate.check(permits[0])


def test_given_hundreds_of_thousands_of_rows_then_each_is_answered_as_one_is(
    world: tuple[Gate, list[str], list[str]],
) -> None:
    gate, permits, denials = world
    asked = [permits[0], denials[0], "stranger", "\ud800"] * 100_000
    answers = gate.check_many(asked)
    assert answers.permitted == [True, False, False, False] * 100_000
    assert len(answers.reasons) == len(asked)
    assert len(answers.reason_codes) <= 4


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 0, "5", None, 1 << 80])
def test_given_an_odd_staleness_then_it_allows_no_more_than_the_gate_does(
    world: tuple[Gate, list[str], list[str]], seconds: Any
) -> None:
    gate, permits, denials = world
    assert not gate.check(denials[0], max_staleness=seconds)
    answer = gate.check(permits[0], max_staleness=seconds)
    assert bool(answer) == (seconds is None or seconds == 1 << 80)
