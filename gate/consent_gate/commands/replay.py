"""`consent replay`: the history folded again, event by event, each proven before it is folded."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from consent_domain.decide import Decision
from consent_domain.facts import OrganisationFacts, WorkspaceFacts
from consent_domain.grounds import Reason
from consent_domain.instants import micros, moment_of, parse_rfc3339, rfc3339
from consent_domain.notes import encode_base64

from consent_gate.audit.manifests import read_manifest, require_about
from consent_gate.audit.replay import Asked, Change, Replay, Step, last_position
from consent_gate.audit.sources import CHECKPOINT, LogSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import in_words, newest_note
from consent_gate.checkpoints import Opened
from consent_gate.commands.pinned import exported, is_url, live, pinned, pinning
from consent_gate.commands.recorded import summary_of, time_of, type_of
from consent_gate.commands.richly import print_table, progress
from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.usage import BAD, EXIT_CODES_OF_CHECKS, GOOD, Subcommands, examples

_EXAMPLES = """\
  consent replay audit.tar.gz --summary
  consent replay audit.tar.gz --workspace acme --purpose train.search_ranking
  consent replay http://127.0.0.1:8080 --until 2024-02-01T00:00:00Z"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "replay", parents=[pinning()], **examples(_EXAMPLES, EXIT_CODES_OF_CHECKS),
        help="fold the history again, each event proven first, and say what each changed",
    )  # fmt: skip
    command.add_argument("log", metavar="OUT|URL", help="an export that begins at 1, or a ledger's address")
    command.add_argument("--workspace", default="", metavar="W", help="tell of this one only")
    command.add_argument("--purpose", default="", metavar="P", help="tell of this one only")
    command.add_argument("--until", metavar="POSITION|TIME", help="stop after that event, or at that time")
    command.add_argument("--summary", action="store_true", help="tell of no single event")
    command.set_defaults(run=replay, checks=True)


def replay(options: argparse.Namespace) -> int:
    """Replay and print; 0 if all could be read, 1 if an event was quarantined.

    Raises ConsentError for an event that is not proven: nothing behind it is folded.
    """
    trusted, found = pinned(options)
    position, time = _until(options.until)
    source = live(options.log, options, found) if is_url(options.log) else exported(Path(options.log))
    try:
        note = newest_note(source, trusted) if is_url(options.log) else source.read(CHECKPOINT)
        opened = trusted.open(note)
        first, last = 1, opened.checkpoint.size
        if not is_url(options.log):
            manifest = read_manifest(source)
            require_about(manifest, opened.checkpoint)
            first, last = manifest.first, manifest.last
        return _replay(source, opened, first, last, position, time, options)
    finally:
        source.close()


def _until(said: str | None) -> tuple[int | None, datetime | None]:
    if said is None:
        return None, None
    if said.isascii() and said.isdigit():
        return int(said), None
    return None, moment_of(parse_rfc3339(said))


def _replay(
    source: LogSource,
    opened: Opened,
    first: int,
    last: int,
    position: int | None,
    time: datetime | None,
    options: argparse.Namespace,
) -> int:
    # Facts have no cycles; looking for some again and again would take a tenth of the time.
    gc.set_threshold(100_000)
    tree = VerifiedTree(source, opened.checkpoint)
    last = last_position(tree, first, last, position)
    with progress("replaying", "events", beside_lines=not options.summary) as told:
        replayed = Replay(tree, Asked(last, time, options.workspace, options.purpose), told)
        if options.summary:
            replayed.whole()
        else:
            for step in replayed.steps():
                print(_step_for_programs(step) if options.json else _step_in_words(step))
    sys.stdout.flush()
    if options.json:
        print(json.dumps(_summary(replayed, opened)))
    else:
        _print_summary(replayed, opened)
    return BAD if replayed.folded.wrong else GOOD


# -- for programs --------------------------------------------------------------------------------------------


def _step_for_programs(step: Step) -> str:
    told = {
        "position": step.read.position,
        "event": msgspec.Raw(step.entry),
        "passed": [_change(change) for change in step.passed],
        "changed": [_change(change) for change in step.changes],
    }
    if step.read.wrong:
        told["quarantined"] = step.read.wrong
    return msgspec.json.encode(told).decode()


def _change(change: Change) -> dict[str, object]:
    return {
        "workspace": change.workspace,
        "purpose": change.purpose,
        "before": _decision(change.before),
        "after": _decision(change.after),
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "decision": "permit" if decision.permit else "deny",
        "standing": decision.standing,
        "reasons": [
            {"code": reason.code, "position": reason.position, "workspace": reason.workspace}
            for reason in decision.reasons
        ],
        "policyVersion": decision.policy_version,
    }


def _summary(replayed: Replay, opened: Opened) -> dict[str, Any]:
    checkpoint, folded = opened.checkpoint, replayed.folded
    standing = {purpose: _decision(decision) for purpose, decision in replayed.decisions()}
    return {
        "summary": {
            "result": "bad" if folded.wrong else "good",
            "events": replayed.position,
            "time": _time(replayed.time) if replayed.time else None,
            "folded": dict(sorted(replayed.types.items())),
            "workspaces": folded.count(WorkspaceFacts),
            "organisations": folded.count(OrganisationFacts),
            "policies": len(folded.book.policies),
            "standing": standing,
            "quarantined": [wrong._asdict() for wrong in folded.wrong],
            "log": checkpoint.name,
            "size": checkpoint.size,
            "root": encode_base64(checkpoint.root),
            "signedBy": list(opened.signed_by),
            "cosignedBy": dict(opened.cosigned_by),
        }
    }


# -- for people ----------------------------------------------------------------------------------------------


def _step_in_words(step: Step) -> str:
    lines = [f"    since then, because time passed: {_change_in_words(change)}" for change in step.passed]
    envelope = step.read.envelope
    try:
        stored = json.loads(step.entry)
        head = f"{time_of(stored)}  {painted(plain(type_of(stored)), 'bold')}  {plain(envelope.subject)}"
        said = plain(summary_of(stored))
    except (KeyError, TypeError, AttributeError, ValueError):
        head, said = f"{plain(envelope.type)}  {plain(envelope.subject)}", ""
    lines.append(f"event {step.read.position}  {head}")
    lines += [f"    {said}"] if said else []
    lines += [f"    → {_change_in_words(change)}" for change in step.changes]
    if step.read.wrong:
        lines.append(f"    {painted('QUARANTINED', 'undecided')}: {plain(step.read.wrong)}")
    return "\n".join(lines)


def _change_in_words(change: Change) -> str:
    what = f"{plain(change.workspace)}, {plain(change.purpose)}"
    return f"{what}: {_short(change.before)} → {_short(change.after)}"


def _short(decision: Decision) -> str:
    word = "permit" if decision.permit else "deny"
    return f"{painted(word, word)} ({plain(', '.join(_because(decision)))})"


def _because(decision: Decision) -> list[str]:
    said = [decision.standing]
    for reason in decision.reasons[:1]:
        if reason.code != decision.standing:
            said.append(_reason(reason))
    return said


def _reason(reason: Reason) -> str:
    return f"{reason.code}, event {reason.position}" if reason.position > 0 else reason.code


def _time(moment: datetime) -> str:
    return rfc3339(micros(moment))


def _print_summary(replayed: Replay, opened: Opened) -> None:
    folded = replayed.folded
    print()
    if rows := [_row(purpose, decision) for purpose, decision in replayed.decisions()]:
        print_table(["purpose", "decision", "standing", "because of"], rows)
        print()
    if replayed.types:
        counts = [[plain(name), f"{count:,}"] for name, count in sorted(replayed.types.items())]
        print_table(["folded", "events"], counts)
        print()
    for wrong in folded.wrong:
        word = painted("QUARANTINED", "undecided")
        print(f"{word} event {wrong.position} on {plain(wrong.stream)}: {plain(wrong.why)}")
    end = f", recorded until {_time(replayed.time)}" if replayed.time else ""
    print(
        f"replayed {replayed.position:,} events{end}: workspaces {folded.count(WorkspaceFacts):,}, "
        f"organisations {folded.count(OrganisationFacts):,}, policies {len(folded.book.policies):,}"
    )
    signed, *cosigned = in_words(opened)
    print(f"each was proven before it was folded: {plain(signed)}")
    for sentence in cosigned:
        print(plain(sentence))


def _row(purpose: str, decision: Decision) -> Sequence[str]:
    word = "permit" if decision.permit else "deny"
    reasons = ", ".join(map(_reason, decision.reasons))
    return [plain(purpose), word, decision.standing, plain(reasons)]
