"""An auditor's commands on a real ledger: what they prove, check, export and replay is what it has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from consent_command import TRAIN, Ran, Stack, consent
from consent_gate.signatures import Signer


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return str(json.loads(Path(stack.credentials).read_text())["verifierKey"])


@pytest.fixture(scope="module")
def size(stack: Stack) -> int:
    """How many events a checkpoint covers by now: all of them."""
    answer = httpx.post(
        f"{stack.url}/v1/log/checkpoint",
        headers={"authorization": f"Bearer {stack.keys['auditor']}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return int(answer.text.split("\n")[1])


@pytest.fixture
def audit(stack: Stack, key: str) -> Any:
    def run(*words: object) -> Ran:
        return consent(*map(str, words), CONSENT_CONFIG=stack.credentials)

    return run


def test_a_proof_from_the_ledger_holds_without_it(audit: Any, key: str, size: int) -> None:
    for position in (1, size // 2, size):
        ran = audit("prove", position, "-o", f"{position}.tlog-proof", "--json")
        assert ran.code == 0, ran
        ran = consent("verify", f"{position}.tlog-proof", "--key", key, "--json")
        assert (ran.code, ran.told["position"]) == (0, position)
    shown = audit("prove", 1)
    assert shown.out.encode() == Path("1.tlog-proof").read_bytes()
    assert shown.out.startswith("c2sp.org/tlog-proof@v1\n")


@pytest.mark.parametrize(("position", "code"), [("0", 2), ("99999999", 2), ("-1", 2), ("x", 2), ("1e3", 2)])
def test_a_position_that_is_none_proves_nothing(audit: Any, position: str, code: int) -> None:
    assert audit("prove", position, "-o", "proof").code == code
    assert list(Path().iterdir()) == []


def test_a_proof_that_the_pinned_key_did_not_sign_is_not_written(audit: Any, key: str) -> None:
    name, _, _ = key.split("+", 2)
    ran = audit("prove", "1", "-o", "proof", "--key", Signer(name, bytes(32)).verifier)
    assert ran.code == 1
    assert list(Path().iterdir()) == []


def test_the_live_log_and_its_export_hold_and_are_the_same(
    audit: Any, stack: Stack, key: str, size: int
) -> None:
    live = audit("verify", stack.url, "--json")
    assert (live.code, live.told["events"], live.told["size"]) == (0, size, size), live
    assert audit("export", "out.tgz").code == 0
    told = consent("verify", "out.tgz", "--key", key, "--json").told
    assert (told["result"], told["root"]) == ("good", live.told["root"])


def test_the_log_continues_an_old_checkpoint(audit: Any, stack: Stack, key: str, size: int) -> None:
    note = httpx.get(f"{stack.url}/log/checkpoint", timeout=30).content
    Path("old").write_bytes(note)
    stack.post("/v1/workspaces", {"workspace": "after-the-old-checkpoint", "plan": "free", "region": "eu"})
    ran = audit("verify", stack.url, "--since", "old")
    assert ran.code == 0, ran
    assert "it continues the old checkpoint" in ran.out


def test_a_replay_comes_to_what_a_check_answers(audit: Any, stack: Stack, size: int) -> None:
    for name in (stack.on[0], stack.out[0], stack.sandbox):
        ran = audit("replay", stack.url, "--workspace", name, "--summary", "--json")
        assert ran.code == 0, ran
        summary = ran.told["summary"]
        standing = summary["standing"][TRAIN]
        answer = consent(
            "check", name, "--purpose", TRAIN, "--collected", summary["time"], "--json", **stack.settings()
        ).told
        assert (standing["decision"], standing["standing"]) == (answer["decision"], answer["standing"])


def test_who_may_not_read_the_log_exports_nothing(stack: Stack, key: str) -> None:
    ran = consent("export", "out", "--key", key, **stack.settings("pipeline"))
    assert (ran.code, "forbidden" in ran.err) == (2, True)
    assert list(Path().iterdir()) == []
