"""Given a history, when a read is asked about another moment, then it answers as of then alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from consent_domain.identifiers import parse_token
from consent_ledger.http.messages import EverAnswer
from http_service import ORIGIN, Caller, enrol

OWNER = {"role": "owner", "authority": "verified"}
SOME = {"selector": {"keys": ["ranking.train"]}, "applicant": OWNER}
ALL = {"selector": {"all": True}, "applicant": OWNER}
NOTICE = {"givenAt": "2026-01-01T00:00:00Z", "channel": "console", "textSha256": "cd" * 32}


def before(recorded_at: str) -> str:
    """A microsecond earlier."""
    moment = datetime.fromisoformat(recorded_at) - timedelta(microseconds=1)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def standing(state: dict[str, Any], purpose: str) -> str:
    return str(next(one for one in state["purposes"] if one["purpose"] == purpose)["standing"])


async def test_given_an_opt_out_when_the_workspace_is_read_as_of_before_then_it_stood_otherwise(
    call: Caller,
) -> None:
    enrolled = await enrol(call, "moving")
    told = await call.done("POST", "/v1/workspaces/moving/opt-outs", json=SOME)
    await call.done("PATCH", "/v1/workspaces/moving", json={"plan": "free"})
    path = "/v1/workspaces/moving"
    now = await call("GET", path)
    known = await call("GET", path, params={"knownAt": str(enrolled["token"])})
    in_effect = await call("GET", path, params={"asOf": before(str(told["recordedAt"]))})
    both = await call(
        "GET", path, params={"knownAt": str(enrolled["token"]), "asOf": str(enrolled["recordedAt"])}
    )
    assert standing(now.json(), "ranking.train") == "opt_out_requested" and now.json()["plan"] == "free"
    for answer in (known, in_effect, both):
        state = answer.json()
        assert (standing(state, "ranking.train"), state["plan"]) == ("defaulted_on", "business")
        assert "etag" not in answer.headers and answer.headers["consent-token"] == state["token"]
    assert known.json()["token"] == enrolled["token"] and known.json()["version"] == 2
    assert in_effect.json()["ledgerTime"] == before(str(told["recordedAt"]))
    assert "etag" in now.headers
    earlier = parse_token(str(enrolled["token"])).position - 2
    nobody = await call("GET", path, params={"knownAt": f"{ORIGIN}/1/{earlier}"})
    assert (nobody.status_code, nobody.json()["code"]) == (404, "unknown_workspace")


async def test_given_a_check_and_a_read_when_asked_about_the_same_moment_then_they_say_the_same(
    call: Caller,
) -> None:
    tokens = [(await enrol(call, "compared"))["token"]]
    for _ in range(2):
        told = await call.done("POST", "/v1/workspaces/compared/opt-outs", json=SOME)
        tokens.append(told["token"])
        done = await call.done(
            "POST", f"/v1/requests/{told['request']}/withdraw", json={"applicant": {**OWNER}}
        )
        tokens.append(done["token"])
    for token in tokens:
        state = await call.done("GET", "/v1/workspaces/compared", params={"knownAt": str(token)})
        for one in state["purposes"]:
            asked = {"workspace": "compared", "purpose": one["purpose"], "knownAt": str(token)}
            asked["asOf"] = state["ledgerTime"]
            answer = await call.done(
                "POST", "/v1/check", json={**asked, "collected": {"at": state["ledgerTime"]}}
            )
            assert (answer["decision"], answer["standing"]) == (one["decision"], one["standing"])


async def test_given_an_organisation_a_request_policies_and_purposes_when_read_then_each_is_as_of_then(
    call: Caller,
) -> None:
    made = await call.done("POST", "/v1/organisations", json={"organisation": "changing"})
    told = await call.done("POST", "/v1/organisations/changing/opt-outs", json=SOME)
    request = f"/v1/requests/{told['request']}"
    done = await call.done("POST", f"{request}/process", json={})
    path = "/v1/organisations/changing"
    assert (await call.done("GET", path))["optOuts"] == [told["request"]]
    for params in ({"knownAt": str(made["token"])}, {"asOf": before(str(told["recordedAt"]))}):
        assert "optOuts" not in await call.done("GET", path, params=params)
    assert (await call.done("GET", request))["state"] == "processed"
    assert (await call.done("GET", request, params={"knownAt": str(told["token"])}))["state"] == "received"
    early = await call("GET", request, params={"knownAt": str(made["token"])})
    assert (early.status_code, early.json()["code"]) == (404, "unknown_request")
    stopped = await call.done("POST", "/v1/purposes/ranking.serve/suspend", json={"reason": "incident"})
    for by in ("admin", "second admin"):
        last = await call.done("POST", "/v1/purposes/ranking.serve/resume", by, json={"reason": "over"})
    for params, suspended in (
        ({}, False),
        ({"knownAt": str(stopped["token"])}, True),
        ({"asOf": before(str(last["recordedAt"]))}, True),
        ({"knownAt": str(done["token"])}, False),
    ):
        listed = (await call.done("GET", "/v1/purposes", params=params))["purposes"]
        serving = next(one for one in listed if one["purpose"]["key"] == "ranking.serve")
        assert serving.get("suspended", False) == suspended, params
    assert (await call.done("GET", "/v1/policies", params={"knownAt": f"{ORIGIN}/1/0"}))["policies"] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("knownAt=yesterday", "invalid_time"),
        ("knownAt=", "invalid_time"),
        ("asOf=", "invalid_time"),
        ("asOf=2026-01-31", "invalid_time"),
        ("asOf=2026-01-31T09:00:00", "invalid_time"),
        ("asOf=2026-01-31T09:00:00+01:00", "invalid_time"),  # a plus is a blank in a query
        ("asOf=9999-12-31T23:59:59Z", "invalid_time"),
        ("asOf=1969-12-31T23:59:59Z", "invalid_time"),
        ("asOf=0001-01-01T00:00:00%2B23:59", "invalid_time"),
        ("knownAt=9000-01-01T00:00:00Z", "invalid_time"),
        (f"asOf={ORIGIN}/1/1", "invalid_time"),
        ("knownAt=other/ledger/1/1", "invalid_token"),
        (f"knownAt={ORIGIN}/2/1", "invalid_token"),
        (f"knownAt={ORIGIN}/1/999999999", "invalid_token"),
        (f"knownAt={ORIGIN}/1/{'9' * 40}", "invalid_token"),
        (f"knownAt={ORIGIN}/1/-1", "invalid_token"),
        ("knownAt=a&knownAt=b", "malformed"),
        ("known_at=2026-01-31T09:00:00Z", "malformed"),
    ],
)
async def test_given_a_moment_that_is_none_when_read_then_it_is_refused_everywhere_alike(
    call: Caller, query: str, code: str
) -> None:
    for path in (
        "/v1/workspaces/acme",
        "/v1/workspaces/acme/ever?purpose=ranking.train",
        "/v1/organisations/group",
        "/v1/policies",
        "/v1/purposes",
    ):
        answer = await call("GET", f"{path}{'&' if '?' in path else '?'}{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, code), path


# -- ever ----------------------------------------------------------------------------------------------------


async def test_given_an_opt_in_that_ended_when_asked_whether_ever_then_by_whom_and_under_which_words(
    call: Caller,
) -> None:
    await enrol(call, "once")
    asked = {"keys": ["assistant.train"], "applicant": {**OWNER, "subject": "ann@example.com"}}
    opt_in = (await call.done("POST", "/v1/workspaces/once/opt-ins", json=asked))["optIn"]
    grant = {"applicant": {**OWNER, "subject": "ann@example.com"}, "notice": NOTICE}
    granted = await call.done("POST", f"/v1/opt-ins/{opt_in}/grant", json=grant)
    ended = await call.done("POST", f"/v1/opt-ins/{opt_in}/withdraw", json={"applicant": OWNER})
    answer = await call("GET", "/v1/workspaces/once/ever?purpose=assistant.train", "auditor")
    told = msgspec.convert(answer.json(), EverAnswer)
    assert (told.opted_in, told.defaulted_on, told.permitted) == (True, False, True)
    (period,) = told.periods
    assert (period.standing, period.reasons[0].position) == ("opted_in", granted["position"])
    assert period.ended_by[0].position == ended["position"] and period.until
    proving = {one.position: one for one in told.evidence}
    by = proving[granted["position"]]
    assert (by.requester_role, by.authority, by.requester_sealed) == ("owner", "verified", True)
    assert (by.text_sha256, by.notice_channel) == ("cd" * 32, "console") and by.recorded_by
    assert told.sentence.startswith("Yes: once was opted in to assistant.train from ")
    assert "ann@example.com" not in answer.text
    position = granted["position"]
    early = await call.done(
        "GET",
        "/v1/workspaces/once/ever",
        params={"purpose": "assistant.train", "asOf": told.periods[0].since},
    )
    assert "until" not in early["periods"][0] and early["consents"][0]["position"] == position


async def test_given_a_default_when_asked_whether_ever_then_no_opt_in_and_the_event_that_applied_it(
    call: Caller,
) -> None:
    enrolled = await enrol(call, "silent")
    await call.done("POST", "/v1/workspaces/silent/opt-outs", json=ALL)
    told = await call.done("GET", "/v1/workspaces/silent/ever?purpose=ranking.train")
    assert (told["optedIn"], told["defaultedOn"]) == (False, True)
    (period,) = told["periods"]
    proving = {one["position"]: one for one in told["evidence"]}
    assert period["appliedAt"] == [str(int(str(enrolled["position"])))]
    assert proving[period["appliedAt"][0]]["type"] == "default-on.v1"
    policy = proving[period["reasons"][0]["position"]]
    assert (policy["policyVersion"], policy["textSha256"]) == ("2025-01", "ab" * 32)
    assert "nobody was asked" in told["sentence"]


async def test_given_an_owner_when_it_asks_about_another_then_nothing_and_of_a_successor_no_details(
    call: Caller,
) -> None:
    for name in ("before.it", "acme.heir"):
        await enrol(call, name)
    taken = {"predecessor": "before.it", "kind": "merge"}
    await call.done("POST", "/v1/workspaces/acme.heir/succeed", json=taken)
    await call.done("POST", "/v1/workspaces/before.it/opt-outs", json=ALL)
    told = await call.done("GET", "/v1/workspaces/acme.heir/ever?purpose=ranking.train")
    assert not [one for one in told["evidence"] if one["stream"] == "workspace/before.it"]
    refused = await call("GET", "/v1/workspaces/other/ever?purpose=ranking.train", "workspace/acme")
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_workspace")


async def test_given_a_predecessor_of_an_organisation_when_asked_whether_ever_then_no_details_of_that(
    call: Caller,
) -> None:
    taken = {"predecessor": "old.one", "kind": "merge"}
    await call.done("POST", "/v1/organisations", json={"organisation": "old.group"})
    await enrol(call, "old.one", organisation="old.group")
    await enrol(call, "heir.one")
    await call.done("POST", "/v1/organisations/old.group/opt-outs", json=ALL)
    await call.done("POST", "/v1/workspaces/heir.one/succeed", json=taken)
    told = await call.done("GET", "/v1/workspaces/heir.one/ever?purpose=ranking.train")
    ended_by = [reason["code"] for one in told["periods"] for reason in one.get("endedBy", ())]
    assert "organisation_opt_out_requested" in ended_by  # of the organisation that is none of its business
    assert not [one for one in told["evidence"] if "old." in one["stream"]]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/workspaces/acme/ever", 400, "malformed"),
        ("/v1/workspaces/acme/ever?purpose=", 400, "invalid_id"),
        ("/v1/workspaces/acme/ever?purpose=a%20b", 400, "invalid_id"),
        ("/v1/workspaces/nobody/ever?purpose=ranking.train", 404, "unknown_workspace"),
        ("/v1/workspaces/a%20b/ever?purpose=ranking.train", 400, "invalid_id"),
    ],
)
async def test_given_a_question_that_is_none_when_asked_whether_ever_then_refused(
    call: Caller, path: str, status: int, code: str
) -> None:
    answer = await call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_given_a_purpose_that_never_was_when_asked_whether_ever_then_no(call: Caller) -> None:
    told = await call.done("GET", "/v1/workspaces/acme/ever?purpose=no.such")
    assert (told["optedIn"], told["defaultedOn"], told["periods"]) == (False, False, [])
