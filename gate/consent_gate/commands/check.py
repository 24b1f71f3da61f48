"""`consent check`: may data of a workspace be used?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from consent_domain.errors import ConsentError
from consent_domain.identifiers import parse_token
from consent_domain.instants import moment_of, parse_rfc3339

from consent_gate.answers import (
    CheckAnswer,
    CheckRequest,
    CollectedRange,
    WireReason,
    encode,
    wire_answer,
)
from consent_gate.commands import explain
from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.offline import add_offline, is_offline, offline_gate
from consent_gate.commands.recorded import Stored, summary_of, type_of
from consent_gate.commands.replica import pinned_replica
from consent_gate.commands.settings import Settings, settings_of
from consent_gate.commands.terminal import painted, plain, table
from consent_gate.commands.usage import DENY, EXIT_CODES, PERMIT, UNDECIDED, Subcommands, examples
from consent_gate.commands.waiting import add_wait
from consent_gate.commands.what_if import what_if

_EXIT_CODES = {"permit": PERMIT, "deny": DENY}
_OF_A_LEDGER = {
    "--at": "at",
    "--known-at": "known_at",
    "--as-of": "as_of",
    "--explain": "explain",
    "--with": "documents",
    "--wait": "wait",
}
_EXAMPLES = """\
  consent check acme --purpose train.search_ranking --collected 2024-01-15T10:30:00Z
  consent check acme --purpose train.search_ranking --explain
  consent check acme --purpose train.search_ranking --at 2024-02-01T00:00:00Z
  consent check acme --purpose train.search_ranking --with opt-out.json --explain"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "check", parents=[shared], help="may data of a workspace be used?", **examples(_EXAMPLES, EXIT_CODES)
    )
    command.add_argument(
        "workspaces", nargs="+", metavar="WORKSPACE", help="whose data it is; several: all must permit"
    )
    add_question(command)
    add_collected(command)
    group = command.add_argument_group("another moment than now")
    group.add_argument(
        "--at",
        metavar="TOKEN|TIME",
        help="the answer that was given then: with what was known then, for that time. Of a token it is "
        "the time at which its event was recorded, which a key of an auditor may look up",
    )
    group.add_argument(
        "--known-at",
        metavar="TOKEN|TIME",
        help="answer with what the ledger knew then, not with all it knows now",
    )
    group.add_argument("--as-of", metavar="TIME", help="answer for that time, not for now")
    group = command.add_argument_group("why, and what if")
    group.add_argument(
        "--explain", action="store_true",
        help="say each reason in words, the event that gives it (to a key of an auditor), and what would "
        "make it a permit",
    )  # fmt: skip
    group.add_argument(
        "--with", action="append", default=[], dest="documents", metavar="FILE",
        help="the answer as if these events (JSON; - for standard input) were recorded now; may be "
        "repeated. Nothing is sent to the ledger",
    )  # fmt: skip
    add_wait(group)
    add_offline(command)
    command.set_defaults(run=_run)


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


def _run(options: argparse.Namespace) -> int:
    if options.wait is not None and not options.documents:
        raise ConsentError(
            "invalid_value", "--wait is for --with: a check is answered at once, or not at all"
        )
    return (
        _check_offline(options) if is_offline(options, _OF_A_LEDGER) else asking("pipeline", check)(options)
    )


def _check_offline(options: argparse.Namespace) -> int:
    when = collected(options)
    with offline_gate(options) as gate:
        answer = wire_answer(
            gate.check(
                options.workspaces,
                options.purpose,
                categories=options.category,
                collected=None if when is None else (when.at or when.from_, when.at or when.to),  # type: ignore[arg-type]
            )
        )
        assert gate.snapshot is not None, "it was opened by its name"
        offline, why = gate.snapshot.stated().as_json(), gate.snapshot.why
    if options.json:
        print(_json(json.loads(encode(answer)) | {"offline": offline}))
    else:
        print(f"{in_words(answer)}\n  {plain(why)}")
    return exit_code(answer)


def check(ledger: Ledger, settings: Settings, options: argparse.Namespace) -> int:
    """Ask, print the answer, return its exit code."""
    with _reading(ledger, options) as reading:
        asked = question(options, reading)
        if options.documents:
            return _check_with(ledger, settings, reading, asked, options)
        answer = ledger.check(asked)
        events = explain.events_of(reading) if options.explain else None
        if options.json:
            told = encode(answer).decode() if events is None else _json(explain.for_programs(answer, events))
            print(told)
        else:
            print(in_words(answer))
            if events is not None:
                print(explain.in_words(answer, events))
    return exit_code(answer)


def _check_with(
    ledger: Ledger, settings: Settings, reading: Ledger, asked: CheckRequest, options: argparse.Namespace
) -> int:
    with pinned_replica(ledger, settings, options.wait) as (_, pin):
        found = what_if(pin, asked, options.documents)
    imagined = {int(event["sequence"]): event for event in found.events}
    stored = explain.events_of(reading)

    def events(position: int) -> Stored | None:
        return imagined.get(position) or stored(position)

    explaining = events if options.explain else None
    if options.json:
        print(
            _json(
                {
                    "hypothetical": explain.for_programs(found.hypothetical, explaining),
                    "actual": explain.for_programs(found.actual, None),
                    "with": found.events,
                }
            )
        )
    else:
        print(_as_if(found.events))
        print(in_words(found.hypothetical, "HYPOTHETICAL "))
        if explaining is not None:
            print(explain.in_words(found.hypothetical, explaining))
        print(f"As it is: {_headline(found.actual)}")
    return exit_code(found.hypothetical)


@contextmanager
def _reading(ledger: Ledger, options: argparse.Namespace) -> Iterator[Ledger]:
    """The ledger, with a key that may read events if it is needed and the settings have one."""
    if not options.explain and "/" not in (options.at or ""):
        yield ledger
        return
    with Ledger(settings_of(options, "auditor")) as reading:
        yield reading


def _json(told: object) -> str:
    return json.dumps(told, ensure_ascii=False)


def _as_if(events: list[Stored]) -> str:
    lines = [
        painted("As if this were recorded now. It was not: nothing was sent to the ledger.", "undecided")
    ]
    for event in events:
        said = plain(f"{event['subject']}  {summary_of(event)}".rstrip())
        lines.append(f"  event {int(event['sequence'])}  {type_of(event)}  {said}")
    return "\n".join(lines)


def exit_code(answer: CheckAnswer) -> int:
    """0 permit, 1 deny, 2 anything else."""
    return _EXIT_CODES.get(answer.decision, UNDECIDED)


def question(options: argparse.Namespace, reading: Ledger) -> CheckRequest:
    """The check that the arguments ask for; `reading` looks up when an event was recorded.

    Raises ConsentError `invalid_value`, `invalid_time` or `invalid_token`, and as `Ledger.get` does.
    """
    known_at, as_of = options.known_at or "", options.as_of or ""
    if options.at is not None:
        if known_at or as_of:
            raise ConsentError("invalid_value", "say either --at, or --known-at and --as-of")
        known_at, as_of = options.at, _time_of(options.at, reading)
    return CheckRequest(
        workspaces=options.workspaces,
        purpose=options.purpose,
        categories=options.category,
        collected=collected(options),
        known_at=known_at,
        as_of=as_of,
    )


def _time_of(moment: str, reading: Ledger) -> str:
    if moment.isdecimal():
        raise ConsentError(
            "invalid_token", f"--at takes a whole token, such as ledger.example/1/{moment}, or a time"
        )
    if "/" not in moment:
        return moment
    position = parse_token(moment).position
    if position < 1:
        raise ConsentError("invalid_token", "nothing was recorded at position 0; name a later one")
    return str(explain.require_read(reading, position)["time"])


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


def in_words(answer: CheckAnswer, prefix: str = "") -> str:
    """The answer for people; `prefix` says in front of it that it is no real one."""
    rows = [
        ["standing", answer.standing],
        ["because of", ", ".join(map(_reason, answer.reasons))],
        ["policy", answer.policy_version or "none in force"],
        ["permitted", windows_in_words(answer)],
        ["ledger time", answer.ledger_time or "none"],
        ["token", answer.token or "none"],
    ]
    if answer.decision_id:
        rows.append(["decision id", answer.decision_id])
    if answer.staleness_ms is not None:
        rows.insert(5, ["age", f"{answer.staleness_ms} ms"])
    return f"{prefix}{_headline(answer)}\n{table([[f'  {name}', plain(said)] for name, said in rows])}"


def _headline(answer: CheckAnswer) -> str:
    word = painted(
        answer.decision.upper(), answer.decision if answer.decision in _EXIT_CODES else "undecided"
    )
    return f"{word}  {plain(answer.sentence)}"


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
