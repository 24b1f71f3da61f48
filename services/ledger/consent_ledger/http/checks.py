"""Checks over HTTP: the question read, the gate or the log asked, the answer written.

A check is answered 200 also when nothing is known or could be decided: `deny` and `undecided` are
answers. Only a question that cannot be understood is a problem.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import msgspec
from consent_domain.decide import Collected, Decision
from consent_domain.errors import ConsentError
from consent_domain.grounds import Reason
from consent_domain.identifiers import parse_token
from consent_domain.instants import micros, rfc3339
from consent_domain.reasons import named, sentence
from consent_gate.answers import Answer as GateAnswer
from consent_gate.answers import (
    BatchAnswer,
    CheckAnswer,
    CheckRequest,
    CollectedRange,
    decode_batch,
    decode_check,
    milliseconds,
    wire_reason,
    wire_window,
)
from consent_gate.batches import SLICE_ROWS
from consent_gate.questions import When

from consent_ledger import time_travel
from consent_ledger.http import metrics
from consent_ledger.http.calls import Answer, Call, encode
from consent_ledger.http.json_body import malformed
from consent_ledger.http.permissions import require_own

BATCH_WORKSPACES_MAX = 100_000
OWNERS_MAX = 100
"""How many workspaces may own the data of one check together."""
AT_LEAST_SECONDS_MAX = 1.0
NEVER = 1 << 62
"""A position that no replica reaches."""
_YEAR_MAX = 9_000


async def check(call: Call) -> Answer:
    """The answer to one check, from this host's replica, or from the log for a question about the past."""
    try:
        asked = decode_check(call.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(error) from error
    workspaces = _workspaces_of(asked)
    if call.principal.scope_kind is not None:
        for workspace in workspaces:
            require_own(call.principal, "workspace", workspace)
    if asked.known_at or asked.as_of:
        past = await _from_the_log(call, asked, workspaces)
        body, decision, token = encode(past), past.decision, past.token
    else:
        answer = await _from_the_replica(call, asked, workspaces)
        body, decision, token = call.worker.renderer.render(answer), answer.decision, answer.token
    metrics.count_decisions(decision)
    return Answer(200, body, _headers(call, token))


def _headers(call: Call, token: str) -> list[tuple[bytes, bytes]]:
    return [*call.echo, *([(b"consent-token", token.encode())] if token else [])]


def _workspaces_of(asked: CheckRequest) -> Sequence[str]:
    if asked.workspace and not asked.workspaces:
        return (asked.workspace,)
    if asked.workspace or not asked.workspaces:
        raise ConsentError("malformed", "name one workspace, or in workspaces all that own the data")
    if len(asked.workspaces) > OWNERS_MAX:
        raise ConsentError(
            "too_large", f"data belongs to at most {OWNERS_MAX} workspaces; ask /v1/check/batch for a list"
        )
    return asked.workspaces


async def _from_the_replica(call: Call, asked: CheckRequest, workspaces: Sequence[str]) -> GateAnswer:
    at_least = await _reached(call, asked.at_least) if asked.at_least else 0
    return call.worker.gate.check(
        workspaces[0] if len(workspaces) == 1 else workspaces,
        asked.purpose,
        categories=asked.categories,
        collected=None if asked.collected is None else _when(asked.collected),
        max_staleness=None if asked.max_staleness_ms is None else _seconds(asked.max_staleness_ms),
        at_least=at_least,
    )


async def _reached(call: Call, text: str) -> int:
    """The position that the token names, waited for up to 1 s; one that is not reached denies `stale`.

    Raises ConsentError `invalid_token` for what is no token of this log.
    """
    token = parse_token(text)
    if token.origin != call.worker.settings.origin:
        raise ConsentError("invalid_token", f"{text!r} is a token of another log")
    gate = call.worker.gate
    if token.position > gate.position():
        await gate.until_position(token.position, AT_LEAST_SECONDS_MAX)
    status_token = gate.status().token
    same_epoch = bool(status_token) and parse_token(status_token).epoch == token.epoch
    return token.position if same_epoch else NEVER


def _seconds(staleness_ms: int) -> float:
    if staleness_ms < 0:
        raise ConsentError("malformed", "maxStalenessMs is 0 or more")
    return staleness_ms / 1000


def _when(collected: CollectedRange) -> When:
    """The collection time. Raises ConsentError `malformed` or `invalid_time`."""
    at, start, end = collected.at, collected.from_, collected.to
    if at is not None and start is None and end is None:
        return _zoned(at)
    if at is None and start is not None and end is not None:
        return _zoned(start), _zoned(end)
    raise ConsentError("malformed", "collected takes either at, or from and to")


def _zoned(moment: datetime) -> datetime:
    if moment.tzinfo is None or moment.year > _YEAR_MAX:
        raise ConsentError("invalid_time", f"{moment.isoformat()} needs a zone and a year up to {_YEAR_MAX}")
    return moment


# -- the past ------------------------------------------------------------------------------------------------


async def _from_the_log(call: Call, asked: CheckRequest, workspaces: Sequence[str]) -> CheckAnswer:
    if asked.at_least:
        raise ConsentError("malformed", "atLeast asks for the present; leave it out beside knownAt and asOf")
    question = time_travel.Question(
        workspaces,
        asked.purpose,
        tuple(asked.categories),
        None if asked.collected is None else _range(_when(asked.collected)),
        time_travel.parse_when(asked.known_at or None, asked.as_of or None),
    )
    past = await time_travel.answer(call.worker.pool, call.worker.books, question)
    decision, answer = past.decision, "permit" if past.decision.permit else "deny"
    if call.worker.halting():
        decision, answer = Decision(False, "unknown", (Reason("halted"),), "", ()), "undecided"
    return CheckAnswer(
        decision=answer,
        standing=decision.standing,
        reasons=[wire_reason(reason) for reason in decision.reasons],
        policy_version=decision.policy_version,
        token=str(past.token),
        ledger_time=rfc3339(past.at),
        staleness_ms=None,
        permitted_collected=[wire_window(window) for window in decision.windows],
        decision_id=str(uuid4()),
        sentence=sentence(decision, named(workspaces), asked.purpose),
    )


def _range(when: When) -> Collected:
    assert when is not None and not isinstance(when, Collected), "it comes from _when"
    start, end = (when, when) if isinstance(when, datetime) else when
    return Collected(micros(start), micros(end))


# -- many ----------------------------------------------------------------------------------------------------


async def check_batch(call: Call) -> Answer:
    """One question about up to 100,000 workspaces, in slices, so that nothing else waits for it."""
    try:
        asked = decode_batch(call.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(error) from error
    count = len(asked.workspaces)
    if count > BATCH_WORKSPACES_MAX:
        raise ConsentError(
            "too_large",
            f"a batch names at most {BATCH_WORKSPACES_MAX:,} workspaces; this one names {count:,}",
            workspaces_max=BATCH_WORKSPACES_MAX,
        )
    if not asked.workspaces:
        raise ConsentError("malformed", "name at least one workspace")
    batch = call.worker.gate.batch(
        asked.purpose,
        categories=asked.categories,
        collected=None if asked.collected is None else _when(asked.collected),
        max_staleness=None if asked.max_staleness_ms is None else _seconds(asked.max_staleness_ms),
        at_least=await _reached(call, asked.at_least) if asked.at_least else 0,
    )
    for start in range(0, count, SLICE_ROWS):
        batch.take(asked.workspaces[start : start + SLICE_ROWS])
        await asyncio.sleep(0)
    answers = batch.answers()
    assert len(answers.permitted) == count, "a row each"
    permits = sum(answers.permitted)
    metrics.count_decisions("permit", permits)
    metrics.count_decisions("deny", count - permits)
    answer = BatchAnswer(
        token=answers.token,
        ledger_time="" if answers.ledger_time is None else rfc3339(answers.ledger_time),
        staleness_ms=None if answers.staleness is None else milliseconds(answers.staleness),
        policy_version=answers.policy_version,
        permitted=answers.permitted,
        reason_codes=answers.reason_codes,
        reasons=answers.reasons,
    )
    return Answer(200, encode(answer), _headers(call, answer.token))
