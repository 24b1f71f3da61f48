"""`consent simulate`: what a policy would change, the exit code that stops a pipeline, nothing published."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from consent_command import ROOT, TRAIN, Ran, Stack, consent

EXAMPLES = ROOT / "examples" / "policies"
STRICTER = EXAMPLES / "3-non-generative-only" / "publish-as-stricter.json"
EDITORIAL = EXAMPLES / "3-non-generative-only" / "publish-as-editorial.json"
SOON = "2098-01-01T00:00:00Z"
TOLD_AT = "2024-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replica that lasts, as a user's does."""
    return tmp_path_factory.mktemp("replica") / "replica"


@pytest.fixture(autouse=True)
def replica(elsewhere: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command follows into the same one."""
    monkeypatch.setenv("CONSENT_REPLICA", str(folder))


def simulate(stack: Stack, policy: Path, *words: str) -> Ran:
    return consent("simulate", str(policy), *words, **stack.settings())


def written(folder: Path, **changes: Any) -> Path:
    """The stricter example, changed, to take effect later."""
    policy = json.loads(STRICTER.read_text()) | {"version": "candidate", "effectiveAt": SOON} | changes
    path = folder / "policy.json"
    path.write_text(json.dumps(policy))
    return path


def wider(folder: Path) -> Path:
    """A version that nobody's contract or plan excludes from."""
    rules = json.loads(STRICTER.read_text())["rules"] | {"exclusions": []}
    for rule in rules["rules"]:
        rule["regime"] = "opt_out" if rule["regime"] == "prohibited" else rule["regime"]
    notice = {"givenAt": TOLD_AT, "channel": "mail"}
    return written(folder, direction="looser", rules=rules, notice=notice)


def versions(stack: Stack) -> tuple[int, list[str]]:
    """How many events the ledger has, and which versions of the policy."""
    headers = {"authorization": f"Bearer {stack.keys['pipeline']}"}
    found = httpx.get(f"{stack.url}/v1/policies", headers=headers).json()["policies"]
    position = httpx.get(f"{stack.url}/health/ready").json()["position"]
    return int(position), [one["version"] for one in found]


def purpose_of(told: Any, key: str, category: str = "") -> Any:
    (found,) = (one for one in told["purposes"] if (one["purpose"], one["category"]) == (key, category))
    return found


def test_given_a_stricter_policy_when_simulated_then_it_is_0_and_says_who_is_newly_denied(
    stack: Stack,
) -> None:
    before = versions(stack)
    ran = simulate(stack, STRICTER, "--json", "--by", "class", "--by", "organisation")
    assert ran.code == 0, ran.err
    told = ran.told
    assert (told["widens"], told["version"], told["comparedWith"]) == (False, "2024-05", "2023-09")
    generative = purpose_of(told, "train.generative")
    assert (generative["after"], generative["newlyPermitted"]) == (0, 0)
    assert generative["before"] == generative["newlyDenied"] > 200
    assert generative["reasons"] == [
        {
            "change": "newlyDenied",
            "before": "defaulted_on",
            "after": "prohibited_by_policy",
            "workspaces": generative["before"],
        }
    ]
    assert sum(one["newlyDenied"] for one in generative["by"]["class"]) == generative["before"]
    assert set(generative["by"]) == {"class", "organisation"}
    assert len(generative["samples"]["newlyDenied"]) == 5
    # Other tests of the folder opted some of the same ledger out before.
    assert told["workspaces"] >= 301
    assert generative["before"] <= told["concerned"]["newlyDenied"] <= told["workspaces"]
    assert told["differences"]
    assert versions(stack) == before, "nothing was published"


def test_given_a_looser_policy_when_simulated_then_it_is_1_and_says_so_before_all_else(
    stack: Stack, tmp_path: Path
) -> None:
    ran = simulate(stack, wider(tmp_path))
    assert ran.code == 1, ran.err
    assert "IT WIDENS USE" in ran.out.splitlines()[2]
    assert ran.out.index("newly permitted: share.third_party_model") < ran.out.index("newly denied: ")
    assert "unknown_purpose → defaulted_on" in ran.out
    allowed = simulate(stack, wider(tmp_path), "--allow-widening", "--json")
    assert (allowed.code, allowed.told["widens"]) == (0, True)


def test_given_a_policy_when_simulated_then_it_decides_as_the_ledger_would_with_it(
    stack: Stack, tmp_path: Path
) -> None:
    """The same question asked by `check --with`, workspace by workspace."""
    policy = json.loads(STRICTER.read_text())
    event = {"type": "policy-published.v1", "subject": "policy/principles", "data": policy}
    del policy["command"]
    (tmp_path / "event.json").write_text(json.dumps(event))
    listed = tmp_path / "changed.csv"
    assert simulate(stack, STRICTER, "--list", str(listed), "--purpose", "train.generative").code == 0
    with listed.open(newline="") as file:
        rows = {row["workspace"]: row for row in csv.DictReader(file)}
    recent = ["--collected", "2024-06-01T00:00:00Z", "--with", str(tmp_path / "event.json"), "--json"]
    for workspace in (stack.on[20], stack.out[1], stack.sandbox):
        words = ["check", workspace, "--purpose", "train.generative", *recent]
        told = consent(*words, **stack.settings()).told
        changes = told["actual"]["decision"] != told["hypothetical"]["decision"]
        assert changes == (workspace in rows)
        if changes:
            assert rows[workspace]["change"] == "newly_denied"
            assert rows[workspace]["reason_after"] == told["hypothetical"]["reasons"][0]["code"]


def test_given_purposes_when_simulated_then_only_they_are_told_and_an_unknown_one_is_2(stack: Stack) -> None:
    told = simulate(stack, STRICTER, "--purpose", TRAIN, "--samples", "0", "--json").told
    assert {one["purpose"] for one in told["purposes"]} == {TRAIN}
    assert not any(names for one in told["purposes"] for names in one["samples"].values())
    ran = simulate(stack, STRICTER, "--purpose", "train.no_such_thing", "--json")
    assert (ran.code, ran.told["code"]) == (2, "unknown_purpose")


def test_given_a_list_when_simulated_then_it_names_everybody_who_changes(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "changed.jsonl"
    told = simulate(stack, STRICTER, "--list", str(path), "--json").told
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    denied = [row for row in rows if (row["purpose"], row["category"]) == ("train.generative", "")]
    assert len(denied) == purpose_of(told, "train.generative")["newlyDenied"]
    assert [row["workspace"] for row in denied] == sorted(row["workspace"] for row in denied)
    again = simulate(stack, STRICTER, "--list", str(path))
    assert (again.code, again.out) == (2, "")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"direction": "editorial", "effectiveAt": SOON}, "not_editorial"),
        ({"version": "2023-09"}, "already_exists"),
        ({"effectiveAt": "2023-01-01T00:00:00Z"}, "policy_out_of_order"),
        ({"direction": "looser", "effectiveAt": "2024-05-17T00:00:00Z"}, "backdated"),
        ({"textSha256": "none"}, "invalid_value"),
        ({"direction": "sideways"}, "invalid_value"),
        ({"effectiveAt": "soon"}, "malformed"),
        ({"rulez": {}}, "malformed"),
        ({"command": "import-policy"}, "malformed"),
    ],
)
def test_given_a_policy_that_the_ledger_would_refuse_when_simulated_then_it_is_2_with_the_same_code(
    stack: Stack, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    policy = written(tmp_path, **changes)
    ran = simulate(stack, policy, "--json")
    assert (ran.code, ran.told["code"]) == (2, code), ran.out
    headers = {"authorization": f"Bearer {stack.keys['admin']}"}
    dry = httpx.post(
        f"{stack.url}/v1/policies?dryRun=true", json=json.loads(policy.read_text()), headers=headers
    )
    assert dry.json()["code"] == code, dry.text


def test_given_no_policy_or_no_ledger_when_simulated_then_it_is_2(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{")
    for path in (tmp_path / "none.json", tmp_path / "missing.json", tmp_path):
        assert simulate(stack, path).code == 2
    assert consent("simulate", str(STRICTER), **stack.settings("auditor")).code == 2
    assert consent("simulate", str(STRICTER), **stack.settings(CONSENT_URL="http://127.0.0.1:1")).code == 2
    assert consent("simulate", str(STRICTER)).code == 2
    assert simulate(stack, STRICTER, "--samples", "101").code == 2
    assert simulate(stack, EDITORIAL).code == 2


def test_given_a_snapshot_when_simulated_without_a_key_or_a_note_then_it_is_2(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "facts.parquet"
    path.write_bytes(b"no snapshot")
    assert consent("simulate", str(STRICTER), "--offline", str(path)).code == 2
    ran = consent(
        "simulate", str(STRICTER), "--offline", str(path), "--json", CONSENT_FEED_KEY=stack.feed_key
    )
    assert (ran.code, ran.told["code"]) == (2, "not_found")


def test_given_a_snapshot_when_simulated_then_it_stands_on_it_without_the_ledger(
    stack: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "facts.parquet"
    pulled = consent("snapshot", "pull", "-o", str(path), **stack.settings(), CONSENT_FEED_KEY=stack.feed_key)
    assert pulled.code == 0, pulled.err
    ran = consent(
        "simulate", str(STRICTER), "--offline", str(path), "--json", CONSENT_FEED_KEY=stack.feed_key
    )
    assert ran.code == 0, ran.err
    assert (ran.told["widens"], ran.told["comparedWith"]) == (False, "2023-09")
    assert ran.told["workspaces"] >= 301
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    damaged = consent("simulate", str(STRICTER), "--offline", str(path), CONSENT_FEED_KEY=stack.feed_key)
    assert (damaged.code, damaged.out) == (2, "")
