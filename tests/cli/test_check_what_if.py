"""`consent check --explain`, `--at` and `--with`: why, then, and what if; the ledger knows nothing of it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from consent_command import SERVE, TRAIN, Ran, Stack, consent

RECENT = "2024-06-01T00:00:00Z"
BEFORE = "2023-06-01T00:00:00Z"
OWNER = {"role": "owner", "authority": "verified"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica that lasts, as a user's does."""
    return tmp_path_factory.mktemp("replica") / "replica"


@pytest.fixture(autouse=True)
def replica(elsewhere: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command follows into the same one."""
    monkeypatch.setenv("CONSENT_REPLICA", str(folder))


def check(stack: Stack, workspace: str, *words: str) -> Ran:
    """With the keys that `consent-local` gives, as the settings file holds them."""
    return consent(
        "check", workspace, "--purpose", TRAIN, "--collected", RECENT, *words, "--config", stack.credentials
    )


def opt_out(workspace: str, **more: Any) -> dict[str, Any]:
    data = {"selector": {"class": {"processing": "train"}}, "requester": OWNER}
    return {"type": "opt-out-requested.v1", "subject": f"workspace/{workspace}", "data": data | more}


def written(folder: Path, *events: object, name: str = "events.json") -> str:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, events)))
    return str(path)


def events(stack: Stack) -> int:
    """How many the ledger has."""
    return int(httpx.get(f"{stack.url}/health/ready").json()["position"])


# -- explain -------------------------------------------------------------------------------------------------


def test_explain_tells_reason_event_and_what_would_make_it_a_permit(stack: Stack) -> None:
    ran = check(stack, stack.out[0], "--explain", "--json")
    assert ran.code == 1, ran.err
    (one,) = ran.told["explanation"]
    assert (one["code"], one["words"]) == ("opted_out", "it was opted out")
    assert one["event"]["type"] == "opt-out-processed.v1"
    assert int(one["event"]["sequence"]) == int(one["position"]) == int(ran.told["reasons"][0]["position"])
    assert "takes the opt-out back" in one["wouldPermit"]
    shown = check(stack, stack.out[0], "--explain")
    assert shown.code == 1
    assert "opt-out-processed" in shown.out and "what would make it a permit" in shown.out


def test_explain_of_a_permit_names_what_gives_it_and_nothing_to_mend(stack: Stack) -> None:
    ran = check(stack, stack.on[0], "--explain")
    assert ran.code == 0, ran.err
    assert "policy-published" in ran.out and "nobody was asked" in ran.out
    assert "what would make it a permit" not in ran.out


def test_explain_says_when_data_must_be_collected_for_a_permit(stack: Stack) -> None:
    ran = consent("check", stack.on[0], "--purpose", TRAIN, "--explain", "--config", stack.credentials)
    assert ran.code == 1
    assert "data collected from 2023-09-15T00:00:00Z until now" in ran.out
    assert "--collected" in ran.out and "it is one already for data collected" in ran.out


def test_explain_without_the_right_to_read_events_says_so_and_answers_all_the_same(stack: Stack) -> None:
    words = ["check", stack.out[0], "--purpose", TRAIN, "--collected", RECENT, "--explain"]
    ran = consent(*words, **stack.settings("pipeline"))
    assert ran.code == 1, ran.err
    assert "this key may not read it" in ran.out
    assert consent(*words, "--json", **stack.settings("pipeline")).told["explanation"][0]["event"] is None


# -- at ------------------------------------------------------------------------------------------------------


def test_at_a_time_is_what_was_known_and_in_effect_then(stack: Stack) -> None:
    ran = check(stack, stack.on[0], "--at", BEFORE, "--json")
    assert (ran.code, ran.told["ledgerTime"][:10]) == (1, BEFORE[:10])
    assert ran.told["reasons"][0]["code"] == "unknown_workspace", "the import came years later"


def test_at_a_token_is_the_answer_right_after_that_event(stack: Stack) -> None:
    workspace = stack.on[7]
    asked = stack.post(
        f"/v1/workspaces/{workspace}/opt-outs", {"selector": {"all": True}, "applicant": OWNER}
    )
    origin = asked["token"].rpartition("/")[0]
    before = f"{origin}/{int(asked['position']) - 1}"
    assert check(stack, workspace, "--at", asked["token"]).code == 1
    assert check(stack, workspace, "--at", before).code == 0
    assert check(stack, workspace).code == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--at", "yesterday"],
        ["--at", "15123"],
        ["--at", "2999-01-01T00:00:00Z"],
        ["--at", "consent.local/ledger/1/0"],
        ["--at", "consent.local/ledger/1/999999999"],
        ["--at", RECENT, "--as-of", RECENT],
        ["--at", RECENT, "--known-at", RECENT],
    ],
)
def test_at_no_moment_that_was_is_2(stack: Stack, words: list[str]) -> None:
    ran = check(stack, stack.on[0], *words)
    assert (ran.code, ran.out) == (2, ""), ran.out


def test_at_a_token_without_the_right_to_read_events_says_what_to_say_instead(stack: Stack) -> None:
    token = check(stack, stack.on[0], "--json").told["token"]
    words = ["check", stack.on[0], "--purpose", TRAIN, "--at", token]
    ran = consent(*words, **stack.settings("pipeline"))
    assert (ran.code, ran.out) == (2, "")
    assert "--known-at" in ran.err and "--as-of" in ran.err


# -- with ----------------------------------------------------------------------------------------------------


def test_given_a_permit_when_an_opt_out_is_imagined_then_it_is_1_and_the_ledger_knows_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    before = events(stack)
    ran = check(stack, stack.on[0], "--with", written(tmp_path, opt_out(stack.on[0])), "--json")
    assert ran.code == 1, ran.err
    assert "decision" not in ran.told, "nobody takes it for an answer"
    assert ran.told["hypothetical"]["reasons"][0]["code"] == "opt_out_requested"
    assert (ran.told["actual"]["decision"], ran.told["hypothetical"]["decision"]) == ("permit", "deny")
    assert int(ran.told["with"][0]["sequence"]) > before
    assert events(stack) == before
    assert check(stack, stack.on[0]).code == 0
    shown = check(stack, stack.on[0], "--with", written(tmp_path, opt_out(stack.on[0])), "--explain")
    assert shown.code == 1
    assert "nothing was sent to the ledger" in shown.out and "HYPOTHETICAL DENY" in shown.out
    assert "As it is: PERMIT" in shown.out
    assert "opt-out-requested" in shown.out.partition("why")[2], "the imagined event explains it"
    assert not any(line.startswith("PERMIT") for line in shown.out.splitlines())


def test_given_a_denial_when_its_end_is_imagined_then_it_is_0_and_the_ledger_still_denies(
    stack: Stack, tmp_path: Path
) -> None:
    workspace = stack.on[8]
    asked = stack.post(
        f"/v1/workspaces/{workspace}/opt-outs", {"selector": {"all": True}, "applicant": OWNER}
    )
    taken_back = {
        "type": "opt-out-withdrawn.v1",
        "subject": f"workspace/{workspace}",
        "data": {"request": asked["request"], "requester": OWNER},
    }
    before = events(stack)
    ran = check(stack, workspace, "--with", written(tmp_path, taken_back))
    assert ran.code == 0, ran.err + ran.out
    assert "HYPOTHETICAL PERMIT" in ran.out and "As it is: DENY" in ran.out
    assert check(stack, workspace).code == 1
    assert events(stack) == before


def test_given_several_events_when_imagined_then_they_count_in_order(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = "01890a5d-ac96-774b-bcce-b302099a8057"
    first = opt_out(stack.on[0], request=request)
    then = {
        "type": "opt-out-withdrawn.v1",
        "subject": f"workspace/{stack.on[0]}",
        "data": {"request": request, "requester": OWNER},
    }
    one, two = written(tmp_path, first, name="1.json"), written(tmp_path, then, name="2.json")
    assert check(stack, stack.on[0], "--with", one, "--with", two).code == 0
    assert check(stack, stack.on[0], "--with", two, "--with", one).code == 2
    for content in ([first, then], None):
        lines = json.dumps(content) if content else f"{json.dumps(first)}\n{json.dumps(then)}\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        ran = check(stack, stack.on[0], "--with", "-", "--json")
        assert (ran.code, len(ran.told["with"])) == (0, 2), ran.err


def test_given_a_recorded_event_when_imagined_again_then_its_envelope_counts_for_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    stored = consent("history", stack.out[0], "--json", **stack.settings("auditor")).out.splitlines()
    asked = next(json.loads(line) for line in stored if '"opt-out-requested.v1"' in line)
    asked["subject"] = f"workspace/{stack.on[0]}"
    del asked["data"]["scope"]
    assert check(stack, stack.on[0], "--with", written(tmp_path, asked)).code == 1


def test_given_a_policy_when_imagined_then_it_is_judged_as_of_its_effect(
    stack: Stack, tmp_path: Path
) -> None:
    policy = json.loads(
        (Path(__file__).parents[2] / "examples/policies/4-generative-opt-in/publish.json").read_text()
    )
    del policy["command"]
    event = {"type": "policy-published.v1", "subject": "policy/principles", "data": policy}
    words = ["check", stack.on[0], "--purpose", "train.generative", "--collected", RECENT, "--json"]
    words += ["--with", written(tmp_path, event), "--config", stack.credentials]
    now = consent(*words)
    assert (now.code, now.told["hypothetical"]["policyVersion"]) == (0, "2023-09")
    then = consent(*words, "--as-of", "2099-06-01T00:00:00Z")
    assert (then.code, then.told["hypothetical"]["reasons"][0]["code"]) == (1, "opt_in_missing")
    assert then.told["actual"]["decision"] == "permit"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "malformed"),
        ("opt out, please", "malformed"),
        ("[", "malformed"),
        ('{"type": "opt-out-requested.v1"}', "invalid_value"),
        (json.dumps(opt_out("nobody-knows-it")), "unknown_workspace"),
        (json.dumps(opt_out("W1", receivedAt="2999-01-01T00:00:00Z")), "unknown_workspace"),
        (json.dumps(opt_out("W1") | {"type": "opt-out-requested.v9"}), "invalid_value"),
    ],
)
def test_given_what_is_no_event_when_imagined_then_it_is_2_and_says_which(
    stack: Stack, tmp_path: Path, content: str, code: str
) -> None:
    (tmp_path / "events.json").write_text(content)
    ran = check(stack, stack.on[0], "--with", str(tmp_path / "events.json"), "--json")
    assert (ran.code, ran.told["decision"], ran.told["code"]) == (2, "undecided", code)
    assert "events.json" in ran.told["detail"]


def test_given_no_file_or_another_moment_when_imagined_then_it_is_2(stack: Stack, tmp_path: Path) -> None:
    file = written(tmp_path, opt_out(stack.on[0]))
    assert check(stack, stack.on[0], "--with", str(tmp_path / "none.json")).code == 2
    assert check(stack, stack.on[0], "--with", str(tmp_path)).code == 2
    assert check(stack, stack.on[0], "--with", file, "--at", RECENT).code == 2
    assert check(stack, stack.on[0], "--with", file, "--known-at", RECENT).code == 2


def test_given_no_right_to_the_feed_or_no_ledger_when_imagined_then_it_is_2(
    stack: Stack, tmp_path: Path
) -> None:
    words = ["check", stack.on[0], "--purpose", TRAIN, "--with", written(tmp_path, opt_out(stack.on[0]))]
    assert consent(*words, **stack.settings("auditor")).code == 2
    assert consent(*words, **stack.settings(CONSENT_URL="http://127.0.0.1:1")).code == 2


def test_given_several_owners_when_one_opts_out_in_imagination_then_all_are_denied(
    stack: Stack, tmp_path: Path
) -> None:
    one, other = stack.on[0], stack.on[1]
    words = ["check", one, other, "--purpose", TRAIN, "--collected", RECENT, "--config", stack.credentials]
    ran = consent(*words, "--with", written(tmp_path, opt_out(other)), "--json")
    assert (ran.code, ran.told["actual"]["decision"]) == (1, "permit")
    assert ran.told["hypothetical"]["reasons"][0]["workspace"] == other
    words = ["check", other, "--purpose", SERVE, "--collected", RECENT, "--config", stack.credentials]
    served = consent(*words, "--with", written(tmp_path, opt_out(other)))
    assert served.code == 0, "who opts out of training is still served"
