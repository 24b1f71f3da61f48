"""`consent why`: every event that led to an answer, oldest first, and what each of them did.

What an event did is not guessed from its type. The ledger is asked what it answered right after it:
with all events up to it, at the time when it was recorded, for data collected then.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.identifiers import parse_token
from consent_domain.instants import moment_of, parse_rfc3339

from consent_gate.answers import CheckAnswer, CheckRequest, CollectedRange, WireReason, encode
from consent_gate.commands.check import add_collected, collected, exit_code, in_words
from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.recorded import position_of, summary_of, time_of, type_of
from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.usage import EXIT_CODES, Subcommands, examples

_EXAMPLES = """\
  consent why acme train.search_ranking
  consent why acme train.search_ranking --collected 2024-01-15T10:30:00Z"""


class Step(NamedTuple):
    """An event, and the answer right after it."""

    event: dict[str, Any]
    answer: CheckAnswer


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "why", parents=[shared], help="every event that led to the answer, oldest first",
        **examples(_EXAMPLES, EXIT_CODES),
    )  # fmt: skip
    command.add_argument("workspace", metavar="WORKSPACE")
    command.add_argument("purpose", metavar="PURPOSE")
    add_collected(command)
    command.set_defaults(run=asking("auditor", lambda ledger, _, options: why(ledger, options)))


def why(ledger: Ledger, options: argparse.Namespace) -> int:
    """Print the steps to the answer and the answer; return the answer's exit code.

    Raises ConsentError if the key may not read a workspace's history, or something cannot be read.
    """
    answer = _now(ledger, options)
    steps = _steps(ledger, options.workspace, options.purpose, answer)
    if options.json:
        told = [
            {"event": step.event, "answer": json.loads(encode(step.answer)), "changed": changed}
            for step, changed in zip(steps, _changes(steps), strict=True)
        ]
        print(json.dumps({"steps": told, "answer": json.loads(encode(answer))}, ensure_ascii=False))
    else:
        print(_in_words(steps, answer))
    return exit_code(answer)


def _now(ledger: Ledger, options: argparse.Namespace) -> CheckAnswer:
    """The answer now: for data collected when the arguments say, else for data collected now."""
    asked = CheckRequest(workspace=options.workspace, purpose=options.purpose, collected=collected(options))
    answer = ledger.check(asked)
    if asked.collected is None and answer.ledger_time:
        at = CollectedRange(at=moment_of(parse_rfc3339(answer.ledger_time)))
        return ledger.check(CheckRequest(workspace=options.workspace, purpose=options.purpose, collected=at))
    return answer


def _steps(ledger: Ledger, workspace: str, purpose: str, answer: CheckAnswer) -> list[Step]:
    """The policies, the workspace's own events, and whatever other event an answer names as its reason."""
    if not answer.token:
        return []
    events = {position_of(event): event for event in _own(ledger, workspace)}
    wanted = {int(policy["position"]) for policy in ledger.get("/v1/policies")["policies"]}
    steps: dict[int, Step] = {}
    wanted |= events.keys() | _named(answer)
    while wanted:
        position = wanted.pop()
        event = events.get(position) or ledger.event(position)
        if event is None or position in steps:
            continue
        steps[position] = Step(event, _right_after(ledger, workspace, purpose, answer.token, event))
        wanted |= _named(steps[position].answer) - steps.keys()
    return [steps[position] for position in sorted(steps)]


def _own(ledger: Ledger, workspace: str) -> list[dict[str, Any]]:
    try:
        return list(ledger.history(workspace))
    except ConsentError as error:
        if error.code == "unknown_workspace":
            return []
        raise


def _named(answer: CheckAnswer) -> set[int]:
    return {int(reason.position) for reason in answer.reasons if reason.position}


def _right_after(
    ledger: Ledger, workspace: str, purpose: str, token: str, event: dict[str, Any]
) -> CheckAnswer:
    at = moment_of(parse_rfc3339(event["time"]))
    return ledger.check(
        CheckRequest(
            workspace=workspace,
            purpose=purpose,
            collected=CollectedRange(at=at),
            known_at=str(parse_token(token)._replace(position=position_of(event))),
            as_of=event["time"],
        )
    )


def _changes(steps: list[Step]) -> list[bool]:
    told = [_told(step.answer) for step in steps]
    return [index == 0 or told[index] != told[index - 1] for index in range(len(told))]


def _told(answer: CheckAnswer) -> tuple[str, str, list[WireReason]]:
    return answer.decision, answer.standing, answer.reasons[:1]


def _in_short(answer: CheckAnswer) -> str:
    said = dict.fromkeys([answer.standing, *(reason.code for reason in answer.reasons)])
    return f"{painted(answer.decision, answer.decision)}: {', '.join(said)}"


def _in_words(steps: list[Step], answer: CheckAnswer) -> str:
    lines = []
    for step, changed in zip(steps, _changes(steps), strict=True):
        event, after = step.event, step.answer
        lines.append(f"event {position_of(event)}  {time_of(event)}  {painted(type_of(event), 'bold')}")
        summary = plain(summary_of(event))
        lines += [f"    {summary}"] if summary else []
        if changed:
            lines.append(f"    → {_in_short(after)}")
        else:
            lines.append(painted("    → changes nothing here", "faint"))
    if not steps:
        lines.append("no event led here")
    elif _told(steps[-1].answer) != _told(answer):
        lines.append(f"since then, because time passed\n    → {_in_short(answer)}")
    return "\n".join([*lines, "", in_words(answer)])
