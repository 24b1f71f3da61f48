"""Given the API, when somebody is looked at or erased, then by whom it takes, and every look is recorded."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from http_service import Caller, Service, enrol

SUBJECT = "dana@example.com"
LOOK = {"reason": "case 17"}
ERASE = {"reason": "the customer asked"}
APPLICANT = {"role": "owner", "authority": "verified", "subject": SUBJECT}


async def opted_out(call: Caller, subject: str = SUBJECT) -> tuple[str, str]:
    """A workspace of its own with an opt-out by the subject; its name, and the opt-out's position."""
    name = f"erased-{uuid4()}"
    await enrol(call, name)
    body = {"selector": {"all": True}, "applicant": {**APPLICANT, "subject": subject}}
    told = await call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=body)
    return name, told["position"]


async def look(call: Caller, position: str, by: str = "unsealing auditor") -> httpx.Response:
    return await call("POST", f"/v1/events/{position}/unseal", by, json=LOOK)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# -- looking -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["admin", "auditor", "pipeline", "workspace/acme"])
async def test_given_a_key_without_the_right_when_it_looks_then_403_and_no_look_is_recorded(
    call: Caller, who: str
) -> None:
    name, position = await opted_out(call)
    before = await call.done("GET", "/v1/unsealings?limit=1000", "auditor")
    answer = await look(call, position, who)
    assert code(answer) == (403, "forbidden")
    assert SUBJECT not in answer.text
    assert await call.done("GET", "/v1/unsealings?limit=1000", "auditor") == before
    history = await call("GET", f"/v1/workspaces/{name}/history", "auditor")
    assert SUBJECT not in history.text and '"sealed":{"keyId":' in history.text


async def test_given_an_auditor_who_may_when_it_looks_then_it_sees_and_the_look_is_listed(
    call: Caller,
) -> None:
    name, position = await opted_out(call)
    answer = await look(call, position)
    seen = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (seen["subject"], seen["field"], seen["stream"]) == (SUBJECT, "requester", f"workspace/{name}")
    listed = (await call.done("GET", "/v1/unsealings?limit=1000", "auditor"))["unsealings"]
    last = listed[-1]
    assert (last["unsealing"], last["position"], last["reason"]) == (seen["unsealing"], position, "case 17")
    assert last["principal"].startswith("key-")
    page = await call.done("GET", f"/v1/unsealings?limit=1&after={int(last['unsealing']) - 1}", "auditor")
    assert page == {"unsealings": [last]}


@pytest.mark.parametrize(
    ("position", "body", "expected"),
    [
        ("1", LOOK, (404, "not_found")),
        ("99999999", LOOK, (404, "not_found")),
        ("0", LOOK, (400, "malformed")),
        ("-1", LOOK, (400, "malformed")),
        ("9" * 30, LOOK, (400, "malformed")),
        ("x", LOOK, (400, "malformed")),
        ("1", {}, (400, "malformed")),
        ("1", {"reason": " "}, (422, "invalid_value")),
        ("1", {"reason": "x" * 3_000}, (422, "invalid_value")),
    ],
)
async def test_given_no_such_event_or_no_reason_when_looked_at_then_it_is_refused(
    call: Caller, position: str, body: dict[str, str], expected: tuple[int, str]
) -> None:
    answer = await call("POST", f"/v1/events/{position}/unseal", "unsealing auditor", json=body)
    assert code(answer) == expected


# -- a person ------------------------------------------------------------------------------------------------


async def test_given_a_person_when_found_and_erased_then_a_look_says_erased_and_finding_says_when(
    call: Caller,
) -> None:
    subject = f"{uuid4()}@example.com"
    first, position = await opted_out(call, subject)
    second, _ = await opted_out(call, subject.upper())
    answer = await call("POST", "/v1/persons/find", json={"subject": f" {subject}"})
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert found["streams"] == [f"workspace/{first}", f"workspace/{second}"]
    assert subject not in answer.text
    path = f"/v1/persons/{found['person']}/erase"
    assert (await call.done("POST", f"{path}?dryRun=true", json={}))["keys"] == 2
    assert (await look(call, position)).status_code == 200
    told = await call.done("POST", path, json={})
    assert (told["status"], told["keys"], told["destroyed"]) == ("applied", 2, True)
    assert code(await look(call, position)) == (410, "erased")
    assert await call.done("POST", path, json={}) == {
        "status": "not_applied",
        "token": "",
        "person": found["person"],
        "keys": 0,
        "destroyed": True,
    }
    again = await call.done("POST", "/v1/persons/find", json={"subject": subject})
    assert (again["streams"], again["erasedAt"]) == ([], [told["position"]])


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("00" * 32, (404, "unknown_person")),
        (SUBJECT, (400, "invalid_id")),
        ("0" * 63, (400, "invalid_id")),
    ],
)
async def test_given_no_such_person_when_erased_then_it_is_refused_and_not_repeated(
    call: Caller, ref: str, expected: tuple[int, str]
) -> None:
    answer = await call("POST", f"/v1/persons/{ref}/erase", json={})
    assert code(answer) == expected
    assert SUBJECT not in answer.text


async def test_given_an_owner_when_it_erases_by_command_then_it_is_refused(call: Caller) -> None:
    batch = [
        {"command": "erase-person", "person": "00" * 32},
        {"command": "erase-workspace", "workspace": "acme", **ERASE},
        {"command": "repeat-erasure", "workspace": "acme", "keyIds": []},
    ]
    for who, codes in (
        ("workspace/acme", ["forbidden", "forbidden", "malformed"]),
        ("admin", ["unknown_person", None, "malformed"]),
    ):
        commands = batch if who != "admin" else [batch[0], {**batch[1], "workspace": "nobody"}, batch[2]]
        told = await call.done("POST", "/v1/commands", who, json={"commands": commands})
        given = [verdict.get("code") for verdict in told["verdicts"]]
        assert given == [code or "unknown_workspace" for code in codes]


# -- a workspace ---------------------------------------------------------------------------------------------


async def test_given_one_person_with_two_keys_when_they_erase_a_workspace_then_a_second_person_is_required(
    call: Caller,
) -> None:
    name, position = await opted_out(call)
    path = f"/v1/workspaces/{name}/erase"
    told = await call.done("POST", path, json=ERASE)
    assert told["proposed"] and not told.get("erased")
    for who in ("admin", "admin's other key"):
        assert code(await call("POST", path, who, json=ERASE)) == (409, "second_person_required")
    assert (await look(call, position)).status_code == 200


async def test_given_two_persons_when_a_workspace_is_erased_then_everything_is_denied_and_nothing_follows(
    service: Service, call: Caller
) -> None:
    name, position = await opted_out(call)
    other, kept = await opted_out(call)
    path = f"/v1/workspaces/{name}/erase"
    await call.done("POST", path, json=ERASE)
    headers = {"idempotency-key": str(uuid4())}
    told = await call.done("POST", path, "second admin", json=ERASE, headers=headers)
    assert told["erased"] and told["destroyed"] and told["visible"] and told["keys"] == 1
    replay = await call.done("POST", path, "second admin", json=ERASE, headers=headers)
    assert replay["replayed"] and replay["destroyed"]
    for purpose in ("ranking.train", "ranking.serve", "assistant.train"):
        asked = {"workspace": name, "purpose": purpose, "atLeast": told["token"]}
        decided = await call.done("POST", "/v1/check", json=asked)
        assert (decided["decision"], decided["reasons"][0]["code"]) == ("deny", "workspace_erased")
    assert code(await look(call, position)) == (410, "erased")
    assert (await look(call, kept)).json()["subject"] == SUBJECT
    history = await call.done("GET", f"/v1/workspaces/{name}/history", "auditor")
    assert history["events"][-1]["event"]["type"] == "workspace-erased.v1"
    body = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}
    for where, given in (
        ("opt-outs", body),
        ("opt-ins", {"keys": ["assistant.train"], "applicant": body["applicant"]}),
        ("close", {"reason": "left"}),
        ("succeed", {"predecessor": other, "kind": "split"}),
    ):
        answer = await call("POST", f"/v1/workspaces/{name}/{where}", json=given)
        assert code(answer) == (409, "wrong_state"), where
    for who in ("admin", "second admin"):
        again = await call.done("POST", path, who, json=ERASE)
        assert (again["status"], again["erased"]) == ("not_applied", True)


async def test_given_no_such_workspace_when_erased_then_404(call: Caller) -> None:
    answer = await call("POST", "/v1/workspaces/nobody/erase", json=ERASE)
    assert code(answer) == (404, "unknown_workspace")
