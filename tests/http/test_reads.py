"""Given a ledger with a history, when it is read, then pages, past and present say the same as the log."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from consent_domain.feed import decode_page, decode_signed
from consent_gate.answers import CheckAnswer
from consent_ledger.feed import WAIT_SECONDS_MIN
from consent_ledger.http import checks
from consent_ledger.http.messages import History, Policies, Purposes, Requests, RequestState, WorkspaceState
from consent_projector.hints import Hints
from http_service import ORIGIN, Caller, Service, enrol
from projecting import drain, projected

OWNER = {"role": "owner", "authority": "verified"}
SOME = {"selector": {"keys": ["ranking.train"]}, "applicant": OWNER}


async def project(database_url: str, view: str) -> None:
    """Bring one view of the projector up to the log."""
    async with projected(database_url) as database:
        await drain(database.consumer(view, hints=Hints(ORIGIN)))
        await database.expire(view)


async def test_given_every_read_when_answered_then_it_is_the_message_that_is_described(call: Caller) -> None:
    await enrol(call, "described")
    told = await call.done("POST", "/v1/workspaces/described/opt-outs", json=SOME)
    described: list[tuple[str, Any]] = [
        ("/v1/workspaces/described", WorkspaceState),
        ("/v1/workspaces/described/history", History),
        ("/v1/policies", Policies),
        ("/v1/purposes", Purposes),
        ("/v1/requests", Requests),
        (told["statusUrl"], RequestState),
    ]
    for path, message in described:
        answer = await call.done("GET", path)
        read = msgspec.convert(answer, message)
        assert answer.keys() <= {field.encode_name for field in msgspec.structs.fields(message)}, path
        assert read is not None


async def test_given_a_workspace_when_read_then_each_purpose_says_why_since_when_and_under_which_words(
    call: Caller,
) -> None:
    await enrol(call, "told")
    told = await call.done("POST", "/v1/workspaces/told/opt-outs", json=SOME)
    state = await call.done("GET", "/v1/workspaces/told", "auditor")
    by_purpose = {one["purpose"]: one for one in state["purposes"]}
    out, on = by_purpose["ranking.train"], by_purpose["ranking.serve"]
    assert (out["standing"], out["decision"], out["since"]) == (
        "opt_out_requested",
        "deny",
        told["deniedSince"],
    )
    assert out["reasons"] == [{"code": "opt_out_requested", "position": told["position"]}]
    assert (on["standing"], on["decision"]) == ("defaulted_on", "permit")
    assert on["since"] == state["customerSince"] and on["sincePolicyVersion"] == "2025-01"
    assert "nobody was asked" in on["sentence"]
    assert by_purpose["assistant.train"]["reasons"][0]["code"] == "opt_in_missing"


async def test_given_a_replica_that_lags_when_a_workspace_is_read_then_the_log_answers_the_same(
    service: Service,
) -> None:
    call = service.call
    worker = service.dispatcher.worker
    assert worker is not None
    await enrol(call, "lagging")
    await call.done("POST", "/v1/workspaces/lagging/opt-outs", json=SOME)
    fresh = await call.done("GET", "/v1/workspaces/lagging")
    floor = worker.gate.position() + 1_000_000
    highest = worker.floors.highest
    worker.floors.raise_floor("workspace/lagging", floor)  # as after a commit not seen by it yet
    try:
        folded = await call.done("GET", "/v1/workspaces/lagging")
        stale = await call.done(
            "POST", "/v1/check", json={"workspace": "lagging", "purpose": "ranking.serve"}
        )
    finally:
        del worker.floors._floors["workspace/lagging"]
        worker.floors.highest = highest
    assert folded["purposes"] == fresh["purposes"] and folded["version"] == fresh["version"]
    assert (stale["decision"], stale["reasons"][0]["code"]) == ("undecided", "stale")


async def test_given_a_long_history_when_read_by_pages_then_all_of_it_comes_once_and_in_order(
    call: Caller,
) -> None:
    await enrol(call, "long")
    for plan in ("free", "team", "business", "free", "team"):
        await call.done("PATCH", "/v1/workspaces/long", json={"plan": plan})
    whole = (await call.done("GET", "/v1/workspaces/long/history?limit=1000"))["events"]
    pages: list[Any] = []
    after: str | None = "0"
    while after:
        page = await call.done("GET", f"/v1/workspaces/long/history?limit=2&after={after}")
        assert 1 <= len(page["events"]) <= 2
        pages += page["events"]
        after = page.get("next")
    assert pages == whole and len(whole) >= 7


async def test_given_events_when_an_auditor_reads_them_then_they_are_the_stored_bytes_without_a_gap(
    call: Caller,
) -> None:
    answer = await call("GET", "/v1/events?limit=10000", "auditor")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = answer.content.splitlines()
    positions = [int(json.loads(line)["sequence"]) for line in lines]
    assert positions == list(range(1, len(lines) + 1)) and len(lines) > 10
    page = await call("GET", "/v1/events?after=3&limit=2", "auditor")
    assert page.content.splitlines() == lines[3:5]


async def test_given_a_run_in_the_past_when_asked_what_was_known_then_it_answers_as_it_did_then(
    call: Caller,
) -> None:
    await enrol(call, "asked.then")
    asked = {"workspace": "asked.then", "purpose": "ranking.train"}
    before = (await call.done("GET", "/v1/purposes"))["token"]
    then = await call.done("POST", "/v1/check", json={**asked, "atLeast": before})
    told = await call.done("POST", "/v1/workspaces/asked.then/opt-outs", json=SOME)
    now = await call.done("POST", "/v1/check", json=asked)
    past = await call.done("POST", "/v1/check", "auditor", json={**asked, "knownAt": then["token"]})
    assert (then["decision"], past["decision"], now["decision"]) == ("permit", "permit", "deny")
    assert past["token"] == then["token"] and past["reasons"] == then["reasons"]
    msgspec.convert(past, CheckAnswer)
    just_before = datetime.fromisoformat(told["recordedAt"]) - timedelta(microseconds=1)
    dated = await call.done(
        "POST", "/v1/check", json={**asked, "asOf": just_before.astimezone(UTC).isoformat()}
    )
    assert dated["decision"] == "permit"


async def test_given_a_token_not_reached_when_asked_at_least_then_a_second_passes_and_it_is_stale(
    call: Caller,
) -> None:
    asked = {"workspace": "acme", "purpose": "ranking.serve", "atLeast": f"{ORIGIN}/1/999999999"}
    started = asyncio.get_running_loop().time()
    told = await call.done("POST", "/v1/check", json=asked)
    assert WAIT_SECONDS_MIN < asyncio.get_running_loop().time() - started < 5
    assert (told["decision"], told["reasons"][0]["code"]) == ("undecided", "stale")
    other_epoch = await call.done("POST", "/v1/check", json={**asked, "atLeast": f"{ORIGIN}/7/1"})
    assert other_epoch["decision"] == "undecided"


async def test_given_a_batch_of_the_largest_size_when_asked_then_others_are_answered_meanwhile(
    call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["acme", "nobody"] * (checks.BATCH_WORKSPACES_MAX // 2)
    batch = asyncio.create_task(
        call("POST", "/v1/check/batch", "pipeline", json={"workspaces": names, "purpose": "ranking.serve"})
    )
    meanwhile = 0
    while not batch.done():
        await call.done("GET", "/health/live")
        meanwhile += 1
        await asyncio.sleep(0)  # in one process nothing else gives way
    told = (await batch).json()
    assert len(told["permitted"]) == len(told["reasons"]) == len(names)
    assert not any(told["permitted"][1::2])
    assert meanwhile > 5


async def test_given_requests_when_listed_then_state_overdue_and_pages_narrow_them_down(
    service: Service,
) -> None:
    call = service.call
    await enrol(call, "listed")
    told = [await call.done("POST", "/v1/workspaces/listed/opt-outs", json=SOME) for _ in range(3)]
    await call.done("POST", f"{told[0]['statusUrl']}/process", json={})
    await project(service.database_url, "requests")
    listed = await call.done("GET", "/v1/requests?limit=1000")
    by_id = {one["request"]: one for one in listed["requests"]}
    assert by_id[told[0]["request"]]["state"] == "processed"
    assert listed["last90Days"]["median"] >= 0
    still_open = await call.done("GET", "/v1/requests?state=open&limit=1000")
    assert told[0]["request"] not in [one["request"] for one in still_open["requests"]]
    assert (await call.done("GET", "/v1/requests?overdue=true"))["requests"] == []
    pages: list[str] = []
    after = ""
    while True:
        page = await call.done("GET", "/v1/requests?limit=2" + (f"&after={after}" if after else ""))
        pages += [one["request"] for one in page["requests"]]
        if "next" not in page:
            break
        after = page["next"]
    assert pages == list(by_id)
    own = await call.done("GET", "/v1/requests?limit=1000", "workspace/acme")
    assert {one["scope"]["id"] for one in own["requests"]} <= {"acme"}


async def test_given_a_gate_when_it_asks_the_feed_then_it_gets_a_signed_page_or_the_reason(
    service: Service,
) -> None:
    call = service.call
    position = int((await call.done("GET", "/v1/purposes"))["token"].rpartition("/")[2])
    await project(service.database_url, "facts")
    question = {"consent-question": "mine-1"}
    answer = await call("GET", "/v1/feed/changes?after=0", "pipeline", headers=question)
    assert answer.headers["consent-question"] == "mine-1"
    page = decode_page(decode_signed(answer.content).message)
    assert page.origin == ORIGIN and page.rows
    refusals = {f"other/1/{position}": "other_origin", f"{ORIGIN}/1/99999999": "forked", "x": "invalid_token"}
    for token, code in refusals.items():
        refused = await call("GET", "/v1/feed/changes", "pipeline", params={"after": token})
        assert refused.json()["code"] == code
    started = asyncio.get_running_loop().time()
    waited = await call("GET", "/v1/feed/changes", "pipeline", params={"after": str(page.token)})
    assert waited.status_code == 200
    assert WAIT_SECONDS_MIN < asyncio.get_running_loop().time() - started < 5


async def test_given_an_opened_ledger_when_history_is_imported_then_each_line_is_refused_and_told(
    call: Caller,
) -> None:
    line = {"command": "import-workspace", "workspace": "late", "plan": "p", "region": "eu"}
    line["customerSince"] = "2020-01-01T00:00:00Z"
    body = json.dumps(line).encode() + b"\n" + b"no json\n"
    answer = await call("POST", "/v1/import", content=body, headers={"content-type": "application/x-ndjson"})
    told = answer.json()
    assert (answer.status_code, told["lines"], told["applied"], told["refused"]) == (200, 2, 0, 2)
    assert [one["code"] for one in told["refusals"]] in (
        ["malformed", "wrong_state"],
        ["wrong_state", "malformed"],
    )


async def test_given_the_page_of_the_api_when_opened_then_it_may_load_nothing_from_elsewhere(
    service: Service,
) -> None:
    answer = await service.call("GET", "/docs", None)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    described = (await service.call("GET", "/v1/openapi.json", None)).json()
    assert described["openapi"] == "3.1.0" and "/v1/check" in described["paths"]
