"""`consent history`: every event of a workspace."""

from __future__ import annotations

import argparse
import json

from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.recorded import position_of, summary_of, time_of, type_of
from consent_gate.commands.terminal import plain, table
from consent_gate.commands.usage import EXIT_CODES, Subcommands, examples

_EXAMPLES = """\
  consent history acme
  consent history acme --json > events.ndjson"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "history", parents=[shared], help="every event of a workspace", **examples(_EXAMPLES, EXIT_CODES)
    )
    command.add_argument("workspace", metavar="WORKSPACE")
    command.set_defaults(run=asking("auditor", lambda ledger, _, options: history(ledger, options)))


def history(ledger: Ledger, options: argparse.Namespace) -> int:
    """Print every event of a workspace, oldest first; return 0. With `--json` one event a line.

    Raises ConsentError `unknown_workspace` for one that the ledger does not know.
    """
    events = list(ledger.history(options.workspace))
    if options.json:
        for event in events:
            print(json.dumps(event, ensure_ascii=False))
        return 0
    rows = [[str(position_of(one)), time_of(one), type_of(one), plain(summary_of(one))] for one in events]
    print(table([["event", "recorded", "what", ""], *rows], right=(0,)))
    return 0
