"""Rows lost since a moment are exactly those that a filter kept then and drops now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from consent_command import TRAIN, Ran, Stack, consent

RECENT = "2024-06-01T00:00:00Z"
QUESTION = ["--column", "w", "--column", "guests", "--collected-column", "t", "--purpose", TRAIN]
APPLICANT = {"role": "owner", "authority": "verified"}


def lost(stack: Stack, since: str, *words: str) -> Ran:
    return consent("filter", "in.jsonl", *words, *QUESTION, "--lost-since", since, **stack.settings())


def kept(stack: Stack, target: str, *words: str) -> tuple[set[int], Any]:
    ran = consent("filter", "in.jsonl", target, *QUESTION, "--json", *words, **stack.settings())
    assert ran.code == 0, ran.out
    return {json.loads(line)["n"] for line in Path(target).read_text().splitlines()}, ran.told


@pytest.fixture
def rows(stack: Stack, tmp_path: Path) -> int:
    """Rows of everybody, alone and with a guest, collected at several times, some at none."""
    owners = [*stack.on[60:66], stack.out[0], stack.sandbox, "nobody", "no id", None]
    times = [RECENT, "2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z", None]
    lines = [
        {"w": owner, "guests": guests, "t": time}
        for owner in owners
        for guests in (stack.on[60], [stack.on[61], stack.on[62]], [stack.on[63], stack.out[0]])
        for time in times
    ]
    text = "".join(json.dumps({**line, "n": number}) + "\n" for number, line in enumerate(lines))
    (tmp_path / "in.jsonl").write_text(text)
    return len(lines)


def test_given_withdrawals_when_compared_then_lost_are_those_kept_then_and_dropped_now(
    stack: Stack, rows: int, tmp_path: Path
) -> None:
    before, told = kept(stack, "before.jsonl")
    assert before
    nothing = lost(stack, told["token"], "--json")
    assert (nothing.code, nothing.told["lost"]) == (0, 0), nothing.out
    gone = {stack.on[60], stack.on[64]}
    for name in gone:
        stack.post(f"/v1/workspaces/{name}/opt-outs", {"selector": {"all": True}, "applicant": APPLICANT})
    after, _ = kept(stack, "after.jsonl")
    expected = before - after
    assert expected and not after - before
    position = told["token"].rpartition("/")[2]
    for since in (told["token"], position, told["ledgerTime"]):
        ran = lost(stack, since, "--json", "--report", "report.json", "--overwrite")
        assert ran.code == 1, ran.out
        assert (ran.told["lost"], ran.told["rows"], ran.told["kept"]) == (len(expected), rows, len(after))
        [reason] = ran.told["reasons"]
        assert reason["code"] == "opted_out" or reason["code"] == "opt_out_requested"
        assert {one["workspace"] for one in reason["workspaces"]["first"]} == gone
        assert json.loads((tmp_path / "report.json").read_text()) == ran.told
    said = lost(stack, told["token"])
    assert said.code == 1
    assert f"{len(expected)} of {rows} rows were permitted" in said.out
    assert all(name in said.out for name in gone)
    files = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert files == {"in.jsonl", "before.jsonl", "after.jsonl", "report.json"}, "it only reads"


@pytest.mark.parametrize(
    ("since", "words", "why"),
    [
        ("0", [], "positions begin with 1"),
        ("999999999", [], "lies after the last event"),
        ("another.log/1/5", [], "another log"),
        ("yesterday", [], "no RFC 3339 time"),
        ("2999-01-01T00:00:00Z", [], "future"),
        ("5", ["out.jsonl"], "writes no rows"),
        ("5", ["-"], "writes no rows"),
        ("5", ["--manifest", "m.json"], "writes no rows"),
    ],
)
def test_given_a_moment_that_cannot_be_when_compared_then_it_is_no_answer(
    stack: Stack, rows: int, tmp_path: Path, since: str, words: list[str], why: str
) -> None:
    ran = lost(stack, since, *words)
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.jsonl"]


def test_given_a_position_from_before_anything_was_permitted_when_compared_then_nothing_is_lost(
    stack: Stack, rows: int
) -> None:
    ran = lost(stack, "1", "--json")
    assert (ran.code, ran.told["lost"]) == (0, 0)


def test_given_a_misspelt_purpose_when_compared_then_nothing_lost_is_not_the_answer(
    stack: Stack, rows: int
) -> None:
    asked = [*QUESTION[:-1], "trian"]
    ran = consent("filter", "in.jsonl", *asked, "--lost-since", "5", **stack.settings())
    assert (ran.code, ran.out) == (2, "")
    assert "no policy knows the purpose 'trian'" in ran.err
