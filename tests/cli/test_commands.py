"""`consent` on a real ledger: what it says, and the exit code that a pipeline acts on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consent_command import SERVE, TRAIN, Stack, consent, consent_process

RECENT = "2024-06-01T00:00:00Z"
BEFORE = "2023-06-01T00:00:00Z"


def at(*texts: str | None) -> pa.Array:
    return pa.array(list(texts)).cast(pa.timestamp("us", "UTC"))


# -- check ---------------------------------------------------------------------------------------------------


def test_check_permits_with_0_and_says_why(stack: Stack) -> None:
    ran = consent("check", stack.on[0], "--purpose", TRAIN, "--collected", RECENT, **stack.settings())
    assert ran.code == 0, ran.err
    assert ran.out.startswith("PERMIT  Data of ")
    assert "nobody was asked" in ran.out
    assert "\x1b" not in ran.out, "no colours where there is no terminal"


def test_check_denies_with_1(stack: Stack) -> None:
    for workspace in (stack.out[0], stack.sandbox, "nobody-knows-it", "no id at all"):
        ran = consent("check", workspace, "--purpose", TRAIN, "--collected", RECENT, **stack.settings())
        assert (ran.code, ran.out[:4]) == (1, "DENY"), ran.err
    assert consent("check", stack.on[0], "--purpose", "no.such.purpose", **stack.settings()).code == 1


def test_check_without_a_collection_time_denies_and_says_what_to_say(stack: Stack) -> None:
    ran = consent("check", stack.on[0], "--purpose", TRAIN, **stack.settings())
    assert ran.code == 1
    assert "say when the data was collected" in ran.out
    assert "data collected from 2023-09-15T00:00:00Z until now" in ran.out


def test_check_of_data_that_several_own_permits_only_if_all_do(stack: Stack) -> None:
    words = ["--purpose", TRAIN, "--collected", RECENT]
    assert consent("check", *stack.on[:2], *words, **stack.settings()).code == 0
    ran = consent("check", stack.on[0], stack.out[0], *words, **stack.settings())
    assert ran.code == 1
    assert stack.out[0] in ran.out


def test_check_of_a_range_needs_all_of_it(stack: Stack) -> None:
    def code(start: str, end: str) -> int:
        words = ["--collected-from", start, "--collected-to", end]
        return consent("check", stack.on[0], "--purpose", TRAIN, *words, **stack.settings()).code

    assert [code(RECENT, RECENT), code(BEFORE, RECENT), code(RECENT, BEFORE)] == [0, 1, 1]


def test_check_of_categories_needs_all_of_them(stack: Stack) -> None:
    words = ["check", stack.on[0], "--purpose", TRAIN, "--collected", RECENT, "--category", "messages"]
    assert consent(*words, **stack.settings()).code == 0
    assert consent(*words, "--category", "payments", **stack.settings()).code == 1


def test_check_answers_for_the_past(stack: Stack) -> None:
    words = ["check", stack.on[0], "--purpose", TRAIN, "--collected", RECENT, "--json"]
    now = consent(*words, **stack.settings())
    assert consent(*words, "--known-at", now.told["token"], **stack.settings()).code == 0
    before = consent(*words, "--as-of", BEFORE, **stack.settings())
    assert (before.code, before.told["policyVersion"]) == (1, "2022-03")
    nothing_known = consent(*words, "--known-at", "2020-01-01T00:00:00Z", **stack.settings())
    assert (nothing_known.code, nothing_known.told["reasons"][0]["code"]) == (1, "unknown_workspace")


def test_credentials_of_consent_local_will_do(stack: Stack) -> None:
    ran = consent(
        "check", stack.on[0], "--purpose", TRAIN, "--collected", RECENT, "--config", stack.credentials
    )
    assert ran.code == 0, ran.err


# -- history, why, status ------------------------------------------------------------------------------------


def test_history_shows_every_event_as_it_is_stored(stack: Stack) -> None:
    shown = consent("history", stack.out[0], **stack.settings("auditor"))
    assert shown.code == 0
    assert ["workspace-enrolled", "opt-out-requested", "opt-out-processed"] == [
        line.split()[2] for line in shown.out.splitlines()[1:] if "default-on" not in line
    ]
    stored = consent("history", stack.out[0], "--json", **stack.settings("auditor"))
    events = [json.loads(line) for line in stored.out.splitlines()]
    assert {event["subject"] for event in events} == {f"workspace/{stack.out[0]}"}


def test_why_tells_what_each_event_did_and_ends_as_the_check_does(stack: Stack) -> None:
    workspace = stack.on[5]
    applicant = {"role": "owner", "authority": "verified"}
    body = {"selector": {"class": {"processing": "train"}}, "applicant": applicant}
    asked = stack.post(f"/v1/workspaces/{workspace}/opt-outs", body)
    stack.post(f"/v1/requests/{asked['request']}/acknowledge", {})
    ran = consent("why", workspace, TRAIN, "--json", **stack.settings("auditor"))
    steps = [
        (step["event"]["type"].removesuffix(".v1"), step["answer"]["decision"])
        for step in ran.told["steps"]
        if step["changed"]
    ]
    assert ran.code == 1, ran.err
    assert steps[-2:] == [("workspace-enrolled", "permit"), ("opt-out-requested", "deny")]
    assert ran.told["answer"]["reasons"][0]["position"] == asked["position"]
    shown = consent("why", workspace, TRAIN, **stack.settings("auditor"))
    assert shown.code == 1
    assert "→ deny: opt_out_requested" in shown.out
    assert "opt-out-acknowledged" in shown.out and "changes nothing here" in shown.out
    assert shown.out.index("policy-published") < shown.out.index("workspace-enrolled")
    still_served = consent("why", workspace, SERVE, **stack.settings("auditor"))
    assert still_served.code == 0


def test_why_names_the_choice_of_an_organisation(stack: Stack) -> None:
    stack.post("/v1/organisations", {"organisation": "group"})
    enrolment = {"workspace": "of-group", "plan": "pro", "region": "eu", "organisation": "group"}
    stack.post("/v1/workspaces", enrolment)
    body = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}
    asked = stack.post("/v1/organisations/group/opt-outs", body)
    ran = consent("why", "of-group", TRAIN, "--json", **stack.settings("auditor"))
    last = ran.told["steps"][-1]
    assert (last["event"]["subject"], last["event"]["sequence"].lstrip("0")) == (
        "organisation/group",
        asked["position"],
    )
    assert last["answer"]["reasons"][0]["code"] == "organisation_opt_out_requested"


def test_why_of_a_workspace_that_nobody_knows_says_so(stack: Stack) -> None:
    ran = consent("why", "nobody-knows-it", TRAIN, **stack.settings("auditor"))
    assert ran.code == 1
    assert "the ledger does not know the workspace" in ran.out


def test_status_says_how_ledger_key_and_replica_are(stack: Stack) -> None:
    ran = consent("status", "--json", **stack.settings())
    assert ran.code == 0
    assert (ran.told["ledger"]["ready"], ran.told["key"], ran.told["replica"]["state"]) == (
        True,
        "accepted",
        "none",
    )
    assert "ready" in consent("status", **stack.settings()).out
    wrong = consent("status", **stack.settings(CONSENT_TOKEN="ck_p_wrong"))
    assert wrong.code == 2
    assert "unauthenticated" in wrong.out


def test_status_tells_of_the_replica_when_the_ledger_is_gone(stack: Stack, tmp_path: Path) -> None:
    replica = {"CONSENT_REPLICA": str(tmp_path / "replica")}
    event = {
        "type": "opt-out-requested.v1",
        "subject": f"workspace/{stack.on[0]}",
        "data": {"selector": {"all": True}, "requester": {"role": "owner", "authority": "verified"}},
    }
    (tmp_path / "event.json").write_text(json.dumps(event))
    words = ["check", stack.on[0], "--purpose", TRAIN, "--with", str(tmp_path / "event.json")]
    assert consent(*words, **stack.settings(), **replica).code == 1
    gone = stack.settings(CONSENT_URL="http://127.0.0.1:1") | replica
    ran = consent("status", "--json", **gone)
    assert (ran.code, ran.told["ledger"]["ready"], ran.told["key"]) == (2, False, "not tried")
    assert ran.told["replica"]["position"] > 300
    assert ran.told["replica"]["stalenessSeconds"] >= 0
    shown = consent("status", **gone)
    assert shown.code == 2
    assert "is the ledger running there?" in shown.out and "position " in shown.out


def test_no_command_at_all_is_2_and_says_what_there_is() -> None:
    ran = consent()
    assert (ran.code, ran.out) == (2, "")
    assert "simulate" in ran.err


# -- filter --------------------------------------------------------------------------------------------------


def test_filter_keeps_what_every_owner_permits_and_counts_the_rest(stack: Stack, tmp_path: Path) -> None:
    on, other, out = stack.on[0], stack.on[1], stack.out[0]
    rows = [
        (on, [other], RECENT, True),
        (on, [other], BEFORE, False),
        (on, [other, out], RECENT, False),
        (on, [], RECENT, False),
        (on, [None], RECENT, False),
        (None, [on], RECENT, False),
        ("nobody", [on], RECENT, False),
        (stack.sandbox, [on], RECENT, False),
        (on, [on, other], None, False),
    ]
    table = pa.table(
        {
            "workspace_id": pa.array([row[0] for row in rows], pa.string()),
            "guests": pa.array([row[1] for row in rows], pa.list_(pa.string())),
            "collected_at": at(*(row[2] for row in rows)),
            "number": range(len(rows)),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    words = ["--column", "workspace_id", "--column", "guests", "--collected-column", "collected_at"]
    ran = consent(
        "filter", str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), *words,
        "--purpose", TRAIN, "--json", **stack.settings(CONSENT_FEED_KEY=stack.feed_key),
    )  # fmt: skip
    assert ran.code == 0, ran.err + ran.out
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["number"].to_pylist() == [number for number, row in enumerate(rows) if row[3]]
    assert found.schema == table.schema
    counts = {one["code"]: one["rows"] for one in ran.told["reasons"]}
    assert counts == {
        "defaulted_on": 1,
        "collected_outside_windows": 1,
        "opted_out": 1,
        "no_workspace": 3,
        "unknown_workspace": 1,
        "sandbox": 1,
        "collected_unstated": 1,
    }
    assert (ran.told["rows"], ran.told["kept"], ran.told["dropped"]) == (9, 1, 8)
    assert ran.told["token"].startswith("consent.local/ledger/1/")
    assert ran.told["policyVersion"] == "2023-09"
    assert ran.err == "", "no progress where nobody watches"
    decided = consent(
        "check", on, "--purpose", TRAIN, "--collected", RECENT, "--known-at", ran.told["token"],
        "--as-of", ran.told["ledgerTime"], **stack.settings(),
    )  # fmt: skip
    assert decided.code == 0


def test_filter_knows_what_was_recorded_the_moment_before(stack: Stack, tmp_path: Path) -> None:
    workspace = stack.on[9]
    pq.write_table(pa.table({"w": [workspace] * 3, "t": at(*[RECENT] * 3)}), tmp_path / "in.parquet")

    def kept(name: str) -> int:
        ran = consent(
            "filter", str(tmp_path / "in.parquet"), str(tmp_path / name), "--column", "w",
            "--collected-column", "t", "--purpose", TRAIN, "--json", **stack.settings(),
        )  # fmt: skip
        assert ran.code == 0, ran.out
        return int(ran.told["kept"])

    assert kept("before.parquet") == 3
    applicant = {"role": "owner", "authority": "verified"}
    stack.post(f"/v1/workspaces/{workspace}/opt-outs", {"selector": {"all": True}, "applicant": applicant})
    assert kept("after.parquet") == 0


def test_filter_says_in_words_what_became_of_the_rows(stack: Stack, tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"w": [stack.on[0], stack.out[0]], "t": at(RECENT, RECENT)}), tmp_path / "in.parquet"
    )
    words = [
        "filter",
        "in.parquet",
        "out.parquet",
        "--column",
        "w",
        "--collected-column",
        "t",
        "--purpose",
        TRAIN,
    ]
    ran = consent(*words, **stack.settings())
    assert ran.code == 0, ran.err
    assert ran.out.startswith("kept 1 of 2 rows, dropped 1, for train.search_ranking")
    assert "opted_out  (it was opted out)" in ran.out


def test_an_empty_file_is_filtered_into_an_empty_file(stack: Stack, tmp_path: Path) -> None:
    pq.write_table(pa.table({"w": pa.array([], pa.string())}), tmp_path / "in.parquet")
    ran = consent(
        "filter", "in.parquet", "out.parquet", "--column", "w", "--purpose", TRAIN, **stack.settings()
    )
    assert ran.code == 0, ran.err
    assert "the file has no rows" in ran.out
    assert len(pq.read_table(tmp_path / "out.parquet")) == 0


@pytest.mark.parametrize(
    "words", [[], ["check"], ["check", "w"], ["filter", "a", "b", "--purpose", "p"], ["no"]]
)
def test_wrong_usage_is_2(words: list[str]) -> None:
    assert consent(*words).code == 2


def test_a_shell_sees_the_same_exit_codes(stack: Stack) -> None:
    words = ["--purpose", TRAIN, "--collected", RECENT]
    assert consent_process("check", stack.on[0], *words, **stack.settings()).code == 0
    assert consent_process("check", stack.out[0], *words, **stack.settings()).code == 1
    assert consent_process("check", stack.on[0], *words).code == 2


def test_when_nobody_reads_what_is_printed_then_it_is_no_permit(stack: Stack) -> None:
    program = str(Path(sys.executable).with_name("consent"))
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = subprocess.run(
            [program, "check", stack.on[0], "--purpose", TRAIN, "--collected", RECENT],
            env=os.environ | stack.settings(), stdout=writing, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (process.returncode, process.stderr) == (2, b"")


# -- ever ----------------------------------------------------------------------------------------------------


def test_ever_says_when_and_under_which_words_and_1_where_nobody_was_asked(stack: Stack) -> None:
    ran = consent("ever", stack.on[0], TRAIN, **stack.settings("auditor"))
    assert ran.code == 1, ran.err
    assert ran.out.startswith(f"No: {stack.on[0]} was never opted in to {TRAIN}; it was on by default from ")
    assert "nobody was asked" in ran.out and "permitted from" in ran.out
    told = consent("ever", stack.on[0], TRAIN, "--json", **stack.settings("auditor")).told
    assert (told["optedIn"], told["defaultedOn"]) == (False, True)
    positions = {one["position"] for one in told["evidence"]}
    assert {reason["position"] for one in told["periods"] for reason in one["reasons"]} <= positions
    out = consent("ever", stack.out[0], TRAIN, **stack.settings("auditor"))
    assert out.code == 1 and "opted_out (event " in out.out


def test_ever_of_what_is_not_there_or_at_no_time_fails_with_2(stack: Stack) -> None:
    for words in (
        ("nobody-knows-it", TRAIN),
        ("no id at all", TRAIN),
        (stack.on[0], "no purpose at all"),
        (stack.on[0], TRAIN, "--as-of", "yesterday"),
    ):
        ran = consent("ever", *words, **stack.settings("auditor"))
        assert (ran.code, ran.out) == (2, ""), words


def test_ever_looks_no_further_than_it_is_told(stack: Stack) -> None:
    told = consent(
        "ever", stack.on[0], TRAIN, "--as-of", "2015-01-01T00:00:00Z", "--json", **stack.settings("auditor")
    ).told
    assert told["periods"] == [] and told["ledgerTime"].startswith("2015-01-01")
