"""Given commands over HTTP, when given, then each answer says what was recorded and what comes next."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from consent_domain.identifiers import parse_token
from http_service import POLICY, Caller, Service, client_of, enrol, in_process, make_keys, settings_for

OWNER = {"role": "owner", "authority": "verified", "subject": "dana@example.com"}
ALL = {"selector": {"all": True}, "applicant": OWNER}


async def test_given_a_workspace_when_it_opts_out_then_the_answer_has_everything_and_the_next_check_denies(
    service: Service,
) -> None:
    call = service.call
    enrolled = await enrol(call, "leaving")
    asked = {"workspace": "leaving", "purpose": "ranking.train"}
    reached = await call.done("POST", "/v1/check", "pipeline", json={**asked, "atLeast": enrolled["token"]})
    assert reached["decision"] == "permit"
    answer = await call("POST", "/v1/workspaces/leaving/opt-outs", json=ALL)
    told = answer.json()
    assert answer.status_code == 202 and told["visible"] is True
    assert told["statusUrl"] == answer.headers["location"] == f"/v1/requests/{told['request']}"
    assert told["deniedSince"] and told["dueAt"] > told["deniedSince"]
    assert answer.headers["consent-token"] == told["token"]
    assert parse_token(told["token"]).position == int(told["position"])
    denied = await call.done("POST", "/v1/check", "pipeline", json=asked)
    assert (denied["decision"], denied["standing"]) == ("deny", "opt_out_requested")
    assert denied["reasons"] == [{"code": "opt_out_requested", "position": told["position"]}]
    state = await call.done("GET", told["statusUrl"])
    assert (state["state"], state["dueAt"], state["scope"]["id"]) == ("received", told["dueAt"], "leaving")
    assert "dana" not in str(state)


async def test_given_an_opt_out_when_staff_take_its_steps_then_each_moves_it_and_history_keeps_all(
    call: Caller,
) -> None:
    await enrol(call, "processed")
    told = await call.done("POST", "/v1/workspaces/processed/opt-outs", json=ALL)
    path = f"/v1/requests/{told['request']}"
    assert (await call.done("POST", f"{path}/acknowledge", json={}))["state"] == "acknowledged"
    assert (await call.done("POST", f"{path}/needs-action", json={"action": "prove it"}))["state"]
    assert (await call.done("POST", f"{path}/delay", json={"reason": "many"}))["dueAt"] > told["dueAt"]
    assert (await call.done("POST", f"{path}/process", json={}))["state"] == "processed"
    history = await call.done("GET", "/v1/workspaces/processed/history", "auditor")
    types = [one["event"]["type"].removesuffix(".v1") for one in history["events"]]
    assert types[2:] == [
        "opt-out-requested",
        "opt-out-acknowledged",
        "opt-out-needs-action",
        "opt-out-delayed",
        "opt-out-processed",
    ]
    sealed = history["events"][2]["event"]["data"]["requester"]["sealed"]
    assert sealed.keys() == {"keyId", "nonce", "ciphertext"}
    assert "dana" not in str(history)


async def test_given_an_owner_when_it_opts_out_then_its_key_is_the_proof(call: Caller) -> None:
    body = {"selector": {"keys": ["ranking.serve"]}, "applicant": {"role": "x", "authority": "unverified"}}
    told = await call.done("POST", "/v1/workspaces/acme/opt-outs", "workspace/acme", json=body)
    state = await call.done("GET", told["statusUrl"], "workspace/acme")
    assert (state["authority"], state["requesterRole"]) == ("verified", "owner")
    await call.done("POST", f"{told['statusUrl']}/withdraw", "workspace/acme", json={})


async def test_given_an_organisation_when_it_opts_out_then_its_workspaces_are_denied_by_it(
    call: Caller,
) -> None:
    body = {"selector": {"keys": ["ranking.train"]}, "applicant": OWNER}
    told = await call.done("POST", "/v1/organisations/group/opt-outs", "organisation/group", json=body)
    asked = {"workspace": "member", "purpose": "ranking.train"}
    denied = await call.done("POST", "/v1/check", json=asked)
    assert denied["reasons"][0]["code"] == "organisation_opt_out_requested"
    (group,) = (await call.done("GET", "/v1/organisations", "organisation/group"))["organisations"]
    assert group["optOuts"] == [told["request"]]
    assert (await call.done("GET", "/v1/organisations", "workspace/acme"))["organisations"] == []


async def test_given_an_opt_in_when_granted_and_withdrawn_then_the_standing_follows(call: Caller) -> None:
    await enrol(call, "willing")
    asked = {"workspace": "willing", "purpose": "assistant.train"}
    begun = await call(
        "POST", "/v1/workspaces/willing/opt-ins", json={"keys": ["assistant.train"], "applicant": OWNER}
    )
    assert begun.status_code == 202, begun.text
    path = f"/v1/opt-ins/{begun.json()['optIn']}"
    notice = {"givenAt": "2026-01-01T00:00:00Z", "channel": "console"}
    await call.done("POST", f"{path}/grant", json={"applicant": OWNER, "notice": notice})
    told = await call.done("POST", "/v1/check", json={**asked, "atLeast": await token_of(call)})
    assert told["standing"] == "opted_in"
    withdrawn = await call.done("POST", f"{path}/withdraw", json={"applicant": OWNER})
    assert withdrawn["visible"] is True
    assert (await call.done("POST", "/v1/check", json=asked))["standing"] == "opted_out"


async def token_of(call: Caller) -> str:
    token: str = (await call.done("GET", "/v1/purposes"))["token"]
    return token


async def test_given_a_suspended_purpose_when_two_people_resume_it_then_it_was_denied_in_between(
    call: Caller,
) -> None:
    await enrol(call, "stopped")
    asked = {"workspace": "stopped", "purpose": "ranking.train"}
    done = await call.done("POST", "/v1/purposes/ranking.train/suspend", json={"reason": "an inquiry"})
    told = await call.done("POST", "/v1/check", json={**asked, "atLeast": done["token"]})
    assert told["standing"] == "suspended"
    why = {"reason": "the inquiry has ended"}
    done = await call.done("POST", "/v1/purposes/ranking.train/resume", json=why)
    alone = await call("POST", "/v1/purposes/ranking.train/resume", json=why)
    assert alone.status_code in (200, 409)
    newest = alone.json().get("token", done["token"])
    told = await call.done("POST", "/v1/check", json={**asked, "atLeast": newest})
    assert told["decision"] == "deny"
    done = await call.done("POST", "/v1/purposes/ranking.train/resume", "second admin", json=why)
    told = await call.done("POST", "/v1/check", json={**asked, "atLeast": done["token"]})
    assert told["standing"] == "defaulted_on"


async def test_given_a_dry_run_when_sent_then_it_says_what_would_happen_and_nothing_is_recorded(
    service: Service,
) -> None:
    before = await token_of(service.call)
    for caller in (service.call, service.behind):
        answer = await caller(
            "POST", "/v1/workspaces?dryRun=true", json={"workspace": "dry", "plan": "p", "region": "eu"}
        )
        told = answer.json()
        assert answer.status_code == 200 and told["dryRun"] is True and "position" not in told
    refused = await service.call("POST", "/v1/workspaces/nobody/opt-outs?dryRun=true", json=ALL)
    assert refused.status_code == 404
    assert await token_of(service.call) == before


async def test_given_if_match_when_it_is_the_etag_that_was_read_then_the_change_is_made(call: Caller) -> None:
    await enrol(call, "matched")
    read = await call("GET", "/v1/workspaces/matched")
    changed = await call(
        "PATCH", "/v1/workspaces/matched", json={"plan": "free"}, headers={"if-match": read.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    again = await call("GET", "/v1/workspaces/matched")
    assert again.headers["etag"] == changed.headers["etag"] != read.headers["etag"]
    assert again.json()["plan"] == "free"


async def test_given_a_batch_when_some_are_refused_then_the_others_are_recorded_and_each_is_told(
    service: Service,
) -> None:
    one: dict[str, Any] = {"command": "enrol-workspace", "plan": "business", "region": "eu"}
    batch = [
        {**one, "workspace": "batched"},
        {**one, "workspace": "batched"},
        {**one, "workspace": "no id"},
        {"command": "no-such"},
        7,
        {**one, "workspace": "batched", "extra": 1},
        {"command": "request-opt-out", "scope": {"kind": "workspace", "id": "batched"}, **ALL},
    ]
    key = {"idempotency-key": "a-batch"}
    first = await service.call("POST", "/v1/commands", json={"commands": batch}, headers=key)
    verdicts = first.json()["verdicts"]
    told = [verdict.get("code", verdict["status"]) for verdict in verdicts]
    assert told == [
        "applied",
        "already_exists",
        "invalid_id",
        "malformed",
        "malformed",
        "malformed",
        "applied",
    ]
    assert first.headers["consent-token"] == verdicts[-1]["token"]
    again = (await service.behind("POST", "/v1/commands", json={"commands": batch}, headers=key)).json()
    assert [one.get("position") for one in again["verdicts"]] == [one.get("position") for one in verdicts]


async def test_given_many_at_once_when_they_opt_out_then_each_gets_its_own_position(
    call: Caller,
) -> None:
    names = [f"crowd-{number}" for number in range(40)]
    await asyncio.gather(*(enrol(call, name) for name in names))
    answers = await asyncio.gather(
        *(call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=ALL) for name in names)
    )
    assert len({answer["position"] for answer in answers}) == len(names)
    batch = {"workspaces": names, "purpose": "ranking.train"}
    told = await call.done("POST", "/v1/check/batch", "pipeline", json=batch)
    assert not any(told["permitted"])


async def test_given_a_closed_workspace_when_it_is_succeeded_then_both_sides_know(call: Caller) -> None:
    await enrol(call, "old")
    await enrol(call, "new")
    told = await call.done("POST", "/v1/workspaces/new/succeed", json={"predecessor": "old", "kind": "merge"})
    assert told["status"] == "applied"
    for name in ("old", "new"):
        history = await call.done("GET", f"/v1/workspaces/{name}/history")
        assert "workspace-succeeded.v1" in [one["event"]["type"] for one in history["events"]]
    closed = await call.done("POST", "/v1/workspaces/new/close", json={"reason": "left"})
    assert closed["visible"] is True
    state = await call.done("GET", "/v1/workspaces/new")
    assert state["closedAt"] and all(one["decision"] == "deny" for one in state["purposes"])


async def test_given_a_new_ledger_when_history_is_imported_in_pieces_then_it_counts_as_if_it_had_been_there(
    migrated_database_url: str, nats_url: str, tmp_path: Path
) -> None:
    keys = await make_keys(migrated_database_url)
    settings = settings_for(tmp_path, migrated_database_url, nats_url)
    published = {"publishedAt": "2020-01-01T00:00:00Z", "effectiveAt": "2020-02-01T00:00:00Z"}
    workspace = {"plan": "p", "region": "eu", "customerSince": "2021-01-01T00:00:00Z"}
    objection = {"selector": {"all": True}, "receivedAt": "2023-05-01T00:00:00Z"}
    objection["applicant"] = {"role": "owner", "authority": "verified"}
    lines = [
        {"command": "import-policy", **POLICY, **published},
        {"command": "import-workspace", "workspace": "kept", **workspace},
        {"command": "import-workspace", "workspace": "gone", **workspace, "optOuts": [objection]},
        {"command": "import-workspace", "workspace": "no id", **workspace},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 97):
            yield body[start : start + 97]

    async with in_process(settings) as dispatcher, client_of(dispatcher) as client:
        call = Caller(client, keys)
        ndjson = {"content-type": "application/x-ndjson"}
        told = await call.done("POST", "/v1/import", content=pieces(), headers=ndjson)
        assert (told["applied"], told["refused"], told["refusals"][0]["line"]) == (3, 1, 4)
        batch = {"workspaces": ["kept", "gone"], "purpose": "ranking.train", "atLeast": told["token"]}
        answer = await call.done("POST", "/v1/check/batch", json=batch)
        assert answer["permitted"] == [True, False]
        state = await call.done("GET", "/v1/workspaces/gone")
        assert state["purposes"][0]["since"].startswith("2023-05-01")
        again = await call.done("POST", "/v1/import", content=pieces(), headers=ndjson)
        assert (again["applied"], again["skipped"]) == (0, 3)
