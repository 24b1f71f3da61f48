"""Given a job, when its manifest is made, then it claims what was used and no more, and is taken."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from consent_domain.errors import ConsentError
from consent_domain.manifest import Input
from consent_gate.manifests import Prepared, dataset, encode_set, model, ordinals_of, prepare, read
from msgspec.structs import replace
from pyroaring import BitMap64
from registered import OWNER, PURPOSE, Registry


def rows(*names: str, **more: Any) -> list[dict[str, Any]]:
    return [{"workspace": name, **more} for name in names]


async def prepared(
    ledger: Registry, run: str, data: list[dict[str, Any]], collected: str | None = None, **more: Any
) -> Prepared:
    """The manifest of a job that filtered `data`."""

    def work() -> Prepared:
        with ledger.gate.job(PURPOSE) as job:
            list(job.filter(data, "workspace", collected))
            return prepare(job, run, **{"outputs": [model("models:/m", "1"), dataset("s3://d")], **more})

    return await asyncio.to_thread(work)


async def sent(ledger: Registry, what: Prepared) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await ledger.call("POST", "/v1/runs", "pipeline", content=what.encode(), headers=headers)


def names_in(ledger: Registry, what: Prepared) -> set[str]:
    known = {ordinal: name for name, ordinal in ledger.ordinals.items()}
    return {known[ordinal] for ordinal in BitMap64.deserialize(what.set)}


async def test_given_a_job_when_its_manifest_is_sent_then_the_ledger_takes_it(ledger: Registry) -> None:
    await ledger.enrol("out")
    await ledger.opt_out("out")
    inputs = [Input(uri="s3://raw", rows="4")]
    what = await prepared(ledger, "job", rows("acme", "other", "out", "nobody"), inputs=inputs, code="git:1")
    assert names_in(ledger, what) == {"acme", "other"}
    manifest = what.manifest
    assert (manifest.rows_in, manifest.rows_out, manifest.workspaces) == ("4", "2", "2")
    assert manifest.reasons == {"defaulted_on": "2", "opt_out_requested": "1", "unknown_workspace": "1"}
    assert (manifest.collected, manifest.overtaken) == ("unstated", False)
    answer = await sent(ledger, what)
    assert answer.status_code == 201, answer.text


async def test_given_no_collection_times_then_who_is_permitted_for_some_times_only_is_not_in_the_set(
    ledger: Registry,
) -> None:
    await ledger.enrol("windowed")
    told = await ledger.opt_out("windowed", reach=())
    await ledger.call.done("POST", f"/v1/requests/{told['request']}/withdraw", json={"applicant": OWNER})
    unstated = await prepared(ledger, "unstated", rows("acme", "windowed"))
    assert names_in(ledger, unstated) == {"acme"}
    state = await ledger.call.done("GET", "/v1/workspaces/windowed")
    stated = await prepared(
        ledger, "stated", rows("acme", "windowed", at=datetime.fromisoformat(state["ledgerTime"])), "at"
    )
    assert stated.manifest.collected == "rows"
    assert names_in(ledger, stated) == {"acme", "windowed"}
    for what in (unstated, stated):
        answer = await sent(ledger, what)
        assert answer.status_code == 201, answer.text


async def test_given_a_withdrawal_while_the_job_ran_then_the_manifest_says_so_and_it_is_due_at_once(
    ledger: Registry,
) -> None:
    await ledger.enrol("leaver")

    def begun() -> Any:
        job = ledger.gate.job(PURPOSE)
        list(job.filter(rows("acme", "leaver"), "workspace"))
        return job

    job = await asyncio.to_thread(begun)
    try:
        await ledger.opt_out("leaver")
        what = await asyncio.to_thread(prepare, job, "spanning", outputs=[model("models:/s")])
    finally:
        await asyncio.to_thread(job.close)
    assert what.manifest.overtaken
    assert (await sent(ledger, what)).status_code == 201
    await ledger.projected()
    due = await ledger.call.done("GET", "/v1/obligations", params={"workspace": "leaver", "open": "true"})
    assert [one["run"] for one in due["obligations"]] == ["spanning"]


async def test_given_a_manifest_that_was_changed_by_hand_then_refused(ledger: Registry) -> None:
    await ledger.enrol("never", kind="sandbox")
    what = await prepared(ledger, "changed", rows("acme"))
    data = encode_set([ledger.ordinals["acme"], ledger.ordinals["never"]])
    bigger = {"workspaces": "2", "set_sha256": hashlib.sha256(data).hexdigest()}
    answer = await sent(ledger, Prepared(replace(what.manifest, **bigger), data))
    assert answer.json()["code"] == "manifest_refused"


async def test_given_what_no_manifest_may_say_then_it_is_not_even_made(ledger: Registry) -> None:
    for more in ({"outputs": [model("")]}, {"parents": ["a/b"]}, {"code": "x" * 5_000}):
        with pytest.raises(ConsentError):
            await prepared(ledger, "bad", rows("acme"), **more)
    with pytest.raises(ConsentError):
        await prepared(ledger, "no id at all", rows("acme"))
    with pytest.raises(ConsentError, match="unknown_workspace"):
        ordinals_of(ledger.gate.replica, ["nobody"])


async def test_given_a_file_when_read_again_then_it_is_the_same(ledger: Registry, tmp_path: Path) -> None:
    what = await prepared(ledger, "kept", rows("acme"))
    file = tmp_path / "run.json"
    file.write_bytes(what.encode())
    assert read(file) == what
