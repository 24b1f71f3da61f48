"""A gate answers alike from its replica and by asking the ledger; where it may not, it says what to do."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from consent_domain.errors import ConsentError
from consent_domain.identifiers import parse_token
from consent_gate.asking import Asking

NOW = datetime.now(UTC)
NAMES = ["acme", "second", "asked-out", "out", "play", "nobody", "no/id", ""]
CODES = {
    "acme": "defaulted_on",
    "second": "defaulted_on",
    "asked-out": "opt_out_requested",
    "out": "opted_out",
    "play": "sandbox",
    "nobody": "unknown_workspace",
    "no/id": "invalid_id",
    "": "invalid_id",
}
PERMITTED = {"acme", "second"}


@pytest.mark.parametrize("name", NAMES)
def test_given_a_workspace_then_the_answer_and_its_reason_are_the_rules(gate: Asking, name: str) -> None:
    if name == "" and gate.asks_over_the_network:
        name = "no/id"
    answer = gate.check(name)
    assert answer.permitted is bool(answer) is (name in PERMITTED)
    assert answer.decision == ("permit" if name in PERMITTED else "deny"), answer
    assert answer.reasons[0].code == CODES[name]
    assert answer.position == parse_token(answer.token).position > 0
    assert answer.ledger_time is not None and abs(answer.ledger_time - datetime.now(UTC)) < timedelta(hours=1)
    assert answer.staleness is not None and 0 <= answer.staleness <= 60
    assert answer.decision_id and answer.sentence.startswith("Data of ")
    assert bool(answer.windows) == (name in PERMITTED)


def test_given_many_then_each_is_answered_as_alone(gate: Asking) -> None:
    answers = gate.check_many([*NAMES, *NAMES])
    assert answers.permitted == [name in PERMITTED for name in [*NAMES, *NAMES]]
    assert [answers.reason_codes[index] for index in answers.reasons] == [CODES[name] for name in NAMES] * 2
    assert answers.staleness is not None and answers.ledger_time and answers.token
    assert answers.policy_version == gate.check("acme").policy_version
    assert gate.check_many([]).permitted == []


def test_given_a_row_that_is_no_text_then_it_alone_is_undecided(gate: Asking) -> None:
    names: list[Any] = ["acme", None, "acme", 5, "\ud800"]
    answers = gate.check_many(names)
    assert answers.permitted == [True, False, True, False, False]
    assert [answers.reason_codes[index] for index in answers.reasons][1] == "malformed"


def test_given_several_owners_then_all_must_permit(gate: Asking) -> None:
    assert gate.check(["acme", "second"])
    answer = gate.check(("acme", "out"))
    assert not answer and answer.reasons[0].workspace == "out"
    assert gate.check([]).reasons[0].code == "no_workspace"


def test_given_a_collection_time_then_it_counts(gate: Asking) -> None:
    now = gate.check("acme").ledger_time
    assert now is not None
    assert gate.check("acme", collected=now) and gate.check("acme", collected=(now, now))
    before = gate.check("acme", collected=now - timedelta(days=400))
    assert not before and before.reasons[0].code == "before_enrolment"
    assert not gate.check_many(["acme"], collected=now - timedelta(days=400)).permitted[0]


@pytest.mark.parametrize(
    "how",
    [
        {"purpose": 5},
        {"purpose": "x" * 300},
        {"categories": "messages"},
        {"categories": (5,)},
        {"collected": datetime(2024, 1, 1)},
        {"collected": "2024-01-01"},
        {"collected": (NOW,)},
        {"max_staleness": "5"},
        {"max_staleness": float("nan")},
        {"at_least": "5"},
    ],
)
def test_given_a_question_that_is_malformed_then_undecided_and_it_says_what_to_do(
    gate: Asking, how: Any
) -> None:
    answer = gate.check("acme", **how)
    assert answer.decision == "undecided" and not answer
    assert answer.reasons[0].code == "malformed"
    assert gate.check_many(["acme"], **how).permitted == [False]


@pytest.mark.parametrize("staleness", [0, -1, 1e-6])
def test_given_answers_that_cannot_be_young_enough_then_undecided(gate: Asking, staleness: float) -> None:
    assert gate.check("acme", max_staleness=staleness).decision == "undecided"
    assert gate.check_many(["acme"], max_staleness=staleness).permitted == [False]


def test_given_a_position_that_is_not_there_yet_then_undecided(gate: Asking) -> None:
    position = gate.check("acme").position
    assert gate.check("acme", at_least=position)
    ahead = gate.check("acme", at_least=position + 1_000_000)
    assert (ahead.decision, ahead.reasons[0].code) == ("undecided", "stale")
    assert gate.check_many(["acme"], at_least=position + 1_000_000).permitted == [False]


def test_given_no_collection_time_where_one_is_needed_then_the_sentence_says_what_to_pass(
    gate: Asking, served: Any
) -> None:
    answer = gate.check("asked-in", "assistant.train")
    assert not answer and answer.reasons[0].code == "opt_in_missing"


async def test_given_asynchronous_code_then_everything_that_blocks_has_a_form_that_does_not(
    own_gate: Asking,
) -> None:
    gate = own_gate
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert await gate.until_live(20)
    assert await gate.check_async("acme")
    assert (await gate.check_many_async(NAMES * 300)).permitted.count(True) == 600
    assert await gate.until_position(1, 20)
    ticking.cancel()
    assert ticks > 0
    async with gate as same:
        assert same is gate


def test_given_threads_then_each_gets_the_answer_to_its_own_question(gate: Asking) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        for _ in range(10):
            answer = gate.check(name)
            if bool(answer) is not (name in PERMITTED) and answer.decision != "undecided":
                wrong.append(f"{name}: {answer}")

    threads = [threading.Thread(target=ask, args=(name,)) for name in [*PERMITTED, "out", "nobody"] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_given_a_fork_then_the_child_asks_by_itself_and_the_parent_goes_on(gate: Asking) -> None:
    assert gate.check("acme")
    child = os.fork()
    if child == 0:
        answers = [bool(gate.check(name)) for name in ("acme", "out", "second")]
        os._exit(0 if answers == [True, False, True] else 1)
    for _ in range(5):
        assert gate.check("second") and not gate.check("out")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gate.check("acme")


def test_given_server_mode_then_what_needs_a_replica_is_refused_with_what_to_do(gate: Any) -> None:
    if not gate.asks_over_the_network:
        return
    for ask in (gate.job, gate.filter, gate.mask, gate.watch, gate.manifest):
        with pytest.raises(ConsentError, match="connect without mode='server'") as refused:
            ask([{"w": "acme"}], "w")
        assert refused.value.code == "unavailable"


@pytest.mark.parametrize(("path", "asked"), [("/v1/check", "workspace"), ("/v1/check/batch", "workspaces")])
def test_given_a_question_of_ones_own_then_its_answer_carries_it_back_and_nothing_else(
    served: Any, path: str, asked: str
) -> None:
    body = {"purpose": "ranking.train", asked: ["acme"] if asked == "workspaces" else "acme"}
    with httpx.Client(base_url=served.url, timeout=20) as client:

        def ask(own: str | None) -> httpx.Response:
            headers = {"authorization": f"Bearer {served.keys['pipeline']}"}
            return client.post(path, json=body, headers=headers | ({"consent-question": own} if own else {}))

        assert ask("abc-DEF_1").headers["consent-question"] == "abc-DEF_1"
        assert "consent-question" not in ask(None).headers
        for wrong in ("a b", "x" * 65, "a,b", 'a"b'):
            refused = ask(wrong)
            assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
