"""Given registered runs, when `consent runs` and `consent coverage` ask, then gaps and withdrawals show."""

from __future__ import annotations

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from consent_command import TRAIN, Stack, consent
from consent_gate.coverage import Against, Asset, as_html, covered
from pyroaring import BitMap64

UNTIL_SECONDS_MAX = 20.0


def got(stack: Stack, path: str, role: str = "auditor", **asked: str) -> Any:
    headers = {"authorization": f"Bearer {stack.keys[role]}"}
    answer = httpx.get(stack.url + path, headers=headers, params=asked, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def prepared(stack: Stack, path: Path, run: str, names: Iterable[str], **more: Any) -> str:
    """A file as `Prepared.encode` writes it, claiming the permits of `names` as of now."""
    ordinals = [int(got(stack, f"/v1/workspaces/{name}")["enrolledPosition"]) for name in names]
    token = got(stack, "/v1/purposes")["token"]
    asked = {"workspace": stack.on[0], "purpose": TRAIN, "knownAt": token}
    moment = stack.post("/v1/check", asked, "pipeline")
    data = BitMap64(ordinals).serialize()
    manifest = {
        "format": "consent-manifest.v1",
        "run": run,
        "purpose": TRAIN,
        "categories": [],
        "token": moment["token"],
        "at": moment["ledgerTime"],
        "policyVersion": moment["policyVersion"],
        "mode": "server",
        "collected": "rows",
        "workspaces": str(len(ordinals)),
        "setSha256": hashlib.sha256(data).hexdigest(),
        **more,
    }
    path.write_text(json.dumps({"manifest": manifest, "set": b64encode(data).decode()}))
    return str(path)


def listed(stack: Stack, run: str) -> None:
    """Wait until the views know a run."""
    deadline = time.monotonic() + UNTIL_SECONDS_MAX
    while all(one["run"] != run for one in got(stack, "/v1/runs")["runs"]):
        assert time.monotonic() < deadline, "the view did not catch up"
        time.sleep(0.05)


def outputs(*uris: str) -> list[dict[str, str]]:
    return [{"kind": "model" if uri.startswith("models:") else "dataset", "uri": uri} for uri in uris]


def test_a_true_manifest_is_registered_listed_and_explained(stack: Stack, tmp_path: Path) -> None:
    used, other = stack.on[10], stack.on[11]
    file = prepared(stack, tmp_path / "run.json", "cli-run", [used], outputs=outputs("s3://cli"))
    ran = consent("runs", "register", file, **stack.settings())
    assert ran.code == 0, ran.err
    assert "cli-run is registered at" in ran.out
    again = consent("runs", "register", file, "--json", **stack.settings())
    assert (again.code, again.told["replayed"]) == (0, True), "sent twice it is one run"
    listed(stack, "cli-run")
    audit = stack.settings("auditor")
    assert "s3://cli" in consent("runs", "list", "--workspace", used, **audit).out
    assert consent("runs", "list", "--workspace", other, "--json", **audit).told == []
    ran = consent("runs", "explain", "cli-run", used, **audit)
    assert (ran.code, "used data of" in ran.out) == (0, True), ran.err
    assert "used no data of" in consent("runs", "explain", "cli-run", other, **audit).out
    assert consent("runs", "explain", "no-run", used, **audit).code == 2


def test_a_manifest_that_claims_too_much_is_refused_with_2_and_says_who(stack: Stack, tmp_path: Path) -> None:
    file = prepared(stack, tmp_path / "run.json", "too-much", [stack.on[0], stack.out[0]])
    ran = consent("runs", "register", file, **stack.settings())
    assert ran.code == 2
    assert stack.out[0] in ran.err and "manifest_refused" in ran.err


@pytest.mark.parametrize("content", ["", "{}", "[" * 10_000, '{"manifest":1,"set":""}', "\x00\xff"])
def test_a_file_that_is_no_manifest_is_refused(stack: Stack, tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    ran = consent("runs", "register", str(path), **stack.settings())
    assert (ran.code, "invalid_value" in ran.err) == (2, True)
    assert consent("runs", "register", str(tmp_path / "none"), **stack.settings()).code == 2


def test_coverage_tells_what_has_no_manifest_and_what_somebody_withdrew_from(
    stack: Stack, tmp_path: Path
) -> None:
    leaves = stack.on[20]
    for run, names, uri in (("cov-a", [stack.on[21]], "s3://a"), ("cov-b", [leaves], "models:/b")):
        file = prepared(stack, tmp_path / run, run, names, outputs=outputs(uri), code="git:1")
        assert consent("runs", "register", file, **stack.settings()).code == 0
        listed(stack, run)
    table = tmp_path / "inventory.csv"
    table.write_text("kind,name,version,run\ndataset,s3://a,,\njob,git:1,,cov-a\n")
    audit = stack.settings("auditor")
    ran = consent("coverage", str(table), **audit)
    assert ran.code == 0, ran.out + ran.err
    table.write_text("kind,name\ndataset,s3://a\nmodel,models:/b\nmodel,models:/<script>\n")
    body = {
        "selector": {"all": True},
        "applicant": {"role": "owner", "authority": "verified"},
        "reach": ["models"],
    }
    stack.post(f"/v1/workspaces/{leaves}/opt-outs", body)
    deadline = time.monotonic() + UNTIL_SECONDS_MAX
    page = tmp_path / "page.html"
    while True:
        ran = consent("coverage", str(table), "--json", "--html", str(page), **audit)
        states = [one["state"] for one in ran.told["assets"]]
        if states == ["covered", "outdated", "no_manifest"]:
            break
        assert time.monotonic() < deadline, states
        time.sleep(0.1)
    assert ran.code == 1
    assert leaves in ran.told["assets"][1]["why"]
    assert "<script>" not in page.read_text() and "&lt;script&gt;" in page.read_text()


@pytest.mark.parametrize(
    "content",
    ["", "kind,name\n", "name\na\n", "kind,name,extra\nmodel,a,b\n", "kind,name\nrumour,a\n",
     "kind,name\nmodel\n", "kind,name\nmodel,a,b\n", "kind,name\nmodel,\n"],
)  # fmt: skip
def test_an_inventory_that_is_none_or_empty_is_refused_and_covers_nothing(
    stack: Stack, tmp_path: Path, content: str
) -> None:
    table = tmp_path / "inventory.csv"
    table.write_text(content)
    assert consent("coverage", str(table), **stack.settings("auditor")).code == 2


# -- without a ledger ----------------------------------------------------------------------------------------

RUNS = [
    {"run": "old", "outputs": [{"kind": "model", "uri": "m", "version": "1"}]},
    {"run": "new", "outputs": [{"kind": "model", "uri": "m", "version": "2"}], "code": "git:2"},
]


def test_the_newest_run_that_names_an_asset_covers_it_and_a_version_must_be_the_same() -> None:
    asked: list[str] = []

    def against(run: str) -> Against:
        asked.append(run)
        return Against([], [])

    assets = [
        Asset("model", "m"), Asset("model", "m", "1"), Asset("model", "m", "3"), Asset("job", "git:2"),
        Asset("model", "m", "", "old"), Asset("job", "other"), Asset("model", "m", "2", "old"),
    ]  # fmt: skip
    found = covered(assets, RUNS, against)
    assert [one.run for one in found] == ["new", "old", "", "new", "old", "", ""]
    assert sorted(asked) == ["new", "old"], "a run is asked about once"


def test_an_obligation_that_names_no_output_concerns_every_asset_of_the_run() -> None:
    owed = {"workspace": "w", "because": "opt_out", "dueAt": "2026-01-01", "outputs": [{"open": True}]}
    (one,) = covered([Asset("model", "m")], RUNS, lambda run: Against([owed], []))
    assert (one.state, one.due_at) == ("outdated", "2026-01-01")
    done = {**owed, "outputs": [{"open": False}]}
    assert covered([Asset("model", "m")], RUNS, lambda run: Against([done], [done]))[0].state == "covered"
    other = {**owed, "outputs": [{"open": True, "uri": "another"}]}
    assert covered([Asset("model", "m")], RUNS, lambda run: Against([other], [other]))[0].state == "covered"


def test_an_objection_alone_does_not_leave_an_asset_covered_and_what_is_due_comes_first() -> None:
    objection = {"workspace": "w", "because": "opt_out", "outputs": [{"open": True, "uri": "m"}]}
    (one,) = covered([Asset("model", "m")], RUNS, lambda run: Against([], [objection]))
    assert (one.state, one.due_at) == ("objected", "") and "w" in one.why and "opt_out" in one.why
    owed = {**objection, "workspace": "other", "dueAt": "2026-01-01"}
    (one,) = covered([Asset("model", "m")], RUNS, lambda run: Against([owed], [objection]))
    assert (one.state, one.due_at) == ("outdated", "2026-01-01")


def test_coverage_tells_of_somebody_who_opted_out_and_asked_for_nothing_back(
    stack: Stack, tmp_path: Path
) -> None:
    leaves = stack.on[22]
    file = prepared(stack, tmp_path / "run", "cov-c", [leaves], outputs=outputs("models:/c"))
    assert consent("runs", "register", file, **stack.settings()).code == 0
    listed(stack, "cov-c")
    table = tmp_path / "inventory.csv"
    table.write_text("kind,name\nmodel,models:/c\n")
    audit = stack.settings("auditor")
    assert consent("coverage", str(table), **audit).code == 0
    body = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}
    stack.post(f"/v1/workspaces/{leaves}/opt-outs", body)
    deadline = time.monotonic() + UNTIL_SECONDS_MAX
    while (ran := consent("coverage", str(table), **audit)).code == 0:
        assert time.monotonic() < deadline, ran.out
        time.sleep(0.1)
    assert ran.code == 1 and "objected" in ran.out and leaves in ran.out and "1 not covered" in ran.out


def test_a_page_says_all_states() -> None:
    page = as_html(
        covered([Asset("model", "m"), Asset("job", "?")], RUNS, lambda run: Against([], [])), "a/b/1/2"
    )
    assert "1 covered, 0 outdated, 0 objected to, 1 without a manifest" in page
