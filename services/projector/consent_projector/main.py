"""`consent-projector`: run the views and the relay, rebuild a view, say how far behind they are, migrate.

Exit codes: 0 done, 1 failed (or, for `rebuild`, rows differ and nothing was switched), 2 bad arguments
or settings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import asyncpg
import structlog
import uvloop
from consent_plumbing import logs
from consent_plumbing.migrations import MigrationRefused, migrate
from consent_plumbing.nats import COMMITTED_SUBJECT, Bus
from consent_plumbing.postgres import Pool, open_pool
from consent_plumbing.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run_until_stopped, stop_on_signals
from consent_plumbing.settings import SettingsError, load

from consent_projector import consumer, relay
from consent_projector.build import LeaseLost
from consent_projector.clock import MonotonicClock
from consent_projector.consumer import Consumer, Hole
from consent_projector.database import MIGRATIONS, SCHEMA, STATEMENTS
from consent_projector.hints import Hints
from consent_projector.jetstream import JetStream
from consent_projector.metrics import Metrics
from consent_projector.proofreading import Proofreader, keep_proofreading
from consent_projector.rebuild import rebuild
from consent_projector.relay import Relay
from consent_projector.runner import keep_running
from consent_projector.seams import Unavailable
from consent_projector.settings import ProjectorSettings, ToolSettings
from consent_projector.store import ROLE, PostgresStore, connected
from consent_projector.table import Table
from consent_projector.views import VIEWS
from consent_projector.views.facts import FACTS

EVERYTHING = (*VIEWS, Relay.name)
CONNECTIONS_MAX = 8
RELEASE_SECONDS_MAX = 2.0

_log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    asked = parser().parse_args(arguments)
    try:
        kind = ProjectorSettings if asked.command == "run" else ToolSettings
        settings = load(kind)
        logs.configure(settings.log_level, "projector")
        match asked.command:
            case "run":
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
    except (MigrationRefused, LeaseLost, Hole, Unavailable, asyncpg.PostgresError, OSError) as error:
        print(f"consent-projector: {type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_FAILED


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
        default=consumer.EVENTS_MAX,
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


def owner_name() -> str:
    """A name for a holder of leases that nobody else ever has; the host and process id are for people."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"


async def run(settings: ProjectorSettings, names: Sequence[str], events_max: int) -> int:
    """Run a consumer for each name until SIGTERM or SIGINT, then give their leases back."""
    stop = stop_on_signals()
    metrics = Metrics()
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)
    pool = await open_pool(settings.database_url, "consent-projector", CONNECTIONS_MAX, role=ROLE)
    bus = Bus(settings.nats_url, "consent-projector")
    hints = Hints(settings.origin)
    await bus.hint(COMMITTED_SUBJECT, hints.offer)
    consumers = [_consumer(name, settings, pool, bus, hints, events_max) for name in dict.fromkeys(names)]
    _log.info("started", views=[each.sink.name for each in consumers])
    try:
        running = [keep_running(each, hints, metrics) for each in consumers]
        if FACTS.name in names:
            running.append(keep_proofreading(Proofreader(pool), metrics))
        await run_until_stopped(stop, *running)
    finally:
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS_MAX):
                await asyncio.gather(*(each.release() for each in consumers))
        await bus.close()
        pool.terminate()
    _log.info("stopped")
    return EXIT_OK


def _consumer(
    name: str, settings: ProjectorSettings, pool: Pool, bus: Bus, hints: Hints, events_max: int
) -> Consumer:
    store, clock = PostgresStore(pool), MonotonicClock()
    if name == Relay.name:
        sink = Relay(store, JetStream(bus), clock, settings.relay_from)
        # It takes nothing but the ledger's own rows: what was published cannot be taken back.
        nothing = Hints(settings.origin)
        return Consumer(sink, store, clock, nothing, owner_name(), min(events_max, relay.EVENTS_MAX))
    return Consumer(Table(VIEWS[name], store), store, clock, hints, owner_name(), events_max)


async def _rebuild(database_url: str, asked: argparse.Namespace) -> int:
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
    applied = await migrate(database_url, SCHEMA, MIGRATIONS)
    print(json.dumps(applied) if as_json else "\n".join(applied) or "up to date")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
