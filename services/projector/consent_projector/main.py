"""`consent-projector`: run the views and the relay, rebuild a view, say how far behind they are, migrate.

Exit codes: 0 done, 1 failed (or, for `rebuild`, rows differ and nothing was switched), 2 bad arguments
or settings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from consent_plumbing.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from consent_plumbing.settings import SettingsError, load

from consent_projector.consumer import EVENTS_MAX
from consent_projector.settings import ProjectorSettings, ToolSettings
from consent_projector.views import VIEWS

RELAY = "relay"
EVERYTHING = (*VIEWS, RELAY)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    What a command works with is imported when it runs: all of it takes longer than most commands do.
    """
    asked = parser().parse_args(arguments)
    import uvloop
    from consent_plumbing import logs

    try:
        kind = ProjectorSettings if asked.command == "run" else ToolSettings
        settings = load(kind)
        logs.configure(settings.log_level, "projector")
        match asked.command:
            case "run":
                from consent_projector.running import run

                assert isinstance(settings, ProjectorSettings)
                return uvloop.run(run(settings, asked.view or EVERYTHING, asked.batch))
            case "rebuild":
                return uvloop.run(_rebuild(settings.database_url, asked))
            case "lag":
                return uvloop.run(_lag(settings.database_url, asked.json))
            case _:
                return uvloop.run(_migrate(settings.database_url, asked.json))
    except (SettingsError, ValueError) as error:
        print(f"consent-projector: {error}", file=sys.stderr)
        return EXIT_USAGE
    except _failures() as error:
        print(f"consent-projector: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_FAILED


def _failures() -> tuple[type[Exception], ...]:
    """What is said in a sentence, without a trace. Asked for after a failure only: it takes asyncpg."""
    import asyncpg
    from consent_plumbing.migrations import MigrationRefused

    from consent_projector.build import LeaseLost
    from consent_projector.consumer import Hole
    from consent_projector.seams import Unavailable

    return MigrationRefused, LeaseLost, Hole, Unavailable, asyncpg.PostgresError, OSError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="consent-projector", description=__doc__.partition("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    run_command = commands.add_parser(
        "run", help="apply events to views, and relay them to NATS, until told to stop"
    )
    run_command.add_argument(
        "--view", action="append", choices=EVERYTHING, help="only this one; may be repeated (default: all)"
    )
    run_command.add_argument(
        "--batch",
        type=_count,
        default=EVENTS_MAX,
        help="events of a transaction, at most (default: %(default)s)",
    )
    rebuild_command = commands.add_parser(
        "rebuild", help="build a view anew beside the live one, compare, and switch"
    )
    rebuild_command.add_argument("view", choices=tuple(VIEWS))
    rebuild_command.add_argument(
        "--processes",
        type=_count,
        default=os.cpu_count() or 1,
        help="how many fold at once (default: %(default)s)",
    )
    rebuild_command.add_argument(
        "--accept-differences", action="store_true", help="switch although rows differ from the live ones"
    )
    lag_command = commands.add_parser("lag", help="say how far each view is behind the ledger")
    migrate_command = commands.add_parser("migrate", help="bring the schema `views` up to date")
    for command in (rebuild_command, lag_command, migrate_command):
        command.add_argument("--json", action="store_true", help="print JSON")
    return top


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100000")
    return number


async def _rebuild(database_url: str, asked: argparse.Namespace) -> int:
    from consent_projector.owners import owner_name
    from consent_projector.rebuild import rebuild

    result = await rebuild(
        database_url, VIEWS[asked.view], owner_name(), asked.processes, asked.accept_differences
    )
    if asked.json:
        print(json.dumps(result._asdict()))
    else:
        print(
            f"{result.view}: {result.events} events folded into {result.rows} rows, "
            f"{result.faults} quarantined, {result.differences} rows differ from the live view: "
            + (f"switched at position {result.position}" if result.switched else "not switched")
        )
    return EXIT_OK if result.switched else EXIT_FAILED


async def _lag(database_url: str, as_json: bool) -> int:
    from consent_plumbing.postgres import open_pool

    from consent_projector.database import STATEMENTS
    from consent_projector.store import ROLE, connected

    pool = await open_pool(database_url, "consent-projector lag", connections_max=1, role=ROLE)
    try:
        async with connected(pool) as connection:
            rows = [dict(row) for row in await connection.fetch(STATEMENTS["lag"])]
    finally:
        pool.terminate()
    if as_json:
        print(json.dumps(rows))
    for row in [] if as_json else rows:
        held = "leased" if row["is_leased"] else "nobody runs it"
        print(
            f"{row['view']:<14} at {row['position']} of {row['head']}, {row['behind']} events behind"
            f" ({row['behind_seconds']:.1f} s), generation {row['generation']}, {held}"
        )
    return EXIT_OK


async def _migrate(database_url: str, as_json: bool) -> int:
    from consent_plumbing.migrations import migrate

    from consent_projector.database import MIGRATIONS, SCHEMA

    applied = await migrate(database_url, SCHEMA, MIGRATIONS)
    print(json.dumps(applied) if as_json else "\n".join(applied) or "up to date")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
