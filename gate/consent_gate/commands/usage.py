"""What the sub-commands say of themselves, and their exit codes."""

from __future__ import annotations

import argparse
from typing import TypeAlias, TypedDict

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a module's `add(commands, shared)` adds itself to; `shared` has a ledger's settings, and `--json`.

Its parser must set `run`, which takes the arguments and returns the exit code. One that sets
`checks=True` is about proofs, and its exit codes are those of `EXIT_CODES_OF_CHECKS`.
"""

PERMIT, DENY, UNDECIDED = 0, 1, 2
"""Exit codes. A shell's `&&` goes on after a permit only."""
GOOD, BAD, UNCHECKED = 0, 1, 2
"""Exit codes of commands about proofs."""
EXIT_CODES = "Exit codes: 0 permit or done; 1 deny; 2 undecided, refused or wrong usage. Only 0 is a yes."
EXIT_CODES_OF_CHECKS = (
    "Exit codes: 0 checked and good; 1 checked and bad; 2 could not be checked, or wrong usage."
)


class Shown(TypedDict):
    """How a parser shows its examples and exit codes."""

    epilog: str
    formatter_class: type[argparse.HelpFormatter]


def examples(lines: str, exit_codes: str) -> Shown:
    """What a command's `--help` ends with: examples, each a line, and its exit codes."""
    return {
        "epilog": f"examples:\n{lines}\n\n{exit_codes}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
