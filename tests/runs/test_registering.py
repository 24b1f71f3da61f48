"""Given a manifest, when it claims a permit that the ledger never gave, then it is refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import struct
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from consent_domain.manifest import SIGNED_CONTEXT, decode, encode
from pyroaring import BitMap64
from registered import Registry

# -- claims that are not true --------------------------------------------------------------------------------


async def test_given_an_opted_out_workspace_in_the_set_then_it_is_named_with_its_reason(
    ledger: Registry,
) -> None:
    await ledger.enrol("objector")
    await ledger.opt_out("objector")
    told = await ledger.refused(await ledger.manifest("with-objector", ["acme", "objector"]))
    (denied,) = told["denied"]
    assert denied == {
        "ordinal": str(ledger.ordinals["objector"]),
        "workspace": "objector",
        "reasons": ["opt_out_requested"],
    }


async def test_given_an_opt_out_after_the_position_then_what_was_permitted_then_still_was(
    ledger: Registry,
) -> None:
    await ledger.enrol("later")
    before = await ledger.manifest("before-objection", ["acme", "later"])
    await ledger.opt_out("later")
    await ledger.projected()
    assert (await ledger.post(before)).status_code == 201
    after = await ledger.manifest("after-objection", ["acme", "later"])
    assert [one["workspace"] for one in (await ledger.refused(after))["denied"]] == ["later"]


async def test_given_many_who_were_not_permitted_then_ten_are_named(ledger: Registry) -> None:
    names = [f"out{number}" for number in range(12)]
    await ledger.enrol(*names, kind="sandbox")
    told = await ledger.refused(await ledger.manifest("many", ["acme", *names]))
    assert len(told["denied"]) == 10


@pytest.mark.parametrize("shift", [1, -1, 1 << 20, 1 << 40])
async def test_given_an_ordinal_that_is_no_workspace_then_refused(ledger: Registry, shift: int) -> None:
    body = ledger.body("nobody", [ledger.ordinals["acme"] + shift], **(await ledger.moment()))
    await ledger.refused(body)


async def test_given_a_set_of_another_hash_then_refused(ledger: Registry) -> None:
    body = await ledger.manifest("other-hash", ["acme"], setSha256="00" * 32)
    await ledger.refused(body)


async def test_given_another_number_of_workspaces_then_refused(ledger: Registry) -> None:
    await ledger.refused(await ledger.manifest("fewer", ["acme", "other"], workspaces="1"))


async def test_given_a_position_ahead_then_refused(ledger: Registry) -> None:
    moment = await ledger.moment()
    log, _, position = moment["token"].rpartition("/")
    ahead = {**moment, "token": f"{log}/{int(position) + 1}"}
    await ledger.refused(ledger.body("ahead", [ledger.ordinals["acme"]], **ahead))


@pytest.mark.parametrize("log", ["consent.test/ledger/2", "consent.other/ledger/1"])
async def test_given_a_token_of_another_epoch_or_log_then_refused(ledger: Registry, log: str) -> None:
    moment = await ledger.moment()
    position = moment["token"].rpartition("/")[2]
    other = {**moment, "token": f"{log}/{position}"}
    await ledger.refused(ledger.body("elsewhere", [ledger.ordinals["acme"]], **other))


async def test_given_a_time_in_the_future_then_refused(ledger: Registry) -> None:
    moment = {**(await ledger.moment()), "at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    await ledger.refused(ledger.body("future", [ledger.ordinals["acme"]], **moment))


async def test_given_a_time_before_the_position_was_recorded_then_refused(ledger: Registry) -> None:
    moment = {**(await ledger.moment()), "at": "2025-06-01T00:00:00Z"}
    await ledger.refused(ledger.body("early", [ledger.ordinals["acme"]], **moment))


async def test_given_a_position_that_was_old_at_that_time_then_refused(ledger: Registry) -> None:
    """The ledger would have said no by then: (old position, later time) is an answer that it never gave."""
    old = await ledger.moment()
    await ledger.enrol("between")
    connection = await asyncpg.connect(ledger.database_url, timeout=10)
    try:  # let an hour pass
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE ledger.events SET recorded_at = recorded_at - interval '1 hour'")
        body = ledger.body("old", [ledger.ordinals["acme"]], token=old["token"], at=old["at"])
        assert "did not answer" in (await ledger.refused(body))["detail"]
    finally:
        await connection.execute("UPDATE ledger.events SET recorded_at = recorded_at + interval '1 hour'")
        await connection.close(timeout=10)


async def test_given_collection_times_wider_than_the_windows_then_refused(ledger: Registry) -> None:
    state = await ledger.call.done("GET", "/v1/workspaces/acme")
    since = datetime.fromisoformat(state["customerSince"])
    before, now = (since - timedelta(days=1)).isoformat(), (await ledger.moment())["at"]
    wide = await ledger.manifest("wide", ["acme"], collected="range", collectedFrom=before, collectedTo=now)
    told = await ledger.refused(wide)
    assert told["denied"][0]["reasons"] == ["before_enrolment"]
    exact = {**wide["manifest"], "run": "exact", "collectedFrom": since.isoformat()}
    assert (await ledger.post({**wide, "manifest": exact})).status_code == 201


async def test_given_a_category_that_the_purpose_does_not_take_then_refused(ledger: Registry) -> None:
    await ledger.refused(await ledger.manifest("files", ["acme"], categories=["files"]))


async def test_given_no_categories_member_then_it_is_no_manifest(ledger: Registry) -> None:
    await ledger.refused(await ledger.manifest("silent", ["acme"], categories=None), "malformed")


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("policyVersion", "2024-12", "manifest_refused"),
        ("purpose", "ranking.invented", "manifest_refused"),
        ("purpose", "assistant.train", "manifest_refused"),
        ("parents", ["nobody-registered-this"], "unknown_run"),
        ("parents", ["self"], "invalid_value"),
        ("mode", "guess", "invalid_value"),
        ("collected", "whenever", "invalid_value"),
        ("collectedFrom", "2026-01-01T00:00:00Z", "invalid_value"),
        ("format", "consent-manifest.v2", "invalid_value"),
        ("workspaces", "one", "invalid_value"),
        ("rowsIn", "-1", "invalid_value"),
        ("at", "2026-01-01T00:00:00", "malformed"),
        ("token", "nonsense", "invalid_token"),
        ("run", "a/b", "invalid_id"),
        ("outputs", [{"kind": "rumour", "uri": "x"}], "invalid_value"),
        ("code", "x" * 2_000, "invalid_value"),
        ("invented", "member", "malformed"),
    ],
)
async def test_given_a_manifest_that_says_what_cannot_be_then_refused_with_the_member(
    ledger: Registry, member: str, value: Any, code: str
) -> None:
    body = await ledger.manifest("self", ["acme"])
    body["manifest"][member] = value
    answer = await ledger.post(body)
    told = answer.json()
    accepted = {code, "invalid_time"} if member == "at" else {code}
    assert told.get("code") in accepted, answer.text


async def test_given_who_is_no_pipeline_then_nothing_can_be_registered(ledger: Registry) -> None:
    body = await ledger.manifest("not-mine", ["acme"])
    for by in ("auditor", "workspace/acme"):
        assert (await ledger.post(body, by)).json()["code"] == "forbidden"
    command = {"command": "register-run", "run": "x", "purpose": "y"}
    told = await ledger.call.done("POST", "/v1/commands", json={"commands": [command]})
    assert told["verdicts"][0]["code"] == "malformed"


# -- sets that are none --------------------------------------------------------------------------------------


def _bomb() -> bytes:
    """A few megabytes that stand for billions of ordinals: full containers, as runs."""
    whole = struct.pack("<IB", 0x003B | (255 << 16), 0xFF) + b"\xff" * 31
    keys = b"".join(struct.pack("<HH", key, 0xFFFF) for key in range(256))
    first = len(whole) + len(keys) + 4 * 256
    offsets = b"".join(struct.pack("<I", first + 6 * number) for number in range(256))
    part = whole + keys + offsets + struct.pack("<HHH", 1, 0, 0xFFFF) * 256
    return struct.pack("<Q", 40) + b"".join(struct.pack("<I", high) + part for high in range(40))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\xff" * 64, b"\x01" + bytes(7), struct.pack("<Q", 1 << 60), _bomb()],
    ids=["empty", "a byte", "ones", "one key and no more", "a count past all", "billions"],
)
async def test_given_bytes_that_are_no_set_then_refused_and_the_service_goes_on(
    ledger: Registry, data: bytes
) -> None:
    body = ledger.body("bytes", [], **(await ledger.moment()), data=data, workspaces="1")
    await ledger.refused(body, "invalid_value")


async def test_given_a_set_that_was_damaged_at_random_then_refused_and_the_service_goes_on(
    ledger: Registry,
) -> None:
    seeded = random.Random(7)
    good = BitMap64([*range(0, 70_000, 2), 1 << 33, 1 << 40]).serialize()
    moment = await ledger.moment()
    for number in range(60):
        data = bytearray(good)
        for _ in range(seeded.randint(1, 4)):
            data[seeded.randrange(0, 200)] = seeded.randrange(256)
        body = ledger.body(f"damaged-{number}", [], **moment, data=bytes(data), workspaces="35002")
        assert (await ledger.post(body)).json()["code"] in ("invalid_value", "manifest_refused")


async def test_given_a_set_that_is_no_base64_then_malformed(ledger: Registry) -> None:
    body = await ledger.manifest("base", ["acme"])
    await ledger.refused({**body, "set": "***"}, "malformed")


# -- claims that are true ------------------------------------------------------------------------------------


async def test_given_a_true_manifest_then_it_is_recorded_kept_and_signed(ledger: Registry) -> None:
    body = await ledger.manifest("good", ["acme", "other"], code="git:4f2a", rowsIn="10", rowsOut="9")
    answer = await ledger.post(body)
    told = answer.json()
    assert answer.status_code == 201, answer.text
    read = await ledger.call.done("GET", "/v1/runs/good", "auditor")
    encoded = encode(decode(json.dumps(read["manifest"]).encode()))
    digest = hashlib.sha256(encoded).digest()
    assert told["manifestSha256"] == read["manifestSha256"] == digest.hex()
    assert read["setSha256"] == body["manifest"]["setSha256"]
    for signature in (told["signature"], read["signature"]):
        ledger.verifier.verify(SIGNED_CONTEXT, digest, ledger.verifier.key_hash, b64decode(signature))
    assert told["proofUrl"] == f"/v1/events/{told['position']}/proof"
    assert (read["code"], read["token"]) == ("git:4f2a", body["manifest"]["token"])


async def test_given_the_same_run_twice_then_the_second_is_refused_and_a_key_repeats_the_answer(
    ledger: Registry,
) -> None:
    body = await ledger.manifest("twice", ["acme"])
    key = {"headers": {"idempotency-key": "twice-1"}}
    first = await ledger.post(body, **key)
    again = await ledger.post(body, **key)
    assert again.json()["position"] == first.json()["position"]
    assert again.json()["replayed"] is True
    await ledger.refused(body, "already_exists")


async def test_given_two_manifests_of_one_run_at_once_then_one_is_recorded_and_the_other_refused(
    ledger: Registry,
) -> None:
    await ledger.enrol("racer")
    bodies = [await ledger.manifest("raced", ["racer"], code=f"git:{number}") for number in range(6)]
    answers = await asyncio.gather(*(ledger.post(body) for body in bodies))
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409, 409, 409]
    (winner,) = [number for number, one in enumerate(answers) if one.status_code == 201]
    await ledger.projected()
    listed = await ledger.call.done("GET", "/v1/runs", params={"workspace": "racer"})
    assert [(run["run"], run["code"]) for run in listed["runs"]] == [("raced", f"git:{winner}")]


async def test_given_one_manifest_sent_several_times_at_once_then_it_is_recorded_once(
    ledger: Registry,
) -> None:
    await ledger.enrol("sender")
    body = await ledger.manifest("sent", ["sender"])
    key = {"idempotency-key": "sent-manifest"}
    answers = await asyncio.gather(*(ledger.post(body, headers=key) for _ in range(6)))
    assert {one.status_code for one in answers} == {201}, [one.text for one in answers]
    assert len({one.json()["position"] for one in answers}) == 1


async def test_given_a_dry_run_then_nothing_is_recorded_or_signed(ledger: Registry) -> None:
    body = await ledger.manifest("dry", ["acme"])
    told = (await ledger.post(body, params={"dryRun": "true"})).json()
    assert told["dryRun"] is True and "signature" not in told and "position" not in told
    assert (await ledger.call("GET", "/v1/runs/dry")).json()["code"] == "unknown_run"


async def test_given_nobody_in_the_set_then_it_is_a_run_like_any_other(ledger: Registry) -> None:
    await ledger.register("nobody-at-all", [])


async def test_given_workspaces_of_an_organisation_and_with_histories_then_each_is_judged_by_its_own(
    ledger: Registry,
) -> None:
    await ledger.call.done("POST", "/v1/organisations", json={"organisation": "group"})
    await ledger.enrol("member", organisation="group")
    await ledger.enrol("changed")
    await ledger.call.done("PATCH", "/v1/workspaces/changed", json={"plan": "free"})
    await ledger.enrol("heir")
    await ledger.call.done(
        "POST", "/v1/workspaces/heir/succeed", json={"predecessor": "changed", "kind": "merge"}
    )
    # The predecessor was closed by it.
    await ledger.register("histories", ["member", "heir"])
    before = await ledger.manifest("of-the-organisation", ["member"])
    body = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}
    await ledger.call.done("POST", "/v1/organisations/group/opt-outs", json=body)
    told = await ledger.refused(await ledger.manifest("group-said-no", ["member", "heir"]))
    assert [one["workspace"] for one in told["denied"]] == ["member"]
    assert (await ledger.post(before)).status_code == 201


async def test_given_rows_judged_one_by_one_then_a_workspace_with_some_window_may_be_in_the_set(
    ledger: Registry,
) -> None:
    await ledger.enrol("windowed")
    told = await ledger.opt_out("windowed", reach=())
    await ledger.call.done(
        "POST",
        f"/v1/requests/{told['request']}/withdraw",
        json={"applicant": {"role": "owner", "authority": "verified"}},
    )
    unstated = await ledger.manifest("all-the-past", ["windowed"])
    assert (await ledger.refused(unstated))["denied"][0]["reasons"][0] == "collected_unstated"
    await ledger.register("row-by-row", ["windowed"], collected="rows")
    await ledger.enrol("never", kind="sandbox")
    await ledger.refused(await ledger.manifest("row-by-row-2", ["never"], collected="rows"))


def test_given_a_manifest_when_encoded_then_decoding_gives_the_same_bytes_again() -> None:
    manifest = {
        "run": "r", "purpose": "p", "categories": [], "token": "a/b/1/2", "at": "2026-01-01T00:00:00Z",
        "policyVersion": "1", "mode": "replica", "collected": "unstated", "workspaces": "0",
        "setSha256": "00" * 32, "reasons": {"b": "2", "a": "1"},
    }  # fmt: skip
    once = encode(decode(json.dumps(manifest).encode()))
    assert encode(decode(once)) == once
    assert once.index(b'"a":"1"') < once.index(b'"b":"2"')
    assert b64encode(once)
