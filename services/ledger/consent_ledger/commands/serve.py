"""`consent-ledger serve` and `migrate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from consent_plumbing.settings import SettingsError, load

from consent_ledger.commands.telling import say
from consent_ledger.settings import LedgerSettings, ToolSettings

if TYPE_CHECKING:
    from consent_ledger.main import Commands


def add(commands: Commands, told: argparse.ArgumentParser) -> None:
    """Add the commands to the parser."""
    serve = commands.add_parser("serve", help="serve the HTTP API", parents=[told])
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
    serve.add_argument(
        "--workers", type=int, default=1, help="worker processes (1); one that dies is replaced"
    )
    serve.set_defaults(run=_serve)

    migrate = commands.add_parser("migrate", help="bring the database's schema up to date", parents=[told])
    migrate.set_defaults(run=_migrate)


def _serve(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. What a worker needs from disk is tried here first, where it can be said."""
    from consent_gate.replica import Replica
    from consent_plumbing.logs import configure

    from consent_ledger import serving
    from consent_ledger.key_files import load_signer
    from consent_ledger.keystore import SqliteKeyStore
    from consent_ledger.master_key import load_master_key

    settings = load(LedgerSettings)
    try:
        configure(settings.log_level, "ledger")
    except ValueError as error:
        raise SettingsError(str(error)) from error
    load_signer(Path(settings.feed_key_file), settings.origin)
    SqliteKeyStore(Path(settings.keystore_file), load_master_key(settings.master_key_path))
    Replica.open(settings.replica_folder)
    return serving.serve(arguments.host, arguments.port, arguments.workers)


def _migrate(arguments: argparse.Namespace) -> int:
    import asyncio

    from consent_ledger.opening import migrate_database

    applied = asyncio.run(migrate_database(load(ToolSettings).database_url))
    words = f"applied {', '.join(applied)}" if applied else "the schema is up to date"
    return say(arguments, {"applied": applied}, words)
