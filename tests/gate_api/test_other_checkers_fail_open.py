"""Three ways in which existing consent checkers let data through, each of which is a denial here.

One took a call without a context for a yes, one a missing key or configuration, one any record at all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from consent_domain.commands import CloseWorkspace, RequestOptIn, SucceedWorkspace
from consent_domain.errors import ConsentError
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from gate_ledger import gate_of, replica_of
from scenario import ALL, OWNER, STRANGER, Ledger, enrolled, opt_out, purpose, rule, rules, scope, workspace

ASSISTANT = purpose("assistant", model_class="generative")
TWO = rules(rule("opt_out", "train"), rule("opt_in", "assistant"), purposes=(purpose(), ASSISTANT))
MissingWorkspace = pytest.mark.parametrize(
    "missing", [None, "", " ", [], (), [None], [""], ["w2", ""], ["w2", None], {}, set(), 0, False, b""]
)


def never(gate: Any, workspace: Any = "w2", **how: Any) -> None:
    """No way of asking gets a yes."""
    answer = gate.check(workspace, **how)
    assert not answer and not answer.permitted and answer.decision in ("deny", "undecided"), answer
    assert answer.reasons and answer.sentence, "it says why"
    if isinstance(workspace, str) or workspace is None:
        assert gate.check_many([workspace, workspace], **how).permitted == [False, False]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    gate = gate_of(enrolled(rules=TWO).given(workspace("w2")), tmp_path, max_staleness=60)
    assert gate.check("w2"), "it permits what it may, or this shows nothing"
    return gate


# -- no context ----------------------------------------------------------------------------------------------


@MissingWorkspace
def test_a_question_about_no_workspace_is_never_a_permit(gate: Gate, missing: Any) -> None:
    never(gate, missing)


@MissingWorkspace
def test_a_row_without_a_workspace_never_passes_a_filter(gate: Gate, missing: Any, live: Any) -> None:
    try:
        kept = gate.filter([{"w": missing}, {"w": "w2"}], "w").data
    except ConsentError as refused:
        assert refused.code == "invalid_value", "what can be no id is refused, with all of the data"
    else:
        assert kept == [{"w": "w2"}]


@pytest.fixture
def live(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs begin at once: what the replica holds is all there is."""
    from consent_gate import pin

    monkeypatch.setattr(pin, "boot_nanoseconds", lambda: 0)


@pytest.mark.parametrize("missing", ["", " ", "trian", "TRAIN", "train ", "*", "train.*", "None", "\x00book"])
def test_a_question_for_a_purpose_that_nobody_knows_is_never_a_permit(gate: Gate, missing: str) -> None:
    never(gate, purpose=missing)


def test_a_gate_without_a_purpose_of_its_own_never_permits_unless_one_is_named(gate: Gate) -> None:
    unnamed = Gate(gate.replica, max_staleness=60)
    never(unnamed)
    assert "name the purpose" in unnamed.check("w2").sentence
    never(unnamed, purpose="")
    assert unnamed.check("w2", "train")


@pytest.mark.parametrize("category", [[""], ["nothing we know"], [None], "messages", {"messages": True}])
def test_a_question_for_a_data_category_that_nobody_knows_is_never_a_permit(
    gate: Gate, category: Any
) -> None:
    never(gate, categories=category)


# -- no key, no configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replica", "server"])
@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("", "ck_p_1"),
        (None, "ck_p_1"),
        ("ledger.example", "ck_p_1"),
        ("http://", "ck_p_1"),
        ("file:///tmp/ledger", "ck_p_1"),
        ("https://ledger.example", ""),
        ("https://ledger.example", None),
        ("https://ledger.example", "ck_p_1\r\nx: y"),
        ("https://ledger.example", " "),
    ],
)
def test_without_an_address_or_an_api_key_there_is_no_gate_at_all(
    tmp_path: Path, mode: Any, url: Any, token: Any
) -> None:
    where: dict[str, Any] = {"replica_dir": tmp_path} if mode == "replica" else {}
    with pytest.raises(ConsentError) as refused:
        Gate.connect(url, token, purpose="train", mode=mode, **where)
    assert refused.value.code == "invalid_value"


@pytest.mark.parametrize("key", ["", " ", "none", "consent.test/feed", "consent.test/feed+00000000+"])
def test_an_empty_verifier_key_is_no_key_and_not_none_needed(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConsentError) as refused:
        Gate.connect("http://127.0.0.1:9", "ck_p_1", purpose="train", replica_dir=tmp_path, verifier_key=key)
    assert refused.value.code == "invalid_value"


@pytest.mark.parametrize("mode", ["", None, "open", "Server", True])
def test_a_mode_that_does_not_exist_is_no_gate(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(ConsentError, match="mode"):
        Gate.connect("http://127.0.0.1:9", "ck_p_1", replica_dir=tmp_path, mode=mode)


@pytest.mark.parametrize("mode", ["replica", "server"])
def test_with_a_ledger_that_is_not_there_nothing_is_ever_permitted(tmp_path: Path, mode: Any) -> None:
    where: dict[str, Any] = {"replica_dir": tmp_path} if mode == "replica" else {}
    with Gate.connect("http://127.0.0.1:9", "ck_p_1", purpose="train", mode=mode, **where) as gate:
        never(gate)
        assert gate.check("w2").decision == "undecided"
        assert gate.status().state != "live" and not gate.wait_until_live(0.1)


def test_with_an_empty_replica_nothing_is_ever_permitted(tmp_path: Path) -> None:
    never(Gate(Replica.open(tmp_path), purpose="train"))


def test_with_a_ledger_that_has_no_policy_nothing_is_ever_permitted(tmp_path: Path) -> None:
    from scenario import opened

    never(Gate(replica_of(opened(), tmp_path), purpose="train", max_staleness=60))


# -- any record at all ---------------------------------------------------------------------------------------

RECORDS: dict[str, Callable[[Ledger], object]] = {
    "an opt-out that was only requested": lambda ledger: ledger.given(opt_out()),
    "an opt-out that nobody could prove, of a purpose that takes an opt-in": lambda ledger: ledger.given(
        opt_out("assistant", by=STRANGER)
    ),
    "an opt-in that was only requested": lambda ledger: ledger.given(
        RequestOptIn(scope=scope(), keys=["assistant"], applicant=OWNER)
    ),
    "an opt-out of another purpose": lambda ledger: ledger.given(opt_out("train")),
    "a workspace that was closed": lambda ledger: ledger.given(
        CloseWorkspace(workspace="acme", reason="left")
    ),
    "a workspace that took over another's data": lambda ledger: ledger.given(
        workspace("w2"), SucceedWorkspace(workspace="acme", predecessor="w2", kind="merge")
    ),
    "an enrolment and nothing else": lambda ledger: ledger,
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_is_no_consent_is_none(tmp_path: Path, record: str) -> None:
    ledger = enrolled(rules=TWO)
    RECORDS[record](ledger)
    gate = Gate(replica_of(ledger, tmp_path), purpose="assistant", max_staleness=60)
    never(gate, "acme")
    never(gate, ["acme"])


def test_an_opt_out_that_was_only_requested_is_a_no_for_what_was_on_by_default(tmp_path: Path) -> None:
    never(gate_of(enrolled(rules=TWO).given(opt_out(selector=ALL)), tmp_path, max_staleness=60), "acme")


def test_a_record_of_another_workspace_permits_nobody_else(gate: Gate) -> None:
    for name in ("W2", "w2 ", "w2\n", "w", "w22", "w2/acme", "w2\x00"):
        never(gate, name)
