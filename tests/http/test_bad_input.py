"""Given bad input, when sent, then a clear problem says what was wrong, and nothing is lost or recorded."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
from http_service import Caller, Service, enrol

JSON = {"content-type": "application/json"}
CHECK, BATCH, COMMANDS = "/v1/check", "/v1/check/batch", "/v1/commands"
ENROL, OPT_OUT = "/v1/workspaces", "/v1/workspaces/other/opt-outs"
ASKED = b'{"workspace":"acme","purpose":"ranking.train"}'
ACME = b'"workspace":"acme","plan":"business","region":"eu"'
FORM = b'{"selector":{"all":true},"applicant":{"role":"owner","authority":"verified"}%s}'


_TIMES = re.compile(r"20\d\d-\S+Z")


class Bad(NamedTuple):
    """One bad request, and what it must be told."""

    sentence: str
    status: int
    code: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = JSON


BAD = [
    Bad("no JSON", 400, "malformed", "POST", CHECK, b"{"),
    Bad("nothing", 400, "malformed", "POST", CHECK),
    Bad("another encoding", 400, "malformed", "POST", CHECK, '{"workspace":"ä"}'.encode("latin-1")),
    Bad("half a surrogate pair", 400, "malformed", "POST", CHECK, b'{"workspace":"\\ud800","purpose":"p"}'),
    Bad("a list", 400, "malformed", "POST", ENROL, b"[]"),
    Bad("too deep", 400, "too_deep", "POST", CHECK, b"[" * 10_000),
    Bad("too deep, for a command", 400, "too_deep", "POST", ENROL, b'{"a":' * 100 + b"1" + b"}" * 100),
    Bad("too deep, for the framework", 400, "too_deep", "POST", "/v1/policies", b"[" * 100),
    Bad("a number for a name", 400, "malformed", "POST", CHECK, b'{"workspace":1,"purpose":"p"}'),
    Bad("an unknown member", 400, "malformed", "POST", CHECK, ASKED[:-1] + b',"force":true}'),
    Bad("a member missing", 400, "malformed", "POST", CHECK, b'{"workspace":"acme"}'),
    Bad("no workspace", 400, "malformed", "POST", CHECK, b'{"purpose":"p"}'),
    Bad("both kinds", 400, "malformed", "POST", CHECK, ASKED[:-1] + b',"workspaces":["b"]}'),
    Bad("a time without a zone", 400, "invalid_time", "POST", CHECK,
        ASKED[:-1] + b',"collected":{"at":"2026-01-01T00:00:00"}}'),
    Bad("half a range", 400, "malformed", "POST", CHECK,
        ASKED[:-1] + b',"collected":{"from":"2026-01-01T00:00:00Z"}}'),
    Bad("a negative age", 400, "malformed", "POST", CHECK, ASKED[:-1] + b',"maxStalenessMs":-1}'),
    Bad("no token", 400, "invalid_token", "POST", CHECK, ASKED[:-1] + b',"atLeast":"yesterday"}'),
    Bad("another log's token", 400, "invalid_token", "POST", CHECK, ASKED[:-1] + b',"atLeast":"other/1/1"}'),
    Bad("another log's past", 400, "invalid_token", "POST", CHECK, ASKED[:-1] + b',"knownAt":"other/1/1"}'),
    Bad("a position to come", 400, "invalid_token", "POST", CHECK,
        ASKED[:-1] + b',"knownAt":"consent.test/ledger/1/999999"}'),
    Bad("a future", 400, "invalid_time", "POST", CHECK, ASKED[:-1] + b',"asOf":"2999-01-01T00:00:00Z"}'),
    Bad("a past without a zone", 400, "invalid_time", "POST", CHECK, ASKED[:-1] + b',"asOf":"2020-01-01"}'),
    Bad("an empty batch", 400, "malformed", "POST", BATCH, b'{"purpose":"p","workspaces":[]}'),
    Bad("too many in a batch", 413, "too_large", "POST", BATCH,
        b'{"purpose":"p","workspaces":["a"' + b',"a"' * 100_000 + b"]}"),
    Bad("too long a check", 413, "too_large", "POST", CHECK, b'{"workspace":"' + b"a" * 70_000 + b'"}'),
    Bad("too long a command", 413, "too_large", "POST", ENROL, b" " * 300_000),
    Bad("too long for the framework", 413, "too_large", "POST", "/v1/organisations", b" " * 300_000),
    Bad("no commands", 400, "malformed", "POST", COMMANDS, b'{"commands":[]}'),
    Bad("too many commands", 413, "too_large", "POST", COMMANDS, b'{"commands":[{}' + b",{}" * 100 + b"]}"),
    Bad("a form", 415, "unsupported_media_type", "POST", CHECK, b"workspace=acme",
        {"content-type": "application/x-www-form-urlencoded"}),
    Bad("no type", 415, "unsupported_media_type", "POST", "/v1/organisations", b"{}", {}),
    Bad("JSON as an import", 415, "unsupported_media_type", "POST", "/v1/import", b"{}"),
    Bad("an unknown path", 404, "not_found", "GET", "/v1/nothing"),
    Bad("an unknown path below a known one", 404, "not_found", "POST", "/v1/workspaces/a/b/opt-outs", b"{}"),
    Bad("an unknown method", 405, "method_not_allowed", "DELETE", "/v1/workspaces/acme"),
    Bad("a method that the framework adds", 405, "method_not_allowed", "OPTIONS", "/v1/check"),
    Bad("an unknown parameter", 400, "malformed", "POST", ENROL + "?dryrun=true", b"{%s}" % ACME),
    Bad("a parameter twice", 400, "malformed", "POST", ENROL + "?dryRun=true&dryRun=false", b"{%s}" % ACME),
    Bad("a dry run that is neither", 400, "malformed", "POST", ENROL + "?dryRun=1", b"{%s}" % ACME),
    Bad("a limit of none", 400, "malformed", "GET", "/v1/workspaces/acme/history?limit=0"),
    Bad("a limit of words", 400, "malformed", "GET", "/v1/workspaces/acme/history?limit=many"),
    Bad("an after below none", 400, "malformed", "GET", "/v1/workspaces/acme/history?after=-1"),
    Bad("an after past all", 400, "malformed", "GET", "/v1/workspaces/acme/history?after=" + "9" * 19),
    Bad("an unknown workspace", 404, "unknown_workspace", "GET", "/v1/workspaces/nobody"),
    Bad("an unknown workspace's history", 404, "unknown_workspace", "GET", "/v1/workspaces/nobody/history"),
    Bad("an id out of the alphabet", 400, "invalid_id", "GET", "/v1/workspaces/a%20b"),
    Bad("an id out of the alphabet, opted out", 400, "invalid_id", "POST", "/v1/workspaces/a%20b/opt-outs",
        FORM % b""),
    Bad("an id that is too long", 400, "invalid_id", "GET", "/v1/workspaces/" + "a" * 129),
    Bad("an id out of the alphabet, enrolled", 400, "invalid_id", "POST", ENROL,
        b'{"workspace":"a b","plan":"business","region":"eu"}'),
    Bad("an unknown workspace, opted out", 404, "unknown_workspace", "POST",
        "/v1/workspaces/nobody/opt-outs", FORM % b""),
    Bad("an unknown organisation", 404, "unknown_organisation", "POST", "/v1/organisations/nobody/opt-outs",
        FORM % b""),
    Bad("an unknown purpose", 404, "unknown_purpose", "POST", "/v1/purposes/no.such/suspend",
        b'{"reason":"an inquiry"}'),
    Bad("an unknown request", 404, "unknown_request", "POST", "/v1/requests/none/process", b"{}"),
    Bad("a request that nobody made", 404, "unknown_request", "GET",
        "/v1/requests/0199e1a2-7c1e-7b2a-9d0e-3f1c2b4a5d6e"),
    Bad("an unknown opt-in", 404, "unknown_opt_in", "POST", "/v1/opt-ins/none/refuse",
        b'{"applicant":{"role":"owner"}}'),
    Bad("enrolled twice", 409, "already_exists", "POST", ENROL, b"{%s}" % ACME),
    Bad("what the path gives", 400, "malformed", "POST", OPT_OUT,
        FORM % b',"scope":{"kind":"workspace","id":"acme"}'),
    Bad("another command", 400, "malformed", "POST", OPT_OUT, FORM % b',"command":"close-workspace"'),
    Bad("a selector of nothing", 422, "invalid_value", "POST", OPT_OUT,
        b'{"selector":{},"applicant":{"role":"owner"}}'),
    Bad("an objection postdated", 422, "postdated", "POST", OPT_OUT,
        FORM % b',"receivedAt":"2999-01-01T00:00:00Z"'),
    Bad("a receipt without a zone", 400, "invalid_time", "POST", OPT_OUT,
        FORM % b',"receivedAt":"2026-01-01T00:00:00"'),
    Bad("a time out of the calendar", 400, "malformed", "POST", OPT_OUT,
        FORM % b',"receivedAt":"2026-13-01T00:00:00Z"'),
    Bad("the end of all calendars", 400, "invalid_time", "POST", OPT_OUT,
        FORM % b',"receivedAt":"9999-12-31T23:59:59-14:00"'),
    Bad("a stale If-Match", 409, "version_conflict", "PATCH", "/v1/workspaces/acme", b'{"plan":"free"}',
        {**JSON, "if-match": '"1"'}),
    Bad("an If-Match without quotes", 400, "malformed", "PATCH", "/v1/workspaces/acme", b'{"plan":"free"}',
        {**JSON, "if-match": "2"}),
    Bad("a weak If-Match", 400, "malformed", "PATCH", "/v1/workspaces/acme", b'{"plan":"free"}',
        {**JSON, "if-match": 'W/"2"'}),
    Bad("an empty key", 400, "malformed", "POST", ENROL, b"{%s}" % ACME, {**JSON, "idempotency-key": ""}),
    Bad("too long a key", 400, "malformed", "POST", ENROL, b"{%s}" % ACME,
        {**JSON, "idempotency-key": "k" * 256}),
    Bad("too large an event", 422, "invalid_value", "POST", "/v1/workspaces/acme/close",
        b'{"reason":"' + b"x" * 200_000 + b'"}'),
    Bad("an unknown reason", 404, "unknown_request", "POST", "/v1/requests/none/reject", b'{"reason":"why"}'),
    Bad("an unknown state", 400, "malformed", "GET", "/v1/requests?state=lost"),
    Bad("a feed for no gate", 403, "forbidden", "GET", "/v1/feed/changes?after=0"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.sentence.replace(" ", "-") for bad in BAD])
async def test_given_bad_input_when_sent_either_way_then_the_same_problem_answers(
    service: Service, bad: Bad
) -> None:
    before = await events(service.call)
    told = []
    for caller in (service.call, service.behind):
        answer = await caller(
            bad.method,
            bad.path,
            content=bad.body or None,
            headers=bad.headers if bad.body else {**bad.headers},
        )
        problem: dict[str, Any] = answer.json()
        assert (answer.status_code, problem["code"]) == (bad.status, bad.code), problem
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["status"] == bad.status and problem["detail"] and problem["title"]
        assert problem["type"].endswith(bad.code) and problem["instance"].startswith("urn:uuid:")
        told.append({**problem, "instance": "", "detail": _TIMES.sub("", problem["detail"])})
    assert told[0] == told[1]
    assert await events(service.call) == before, "nothing may be recorded"


async def events(call: Caller) -> str:
    token: str = (await call.done("GET", "/v1/policies"))["token"]
    return token


async def test_given_a_conflict_when_told_then_it_says_the_version_that_is(call: Caller) -> None:
    answer = await call("PATCH", "/v1/workspaces/member", json={"plan": "x"}, headers={"if-match": '"1"'})
    assert answer.json()["currentVersion"] == 2


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"workspace": "nobody", "purpose": "ranking.train"}, "unknown_workspace"),
        ({"workspace": "acme", "purpose": "no.such"}, "unknown_purpose"),
        ({"workspace": "a b", "purpose": "ranking.train"}, "invalid_id"),
        ({"workspace": "x" * 600, "purpose": "ranking.train"}, "invalid_id"),
        ({"workspace": "\x00book", "purpose": "ranking.train"}, "invalid_id"),
        ({"workspaces": ["other", "nobody"], "purpose": "ranking.train"}, "unknown_workspace"),
        (
            {"workspace": "other", "purpose": "ranking.train", "categories": ["dreams"]},
            "category_not_in_purpose",
        ),
        ({"workspace": "other", "purpose": "ranking.train", "maxStalenessMs": 0}, "stale"),
    ],
)
async def test_given_a_check_of_what_is_unknown_when_asked_then_200_and_a_denial_with_the_reason(
    call: Caller, asked: dict[str, Any], code: str
) -> None:
    answer = await call("POST", "/v1/check", "pipeline", json=asked)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["decision"] in ("deny", "undecided")
    assert code in [reason["code"] for reason in told["reasons"]]


async def test_given_an_idempotency_key_when_it_comes_with_another_body_then_422(call: Caller) -> None:
    key = {"idempotency-key": "the-same"}
    body = {"workspace": "keyed", "plan": "business", "region": "eu"}
    first = await call("POST", "/v1/workspaces", json=body, headers=key)
    again = await call("POST", "/v1/workspaces", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["replayed"] and again.json()["position"] == first.json()["position"]
    other = await call("POST", "/v1/workspaces", json={**body, "plan": "free"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_given_a_request_when_its_steps_come_in_the_wrong_order_then_each_is_refused(
    call: Caller,
) -> None:
    await enrol(call, "stepwise")
    body = {"selector": {"keys": ["ranking.train"]}, "applicant": {"role": "owner", "authority": "verified"}}
    first = await call.done("POST", "/v1/workspaces/stepwise/opt-outs", json=body)
    joined = await call.done("POST", "/v1/workspaces/stepwise/opt-outs", json=body)
    assert joined["joined"] and joined["joins"] == first["request"]
    path = f"/v1/requests/{first['request']}"
    owner = {"applicant": {"role": "owner", "authority": "verified"}}
    withdrawn = await call.done("POST", f"{path}/withdraw", json=owner)
    assert withdrawn["state"] == "withdrawn"
    for step, members in (
        ("process", {}),
        ("acknowledge", {}),
        ("withdraw", owner),
        ("delay", {"reason": "x"}),
    ):
        answer = await call("POST", f"{path}/{step}", json=members)
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state"), step
