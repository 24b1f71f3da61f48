"""What the ledger answers, against what its log says: a random sample of questions, asked both.

Each question is asked twice. With `knownAt`, the ledger folds its own events again, and the answer must be
the fold of the published ones. Without, its replica answers, as it answers pipelines; that is compared
where it stands on the very position that was followed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from consent_domain.decide import Collected, Decision, decide
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import Micros, moment_of, parse_rfc3339, rfc3339

from consent_gate.answers import (
    DENY,
    PERMIT,
    UNDECIDED,
    CheckAnswer,
    CheckRequest,
    CollectedRange,
    wire_reason,
    wire_window,
)
from consent_gate.audit.monitor.alarms import Alarm, alarm
from consent_gate.audit.monitor.memory import StoredFacts

Ask = Callable[[CheckRequest], CheckAnswer]
"""Asks the ledger. Raises ConsentError if there is no answer."""


class Sampled(NamedTuple):
    """`compared` answers were compared, and `undecided` were no answers."""

    compared: int
    undecided: int
    alarms: list[Alarm]


class _Question(NamedTuple):
    workspace: str
    purpose: str
    collected: Micros | None


def sample(
    ask: Ask, facts: StoredFacts, token: Token, at: Micros, count: int, chance: random.Random
) -> Sampled:
    """Ask `count` questions about what `facts` has at `token`; `at` is when its event was recorded.

    Raises ConsentError if the ledger gives no answer.
    """
    compared, undecided, alarms = 0, 0, list[Alarm]()
    for question in _questions(facts, at, count, chance):
        for past in (True, False):
            answer = ask(_request(question, token, at) if past else _request(question))
            if answer.decision == UNDECIDED:
                undecided += 1
                if halted := _halted(answer, token):
                    # It answers nothing else until somebody mends it: once is enough.
                    return Sampled(compared, undecided, [*alarms, *halted])
            elif past or answered(answer) == token:
                compared += 1
                alarms += _compare(question, answer, facts, token, at if past else _time(answer))
    return Sampled(compared, undecided, alarms)


def _questions(facts: StoredFacts, at: Micros, count: int, chance: random.Random) -> Sequence[_Question]:
    purposes = sorted({purpose.key for policy in facts.book.policies for purpose in policy.rules.purposes})
    asked = []
    for _ in range(count if purposes else 0):
        workspace = facts.workspace_near(chance.random())
        if workspace is not None:
            collected = chance.choice((None, at, at - int(chance.random() * 400) * 86_400_000_000))
            asked.append(_Question(workspace, chance.choice(purposes), collected))
    return asked


def _request(question: _Question, token: Token | None = None, at: Micros = 0) -> CheckRequest:
    when = None if question.collected is None else CollectedRange(at=moment_of(question.collected))
    return CheckRequest(
        purpose=question.purpose,
        workspace=question.workspace,
        collected=when,
        known_at="" if token is None else str(token),
        as_of="" if token is None else rfc3339(at),
    )


def _compare(
    question: _Question, answer: CheckAnswer, facts: StoredFacts, token: Token, at: Micros
) -> list[Alarm]:
    collected = None if question.collected is None else Collected(question.collected, question.collected)
    decision = decide(facts, [question.workspace], question.purpose, (), at, collected)
    if _told(answer) == _expected(decision):
        return []
    said = (
        f"{question.workspace}, {question.purpose}, at {token}: the ledger says {answer.decision} "
        f"({_codes([reason.code for reason in answer.reasons])}), its log "
        f"{PERMIT if decision.permit else DENY} ({_codes([reason.code for reason in decision.reasons])})"
    )
    about = f"{token.origin}:{question.workspace}:{question.purpose}"
    return [alarm("other_decision", about, said, workspace=question.workspace, purpose=question.purpose)]


def _halted(answer: CheckAnswer, token: Token) -> list[Alarm]:
    if any(reason.code == "halted" for reason in answer.reasons):
        return [alarm("halted", token.origin, f"the ledger answers: {answer.sentence}")]
    return []


def _told(answer: CheckAnswer) -> tuple[object, ...]:
    return (
        answer.decision,
        answer.standing,
        answer.policy_version,
        answer.reasons,
        answer.permitted_collected,
    )


def _expected(decision: Decision) -> tuple[object, ...]:
    return (
        PERMIT if decision.permit else DENY,
        decision.standing,
        decision.policy_version,
        [wire_reason(reason) for reason in decision.reasons],
        [wire_window(window) for window in decision.windows],
    )


def _codes(codes: Sequence[str]) -> str:
    return ", ".join(codes)


def answered(answer: CheckAnswer) -> Token | None:
    """The position that an answer stands on, None for none. Raises ConsentError `invalid_token`."""
    return parse_token(answer.token) if answer.token else None


def _time(answer: CheckAnswer) -> Micros:
    try:
        return parse_rfc3339(answer.ledger_time)
    except ConsentError as error:
        raise ConsentError("unavailable", "the ledger answered a check without its time") from error
