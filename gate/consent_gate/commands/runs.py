"""`consent runs`: register what was made of whose data; list and explain runs, and say what is due."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.terminal import painted, plain, table
from consent_gate.commands.usage import DENY, EXIT_CODES, PERMIT, Subcommands, examples

_REGISTERS = "  consent runs register ranker.json"
_LISTS = """\
  consent runs list
  consent runs list --workspace acme --purpose train.search_ranking --json"""
_EXPLAINS = "  consent runs explain ranker-2026-02-01 acme"
_EXIT_CODES_NOW = "Exit codes: 0 permitted now; 1 denied now; 2 refused or wrong usage."

PAGE = 1_000
Told = dict[str, Any]


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the commands to the program's."""
    command = commands.add_parser(
        "runs", help="register, list and explain runs that used data",
        **examples("\n".join((_REGISTERS, _LISTS, _EXPLAINS)), EXIT_CODES),
    )  # fmt: skip
    below = command.add_subparsers(dest="verb", required=True, metavar="VERB")
    register = below.add_parser(
        "register", parents=[shared], help="register a prepared manifest; the ledger verifies and signs it",
        **examples(_REGISTERS, EXIT_CODES),
    )  # fmt: skip
    register.add_argument(
        "file", metavar="FILE", help="what `Prepared.encode` of consent_gate.manifests wrote"
    )
    register.set_defaults(run=asking("pipeline", lambda ledger, _, options: registered(ledger, options)))
    listing = below.add_parser(
        "list", parents=[shared], help="runs, or those that used a workspace's data",
        **examples(_LISTS, EXIT_CODES),
    )  # fmt: skip
    listing.add_argument("--workspace", metavar="WORKSPACE", help="only runs that used its data")
    listing.add_argument("--purpose", metavar="PURPOSE", help="only runs for this purpose")
    listing.set_defaults(run=asking("auditor", lambda ledger, _, options: listed(ledger, options)))
    explain = below.add_parser(
        "explain",
        parents=[shared],
        **examples(_EXPLAINS, _EXIT_CODES_NOW),
        help="whether a run used a workspace's data, why it was permitted, and whether it would be now",
    )
    explain.add_argument("name", metavar="RUN")
    explain.add_argument("workspace", metavar="WORKSPACE")
    explain.set_defaults(run=asking("auditor", lambda ledger, _, options: explained(ledger, options)))


def registered(ledger: Ledger, options: argparse.Namespace) -> int:
    """Register, print the answer, return 0. Raises ConsentError `manifest_refused` and others."""
    from consent_gate.manifests import read, register_with

    told = register_with(ledger, read(Path(options.file)))
    if options.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(f"{plain(told['run'])} is registered at {told['position']}; proof: {told['proofUrl']}")
    return PERMIT


def runs_of(ledger: Ledger, **asked: str | None) -> list[Told]:
    """All runs, in the order of their registration."""
    found: list[Told] = []
    after = "0"
    while after:
        page = ledger.get(
            "/v1/runs",
            after=after,
            limit=str(PAGE),
            **{name: value for name, value in asked.items() if value},
        )
        found += page["runs"]
        after = page.get("next", "")
    return found


def listed(ledger: Ledger, options: argparse.Namespace) -> int:
    """Print the runs, return 0."""
    found = runs_of(ledger, workspace=options.workspace, purpose=options.purpose)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return PERMIT
    rows = [
        [
            plain(run["run"]),
            plain(run["purpose"]),
            run["position"],
            f"{run['at'][:19]}Z",
            plain(", ".join(output["uri"] for output in run.get("outputs", ()))),
        ]
        for run in found
    ]
    print(table([["run", "purpose", "registered at", "decided at", "outputs"], *rows]))
    return PERMIT


def explained(ledger: Ledger, options: argparse.Namespace) -> int:
    """Print whether and why, return 0 if it would be permitted now, else 1."""
    told: Told = ledger.get(f"/v1/runs/{quote(options.name, safe='')}/explain", workspace=options.workspace)
    if options.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(_in_words(told))
    return PERMIT if told["now"]["decision"] == "permit" else DENY


def _in_words(told: Told) -> str:
    used = "used data of" if told["used"] else "used no data of"
    lines = [f"{plain(told['run'])} {used} {plain(told['workspace'])} for {plain(told['purpose'])}."]
    for when in ("then", "now"):
        judged = told[when]
        reasons = ", ".join(_reason(reason) for reason in judged["reasons"])
        word = painted(judged["decision"], judged["decision"])
        lines.append(f"{when:4}  {word}  {plain(reasons)}  as of {judged['ledgerTime'][:19]}Z")
    if told.get("changedAt"):
        lines.append(f"It changed at {told['changedAt'][:19]}Z.")
    return "\n".join(lines)


def _reason(reason: Told) -> str:
    return f"{reason['code']} (event {reason['position']})" if reason.get("position") else str(reason["code"])
