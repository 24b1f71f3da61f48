"""`consent ever`: was a workspace ever opted in, or on by default; when, by whom, under which words?"""

from __future__ import annotations

import argparse
import json
from typing import Any
from urllib.parse import quote

from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.terminal import plain, table
from consent_gate.commands.usage import Subcommands, examples

WAS, NEVER = 0, 1
Told = dict[str, Any]

_EXIT_CODES = (
    "Exit codes: 0 it was, once (whether it is now, `consent check` says); 1 it never was;\n"
    "2 refused or wrong usage."
)
_EXAMPLES = """\
  consent ever acme train.search_ranking
  consent ever acme train.search_ranking --as-of 2024-01-01T00:00:00Z"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "ever",
        parents=[shared],
        **examples(_EXAMPLES, _EXIT_CODES),
        help="whether a workspace was ever opted in: when, by whom, under which words",
    )
    command.add_argument("workspace", metavar="WORKSPACE")
    command.add_argument("purpose", metavar="PURPOSE")
    command.add_argument(
        "--known-at",
        metavar="TOKEN|TIME",
        help="answer with what the ledger knew then, not with all it knows",
    )
    command.add_argument("--as-of", metavar="TIME", help="look no further than that time")
    command.set_defaults(run=asking("auditor", lambda ledger, _, options: ever(ledger, options)))


def ever(ledger: Ledger, options: argparse.Namespace) -> int:
    """Ask, print the answer, return 0 if it was ever opted in, else 1: it says nothing of now.

    Raises ConsentError `unknown_workspace`, and whatever else the ledger refuses with.
    """
    asked = {"purpose": options.purpose, "knownAt": options.known_at, "asOf": options.as_of}
    told: Told = ledger.get(
        f"/v1/workspaces/{quote(options.workspace, safe='')}/ever",
        **{name: value for name, value in asked.items() if value is not None},
    )
    print(json.dumps(told, ensure_ascii=False) if options.json else _in_words(told))
    return WAS if told["optedIn"] else NEVER


def _in_words(told: Told) -> str:
    evidence = {one["position"]: one for one in told["evidence"]}
    parts = [plain(told["sentence"])]
    if told["periods"]:
        rows = [_period(one) for one in told["periods"]]
        parts.append(table([["permitted from", "until", "because", "ended by"], *rows]))
    if told["consents"]:
        rows = [_consent(one, evidence) for one in told["consents"]]
        parts.append(table([["consent from", "until", "by", "under the words"], *rows]))
    parts.append(
        f"Every event named here can be proven: consent prove EVENT. As of {_time(told['ledgerTime'])}."
    )
    return "\n\n".join(parts)


def _period(one: Told) -> list[str]:
    because = ", ".join(_reason(reason) for reason in one["reasons"])
    version = f", version {one['policyVersion']}" if one.get("policyVersion") else ""
    ended = ", ".join(_reason(reason) for reason in one.get("endedBy", ()))
    return [_time(one["since"]), _until(one), plain(f"{because}{version}"), plain(ended)]


def _reason(reason: Told) -> str:
    at = f" (event {reason['position']})" if reason.get("position") else ""
    return f"{reason['code']}{at}"


def _consent(one: Told, evidence: dict[str, Told]) -> list[str]:
    by = evidence.get(one["position"], {})
    who = f"{by.get('requesterRole') or 'somebody'} of the {one['scope']}"
    proof = f" ({by['authority']})" if by.get("authority") else ""
    sealed = ", sealed" if by.get("requesterSealed") else ""
    typed = f", recorded by {by['recordedBy']}" if by.get("recordedBy") else ""
    words = f"notice {by['textSha256']}" if by.get("textSha256") else "a notice without a text"
    return [
        _time(one["since"]),
        _until(one),
        plain(f"{who}{proof}{sealed}{typed}, event {one['position']}"),
        plain(words),
    ]


def _until(one: Told) -> str:
    return _time(one["until"]) if one.get("until") else "now"


def _time(text: str) -> str:
    return f"{text[:19]}Z"
