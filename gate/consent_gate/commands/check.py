"""`consent check`: may data of a workspace be used?"""

from __future__ import annotations

import argparse
from datetime import datetime

from consent_domain.errors import ConsentError
from consent_domain.instants import moment_of, parse_rfc3339

from consent_gate.answers import CheckAnswer, CheckRequest, CollectedRange, WireReason, encode
from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.terminal import painted, plain, table
from consent_gate.commands.usage import DENY, EXIT_CODES, PERMIT, UNDECIDED, Subcommands

_EXIT_CODES = {"permit": PERMIT, "deny": DENY}


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "check", parents=[shared], help="may data of a workspace be used?", epilog=EXIT_CODES
    )
    command.add_argument(
        "workspaces", nargs="+", metavar="WORKSPACE", help="whose data it is; several: all must permit"
    )
    add_question(command)
    add_collected(command)
    command.add_argument(
        "--known-at",
        metavar="TOKEN|TIME",
        help="answer with what the ledger knew then, not with all it knows now",
    )
    command.add_argument("--as-of", metavar="TIME", help="answer for that time, not for now")
    command.set_defaults(run=asking("pipeline", lambda ledger, _, options: check(ledger, options)))


def add_question(command: argparse.ArgumentParser) -> None:
    """Add what data would be used for."""
    command.add_argument("--purpose", required=True, metavar="P", help="what it would be used for")
    command.add_argument(
        "--category", action="append", default=[], metavar="C",
        help="of data that is used, may be repeated; none: all that the purpose takes",
    )  # fmt: skip


def add_collected(command: argparse.ArgumentParser) -> None:
    """Add when data was collected."""
    group = command.add_argument_group("when the data was collected, as 2026-01-31T09:00:00Z")
    group.add_argument("--collected", metavar="T", help="all of it at that time")
    group.add_argument("--collected-from", metavar="A", help="the first of it")
    group.add_argument("--collected-to", metavar="B", help="the last of it")


def check(ledger: Ledger, options: argparse.Namespace) -> int:
    """Ask, print the answer, return its exit code."""
    answer = ledger.check(question(options))
    print(encode(answer).decode() if options.json else in_words(answer))
    return exit_code(answer)


def exit_code(answer: CheckAnswer) -> int:
    """0 permit, 1 deny, 2 anything else."""
    return _EXIT_CODES.get(answer.decision, UNDECIDED)


def question(options: argparse.Namespace) -> CheckRequest:
    """The check that the arguments ask for. Raises ConsentError `invalid_value` or `invalid_time`."""
    return CheckRequest(
        workspaces=options.workspaces,
        purpose=options.purpose,
        categories=options.category,
        collected=collected(options),
        known_at=options.known_at or "",
        as_of=options.as_of or "",
    )


def collected(options: argparse.Namespace) -> CollectedRange | None:
    """When the data was collected, as the arguments say; None if they do not."""
    at, start, end = options.collected, options.collected_from, options.collected_to
    if at is not None and start is None and end is None:
        return CollectedRange(at=_moment(at))
    if (start is None) != (end is None) or at is not None:
        raise ConsentError("invalid_value", "say either --collected, or --collected-from and --collected-to")
    return None if start is None else CollectedRange(from_=_moment(start), to=_moment(end))


def _moment(text: str) -> datetime:
    return moment_of(parse_rfc3339(text))


def in_words(answer: CheckAnswer) -> str:
    """The answer for people."""
    rows = [
        ["standing", answer.standing],
        ["because of", ", ".join(map(_reason, answer.reasons))],
        ["policy", answer.policy_version or "none in force"],
        ["permitted", windows_in_words(answer)],
        ["ledger time", answer.ledger_time or "none"],
        ["token", answer.token or "none"],
        ["decision id", answer.decision_id],
    ]
    if answer.staleness_ms is not None:
        rows.insert(5, ["age", f"{answer.staleness_ms} ms"])
    word = painted(
        answer.decision.upper(), answer.decision if answer.decision in _EXIT_CODES else "undecided"
    )
    return f"{word}  {plain(answer.sentence)}\n{table([[f'  {name}', plain(said)] for name, said in rows])}"


def _reason(reason: WireReason) -> str:
    event = f"event {reason.position}" if reason.position else ""
    whose = f"of {reason.workspace}" if reason.workspace else ""
    aside = " ".join(filter(None, (event, whose)))
    return f"{reason.code} ({aside})" if aside else reason.code


def windows_in_words(answer: CheckAnswer) -> str:
    """The collection times for which the use is permitted, for people."""
    said = []
    for window in answer.permitted_collected:
        assert window.from_ is not None, "every window has a beginning"
        end = "until now" if window.to is None else f"until {short(window.to)}"
        said.append(f"data collected from {short(window.from_)} {end}")
    return "; ".join(said) or "nothing"


def short(moment: datetime) -> str:
    """An instant to the second, in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
