"""`consent-ledger keys`: API keys, and the ledger's own key files."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from consent_domain.errors import ConsentError
from consent_domain.identifiers import require_id
from consent_plumbing.settings import load

from consent_ledger import api_keys
from consent_ledger.commands import log_keys
from consent_ledger.commands.telling import say
from consent_ledger.settings import KeyFileSettings, LogKeySettings, ToolSettings

if TYPE_CHECKING:
    from consent_plumbing.postgres import Connection

    from consent_ledger.main import Commands

Found = TypeVar("Found")


def add(commands: Commands, told: argparse.ArgumentParser) -> None:
    """Add the commands to the parser."""
    keys = commands.add_parser("keys", help="API keys, and the ledger's own key files")
    key_commands = keys.add_subparsers(dest="key_command", required=True)
    create = key_commands.add_parser("create", help="make an API key; it is shown once", parents=[told])
    create.add_argument("--role", required=True, choices=sorted(api_keys.ROLE_LETTERS))
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--workspace", help="the workspace that an owner's key is bound to")
    create.add_argument("--organisation", help="the organisation that an owner's key is bound to")
    create.add_argument("--principal", help="the person; keys of one person name the same (the key itself)")
    create.add_argument(
        "--may-unseal",
        action="store_true",
        help="let an auditor look at sealed fields; each look is recorded",
    )
    create.set_defaults(run=_create)
    listing = key_commands.add_parser("list", help="list the API keys, without their secrets", parents=[told])
    listing.set_defaults(run=_list)
    revoke = key_commands.add_parser("revoke", help="revoke an API key", parents=[told])
    revoke.add_argument("prefix", help="its eight characters after ck_x_")
    revoke.set_defaults(run=_revoke)
    feed = key_commands.add_parser("feed", help="show the public key that gates pin", parents=[told])
    feed.set_defaults(run=_feed)
    files = key_commands.add_parser(
        "files", help="make the feed's, the log's and the master key's files, if missing", parents=[told]
    )
    files.set_defaults(run=_files)
    log_keys.add(key_commands, told)


def _create(arguments: argparse.Namespace) -> int:
    given = [(kind, getattr(arguments, kind)) for kind in ("workspace", "organisation")]
    scopes = [(kind, require_id(name, kind)) for kind, name in given if name is not None]
    if len(scopes) > 1:
        raise ConsentError("invalid_value", "a key is bound to a workspace or an organisation, not to both")

    key = _with_connection(
        lambda connection: api_keys.create_key(
            connection,
            arguments.role,
            arguments.name,
            scopes[0] if scopes else None,
            arguments.principal,
            arguments.may_unseal,
        )
    )
    return say(arguments, {"key": key, "prefix": key[5:13], "role": arguments.role}, key)


def _list(arguments: argparse.Namespace) -> int:
    listed = [
        {
            "prefix": row["prefix"],
            "role": row["role"],
            "scope": f"{row['scope_kind']}/{row['scope_id']}" if row["scope_kind"] else "",
            "name": row["name"],
            "principal": row["principal"],
            "mayUnseal": row["may_unseal"],
            "createdAt": row["created_at"].isoformat(),
            "revokedAt": row["revoked_at"].isoformat() if row["revoked_at"] else "",
        }
        for row in _with_connection(api_keys.list_keys)
    ]
    lines = [
        f"{key['prefix']}  {key['role']:9} {key['scope'] or '-':24} {key['name']}"
        + ("  may unseal" if key["mayUnseal"] else "")
        + (f"  revoked {key['revokedAt']}" if key["revokedAt"] else "")
        for key in listed
    ]
    return say(arguments, {"keys": listed}, "\n".join(lines) or "no keys")


def _revoke(arguments: argparse.Namespace) -> int:
    if not _with_connection(lambda connection: api_keys.revoke_key(connection, arguments.prefix)):
        raise ConsentError("not_found", f"there is no key {arguments.prefix!r} that is not revoked already")
    return say(arguments, {"revoked": arguments.prefix}, f"{arguments.prefix} is revoked")


def _with_connection(work: Callable[[Connection], Awaitable[Found]]) -> Found:
    """What `work` finds with a connection. asyncpg is imported here: the commands about files do without."""
    import asyncio

    from consent_plumbing.postgres import open_pool

    async def connected() -> Found:
        pool = await open_pool(load(ToolSettings).database_url, "consent-ledger keys", 1)
        async with pool, pool.acquire(timeout=5) as connection:
            return await work(connection)

    return asyncio.run(connected())


def _feed(arguments: argparse.Namespace) -> int:
    from consent_ledger.key_files import load_signer

    settings = load(KeyFileSettings)
    key = str(load_signer(Path(settings.feed_key_file), settings.origin).verifier)
    return say(arguments, {"feedKey": key}, key)


def _files(arguments: argparse.Namespace) -> int:
    from consent_gate.seeds import make_seed

    from consent_ledger.log.keys import make_log_key
    from consent_ledger.log.signer import SignerState
    from consent_ledger.master_key import ensure_master_key

    settings, log = load(KeyFileSettings), load(LogKeySettings)
    feed, master = Path(settings.feed_key_file), settings.master_key_path
    made = [str(path) for path in (feed, master, log.log_key_path) if path is not None and not path.exists()]
    make_seed(feed)
    if log.log_key_path is not None:
        make_log_key(log.log_key_path, SignerState(Path(log.signer_state_file)), log.origin)
    if master is not None:
        ensure_master_key(master)
    return say(arguments, {"made": made}, f"made {', '.join(made)}" if made else "the key files are there")
