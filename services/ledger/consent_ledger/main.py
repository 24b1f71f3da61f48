"""`consent-ledger`: serve, publish, migrate, keys; fsck, backup, restore, import, recover.

Exit codes: 0 done, 1 failed, 2 wrong arguments; of fsck: 0 sound, 1 damaged, 2 not checked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, TypeAlias

from consent_domain.errors import ConsentError
from consent_plumbing.process import EXIT_FAILED, EXIT_USAGE
from consent_plumbing.settings import SettingsError

from consent_ledger.commands.telling import fail

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

FAMILIES = {
    "serve": ("serve", "migrate"),
    "publish": ("publish",),
    "keys": ("keys",),
    "recovery": ("fsck", "backup", "restore", "import", "recover"),
}
"""The modules of `commands`, in the order of `--help`, and the commands that each adds."""


def main() -> NoReturn:
    """The command's entry point: read the arguments, run, exit."""
    sys.exit(run(parse(sys.argv[1:])))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace with `run`. Exits 2 with the usage for wrong ones.

    Only the module of the command that is named first is imported; all are for `--help`.
    """
    parser = argparse.ArgumentParser(prog="consent-ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--json", action="store_true", help="answer as one JSON object")
    named = [family for family, added in FAMILIES.items() if arguments and arguments[0] in added]
    for family in named or FAMILIES:
        import_module(f"consent_ledger.commands.{family}").add(commands, told)
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Run a command; its exit code. What went wrong is said on stderr."""
    try:
        code: int = arguments.run(arguments)
        return code
    except SettingsError as error:
        return fail(arguments, "settings", str(error), EXIT_USAGE)
    except ConsentError as error:
        return fail(arguments, error.code, error.detail, EXIT_FAILED)
    except _failures() as error:
        return fail(arguments, type(error).__name__, str(error) or "no answer in time", EXIT_FAILED)


def _failures() -> tuple[type[Exception], ...]:
    """What is said in a sentence, without a trace. Asked for after a failure only: it takes asyncpg."""
    import asyncpg
    from consent_plumbing.migrations import MigrationRefused

    return MigrationRefused, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError


if __name__ == "__main__":
    main()
