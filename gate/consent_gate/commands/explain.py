"""Why an answer is what it is: each reason in words, the event that gives it, and what would change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.reasons import DENYING, PERMITTING

from consent_gate.answers import PERMIT, CheckAnswer, encode
from consent_gate.commands.ledger import Ledger
from consent_gate.commands.recorded import Stored, summary_of, time_of, type_of
from consent_gate.commands.terminal import painted, plain
from consent_gate.remedies import REMEDIES

Events = Callable[[int], Stored | None]
"""The event at a position, None if it may not be read."""


class Reason(NamedTuple):
    """One reason of an answer, in full. `event` is None where none gives it, or it may not be read."""

    code: str
    words: str
    position: str
    workspace: str
    event: Stored | None
    remedy: str


def reasons_of(answer: CheckAnswer, events: Events) -> list[Reason]:
    """Every reason of the answer, most important first. Raises what `events` does."""
    known: dict[str, Stored | None] = {}
    found = []
    for reason in answer.reasons:
        if reason.position and reason.position not in known:
            known[reason.position] = events(int(reason.position))
        words = PERMITTING.get(reason.code) or DENYING.get(reason.code) or reason.code
        remedy = "" if answer.decision == PERMIT else REMEDIES.get(reason.code, "")
        event = known.get(reason.position)
        found.append(Reason(reason.code, words, reason.position, reason.workspace, event, remedy))
    return found


def events_of(ledger: Ledger) -> Events:
    """The events as the ledger stored them; none once it refused to show one."""
    refused = False

    def event(position: int) -> Stored | None:
        nonlocal refused
        found = None if refused else ledger.event(position)
        refused = refused or found is None
        return found

    return event


def for_programs(answer: CheckAnswer, events: Events | None) -> dict[str, Any]:
    """The answer as JSON values, with its explanation if there are events to explain it by."""
    told: dict[str, Any] = json.loads(encode(answer))
    if events is not None:
        told["explanation"] = [
            {
                "code": one.code,
                "words": one.words,
                "position": one.position,
                "workspace": one.workspace,
                "event": one.event,
                "wouldPermit": one.remedy,
            }
            for one in reasons_of(answer, events)
        ]
    return told


def in_words(answer: CheckAnswer, events: Events) -> str:
    """The explanation for people."""
    reasons = reasons_of(answer, events)
    lines = [painted("why", "bold")]
    for one in reasons:
        whose = f" (of {one.workspace})" if one.workspace else ""
        lines.append(f"  {one.code}: {one.words}{whose}")
        lines += [f"    {line}" for line in _event(one)]
    remedies = list(dict.fromkeys(one.remedy for one in reasons if one.remedy))
    if remedies:
        lines.append(painted("what would make it a permit", "bold"))
        lines += [f"  {remedy}" for remedy in remedies]
        if answer.permitted_collected:
            lines.append("  it is one already for data collected at the times above (`permitted`)")
    return "\n".join(lines)


def _event(reason: Reason) -> list[str]:
    if not reason.position:
        return ["no single event says so"]
    if reason.event is None:
        return [f"event {reason.position}: this key may not read it, a key of an auditor may"]
    said = summary_of(reason.event)
    head = f"event {reason.position}  {time_of(reason.event)}  {type_of(reason.event)}"
    return [head, *([f"  {plain(said)}"] if said else [])]


def require_read(ledger: Ledger, position: int) -> Stored:
    """The event at a position. Raises ConsentError `forbidden` if the key may not read it."""
    event = ledger.event(position)
    if event is None:
        raise ConsentError(
            "forbidden",
            "only a key of an auditor may look up when that event was recorded; say --known-at TOKEN "
            "and --as-of TIME instead, the answer's `ledgerTime`",
        )
    return event
