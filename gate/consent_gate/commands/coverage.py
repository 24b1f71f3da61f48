"""`consent coverage`: which models, data sets and jobs nobody asked about, or should no longer use."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from consent_domain.errors import ConsentError

from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.runs import runs_of
from consent_gate.commands.terminal import painted, plain, table
from consent_gate.commands.usage import Subcommands, examples
from consent_gate.coverage import Against, Asset, Finding, as_html, covered, inventory

_EXIT_CODES = "Exit codes: 0 everything is covered; 1 something is not; 2 refused or wrong usage."
_EXAMPLES = """\
  consent coverage inventory.csv
  consent coverage mlflow:http://localhost:5000 --html coverage.html"""

ALL_COVERED, GAPS = 0, 1


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "coverage",
        parents=[shared],
        **examples(_EXAMPLES, _EXIT_CODES),
        help="which models, data sets and jobs have no manifest, or one older than a withdrawal",
    )
    command.add_argument(
        "inventory",
        metavar="INVENTORY.csv|mlflow:URI",
        help="CSV with the columns kind, name and perhaps version, run; or a registry of MLflow",
    )
    command.add_argument("--html", metavar="FILE", help="write the report as a page, too")
    command.set_defaults(run=asking("auditor", lambda ledger, _, options: coverage(ledger, options)))


def coverage(ledger: Ledger, options: argparse.Namespace) -> int:
    """Compare, print, return 0 if everything is covered. Raises ConsentError if that cannot be told."""
    assets = _assets(options.inventory)
    token = str(ledger.get("/v1/purposes")["token"])
    findings = covered(assets, runs_of(ledger), lambda run: _due(ledger, run))
    if options.html:
        page = Path(options.html)
        try:
            page.write_text(as_html(findings, token), encoding="utf-8")
        except OSError as error:
            raise ConsentError("invalid_value", f"{page} cannot be written: {error}") from error
    if options.json:
        print(json.dumps({"token": token, "assets": [one.told() for one in findings]}, ensure_ascii=False))
    else:
        _print(findings)
    return ALL_COVERED if all(one.state == "covered" for one in findings) else GAPS


def _assets(named: str) -> list[Asset]:
    if named.startswith("mlflow:"):
        from consent_gate.mlflow import inventory_of

        return inventory_of(named.removeprefix("mlflow:"))
    return inventory(Path(named))


def _due(ledger: Ledger, run: str) -> Against:
    """What is open of a run. Where the ledger says that there is more than it tells, anything may be."""
    told = ledger.get("/v1/obligations", run=run, open="true")
    if "objections" not in told:
        raise ConsentError("unavailable", "the ledger is older than this command, and says not who objects")
    more = {"workspace": "others", "because": "more", "dueAt": "", "outputs": [{"open": True}]}
    return Against(
        told["obligations"] + [more] * bool(told.get("more")),
        told["objections"] + [more] * bool(told.get("objectionsMore")),
    )


def _print(findings: list[Finding]) -> None:
    rows = [
        [one.state, one.asset.kind, plain(one.asset.name), plain(one.asset.version), plain(one.run),
         plain(one.why), f"{one.due_at[:10]}"]
        for one in sorted(findings, key=lambda one: one.state == "covered")
    ]  # fmt: skip
    print(table([["state", "kind", "name", "version", "run", "why", "due"], *rows]))
    gaps = sum(one.state != "covered" for one in findings)
    word = painted("covered", "permit") if not gaps else painted(f"{gaps} not covered", "deny")
    print(f"\n{word}: {len(findings)} assets", file=sys.stdout)
