"""`consent-ledger`: serve, migrate, and keys. Exit codes: 0 done, 1 failed, 2 wrong arguments or settings."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import asyncpg
from consent_domain.errors import ConsentError
from consent_domain.identifiers import require_id
from consent_plumbing.logs import configure
from consent_plumbing.migrations import MigrationRefused
from consent_plumbing.postgres import open_pool
from consent_plumbing.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from consent_plumbing.settings import SettingsError, load

from consent_ledger import api_keys, serving
from consent_ledger.key_files import load_signer, make_feed_key
from consent_ledger.keystore import SqliteKeyStore
from consent_ledger.master_key import ensure_master_key, load_master_key
from consent_ledger.opening import migrate_database
from consent_ledger.settings import KeyFileSettings, LedgerSettings, ToolSettings

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
    """The arguments as a namespace with `command`. Exits 2 with the usage for wrong ones."""
    parser = argparse.ArgumentParser(prog="consent-ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    told = argparse.ArgumentParser(add_help=False)
    told.add_argument("--json", action="store_true", help="answer as one JSON object")

    serve = commands.add_parser("serve", help="serve the HTTP API", parents=[told])
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen on (8000)")
    serve.add_argument(
        "--workers", type=int, default=1, help="worker processes (1); one that dies is replaced"
    )

    commands.add_parser("migrate", help="bring the database's schema up to date", parents=[told])

    keys = commands.add_parser("keys", help="API keys, and the ledger's own key files")
    key_commands = keys.add_subparsers(dest="key_command", required=True)
    create = key_commands.add_parser("create", help="make an API key; it is shown once", parents=[told])
    create.add_argument("--role", required=True, choices=sorted(api_keys.ROLE_LETTERS))
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--workspace", help="the workspace that an owner's key is bound to")
    create.add_argument("--organisation", help="the organisation that an owner's key is bound to")
    create.add_argument("--principal", help="the person; keys of one person name the same (the key itself)")
    key_commands.add_parser("list", help="list the API keys, without their secrets", parents=[told])
    revoke = key_commands.add_parser("revoke", help="revoke an API key", parents=[told])
    revoke.add_argument("prefix", help="its eight characters after ck_x_")
    key_commands.add_parser("feed", help="show the public key that gates pin", parents=[told])
    key_commands.add_parser(
        "files", help="make the feed's and the master key's files, if missing", parents=[told]
    )
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Run a command; its exit code. What went wrong is said on stderr."""
    try:
        if arguments.command == "serve":
            return _serve(arguments)
        if arguments.command == "migrate":
            return _migrate(arguments)
        return _KEY_COMMANDS[arguments.key_command](arguments)
    except SettingsError as error:
        return _failed(arguments, "settings", str(error), EXIT_USAGE)
    except ConsentError as error:
        return _failed(arguments, error.code, error.detail, EXIT_FAILED)
    except _FAILURES as error:
        return _failed(arguments, type(error).__name__, str(error) or "no answer in time", EXIT_FAILED)


def _failed(arguments: argparse.Namespace, code: str, detail: str, exit_code: int) -> int:
    said = json.dumps({"error": code, "detail": detail}) if arguments.json else f"consent-ledger: {detail}"
    print(said, file=sys.stderr)
    return exit_code


def _say(arguments: argparse.Namespace, answer: dict[str, object], words: str) -> int:
    print(json.dumps(answer) if arguments.json else words, flush=True)
    return EXIT_OK


# -- serve and migrate ---------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. What a worker needs from disk is tried here first, where it can be said."""
    settings = load(LedgerSettings)
    try:
        configure(settings.log_level, "ledger")
    except ValueError as error:
        raise SettingsError(str(error)) from error
    load_signer(Path(settings.feed_key_file), settings.origin)
    SqliteKeyStore(Path(settings.keystore_file), load_master_key(settings.master_key_path))
    Path(settings.replica_folder).mkdir(parents=True, exist_ok=True)
    return serving.serve(arguments.host, arguments.port, arguments.workers)


def _migrate(arguments: argparse.Namespace) -> int:
    applied = asyncio.run(migrate_database(load(ToolSettings).database_url))
    words = f"applied {', '.join(applied)}" if applied else "the schema is up to date"
    return _say(arguments, {"applied": applied}, words)


# -- keys ----------------------------------------------------------------------------------------------------


def _create(arguments: argparse.Namespace) -> int:
    given = [(kind, getattr(arguments, kind)) for kind in ("workspace", "organisation")]
    scopes = [(kind, require_id(name, kind)) for kind, name in given if name is not None]
    if len(scopes) > 1:
        raise ConsentError("invalid_value", "a key is bound to a workspace or an organisation, not to both")

    async def create() -> str:
        pool = await open_pool(load(ToolSettings).database_url, "consent-ledger keys", 1)
        async with pool, pool.acquire(timeout=5) as connection:
            return await api_keys.create_key(
                connection, arguments.role, arguments.name, scopes[0] if scopes else None, arguments.principal
            )

    key = asyncio.run(create())
    return _say(arguments, {"key": key, "prefix": key[5:13], "role": arguments.role}, key)


def _list(arguments: argparse.Namespace) -> int:
    async def read() -> list[asyncpg.Record]:
        pool = await open_pool(load(ToolSettings).database_url, "consent-ledger keys", 1)
        async with pool, pool.acquire(timeout=5) as connection:
            return await api_keys.list_keys(connection)

    listed = [
        {
            "prefix": row["prefix"],
            "role": row["role"],
            "scope": f"{row['scope_kind']}/{row['scope_id']}" if row["scope_kind"] else "",
            "name": row["name"],
            "principal": row["principal"],
            "createdAt": row["created_at"].isoformat(),
            "revokedAt": row["revoked_at"].isoformat() if row["revoked_at"] else "",
        }
        for row in asyncio.run(read())
    ]
    lines = [
        f"{key['prefix']}  {key['role']:9} {key['scope'] or '-':24} {key['name']}"
        + (f"  revoked {key['revokedAt']}" if key["revokedAt"] else "")
        for key in listed
    ]
    return _say(arguments, {"keys": listed}, "\n".join(lines) or "no keys")


def _revoke(arguments: argparse.Namespace) -> int:
    async def revoke() -> bool:
        pool = await open_pool(load(ToolSettings).database_url, "consent-ledger keys", 1)
        async with pool, pool.acquire(timeout=5) as connection:
            return await api_keys.revoke_key(connection, arguments.prefix)

    if not asyncio.run(revoke()):
        raise ConsentError("not_found", f"there is no key {arguments.prefix!r} that is not revoked already")
    return _say(arguments, {"revoked": arguments.prefix}, f"{arguments.prefix} is revoked")


def _feed(arguments: argparse.Namespace) -> int:
    settings = load(KeyFileSettings)
    key = str(load_signer(Path(settings.feed_key_file), settings.origin).verifier)
    return _say(arguments, {"feedKey": key}, key)


def _files(arguments: argparse.Namespace) -> int:
    settings = load(KeyFileSettings)
    feed, master = Path(settings.feed_key_file), settings.master_key_path
    made = [str(path) for path in (feed, master) if path is not None and not path.exists()]
    make_feed_key(feed)
    if master is not None:
        ensure_master_key(master)
    return _say(arguments, {"made": made}, f"made {', '.join(made)}" if made else "the key files are there")


_KEY_COMMANDS = {"create": _create, "list": _list, "revoke": _revoke, "feed": _feed, "files": _files}


if __name__ == "__main__":
    main()
