"""`consent-ledger`: serve, publish, migrate, keys; fsck, backup, restore, import, recover.

Exit codes: 0 done, 1 failed, 2 wrong arguments; of fsck: 0 sound, 1 damaged, 2 not checked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeAlias

import asyncpg
from consent_domain.errors import ConsentError
from consent_plumbing.migrations import MigrationRefused
from consent_plumbing.process import EXIT_FAILED, EXIT_USAGE
from consent_plumbing.settings import SettingsError

from consent_ledger.commands import keys, publish, recovery, serve
from consent_ledger.commands.telling import fail

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_FAILURES = (
    ConsentError,
    MigrationRefused,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)


def main() -> NoReturn:
    """The command's entry point: read the arguments, run, exit."""
    sys.exit(run(parse(sys.argv[1:])))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace with `run`. Exits 2 with the usage for wrong ones."""
    parser = argparse.ArgumentParser(prog="consent-ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--json", action="store_true", help="answer as one JSON object")
    for family in (serve, publish, keys, recovery):
        family.add(commands, told)
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
    except _FAILURES as error:
        return fail(arguments, type(error).__name__, str(error) or "no answer in time", EXIT_FAILED)


if __name__ == "__main__":
    main()
