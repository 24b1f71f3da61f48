"""`consent-local up`: all servers and services of one folder, in order, until told to stop."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from consent_local.children import ServerError, free_port, is_free, write_atomically
from consent_local.folder import DataFolder
from consent_local.nats import Nats
from consent_local.postgres import Postgres
from consent_local.services import Service, end_leftovers, environment, program
from consent_local.supervisor import ChildStatus, Stopped, Supervisor

ROLES = ("admin", "auditor", "pipeline")
SERVER_SECONDS_MAX = 90.0
SERVICE_SECONDS_MAX = 600.0
"""The ledger is ready once its replica has followed: after a boot, from the beginning."""
COMMAND_SECONDS_MAX = 300.0

Say = Callable[[str], None]


class Options(NamedTuple):
    """What `up` was asked for. Port 0: any free one."""

    folder: Path
    port: int
    workers: int


def up(options: Options, say: Say) -> None:
    """Run everything until SIGTERM, SIGINT or SIGHUP; then nothing is left running.

    Raises ServerError if something cannot be started; it is all stopped then. OSError if the folder
    cannot be written.
    """
    folder = DataFolder.make(options.folder)
    try:
        port = _port(options.port)
        count = end_leftovers(folder.path)
        if count:
            say(f"ended {count} processes that an earlier run left behind")
        with Supervisor(say, lambda statuses: _tell(folder.path, statuses)) as supervisor, suppress(Stopped):
            say(f"starting PostgreSQL, NATS, the projector, the publisher and the ledger in {folder.path}")
            _start(supervisor, folder, port, options.workers)
            say(_banner(folder.path, port))
            supervisor.supervise()
            say("stopping")
        say("stopped")
    finally:
        folder.close()


def _start(supervisor: Supervisor, folder: DataFolder, port: int, workers: int) -> None:
    path, logs = folder.path, folder.path / "logs"
    ports = folder.ports(("postgres", "nats"))
    postgres, nats = Postgres(path, ports["postgres"]), Nats(path, ports["nats"])
    postgres.prepare()
    supervisor.start(postgres, nats, seconds_max=SERVER_SECONDS_MAX)
    settings = environment(path, postgres.url, nats.url)

    def run(*commands: list[str]) -> list[bytes]:
        found = [[program(command[0]), *command[1:]] for command in commands]
        log = logs / "setup.log"
        return supervisor.run(*found, log=log, environment=settings, seconds_max=COMMAND_SECONDS_MAX)

    run(["consent-ledger", "migrate"], ["consent-ledger", "keys", "files"])
    run(["consent-projector", "migrate"])
    _write_credentials(path, port, settings, run)
    serve = [program("consent-ledger"), "serve", "--host", "127.0.0.1"]
    serve += ["--port", str(port), "--workers", str(workers)]
    publish = [program("consent-ledger"), "publish"]
    supervisor.start(
        Service("projector", [program("consent-projector"), "run"], logs / "projector.log", settings),
        Service("publisher", publish, logs / "publisher.log", settings),
        Service("ledger", serve, logs / "ledger.log", settings, port),
        seconds_max=SERVICE_SECONDS_MAX,
    )


def _write_credentials(
    path: Path, port: int, settings: dict[str, str], run: Callable[..., list[bytes]]
) -> None:
    """Addresses and verifier keys as they are now; API keys only for the roles that have none there yet."""
    file = path / "credentials.json"
    keys = json.loads(file.read_text())["keys"] if file.exists() else {}
    roles = [role for role in ROLES if role not in keys]
    create = ["consent-ledger", "keys", "create", "--json"]
    feed, log, *made = run(
        ["consent-ledger", "keys", "feed", "--json"],
        ["consent-ledger", "keys", "log", "--json"],
        *([*create, "--role", role, "--name", f"local {role}"] for role in roles),
    )
    keys |= {role: json.loads(answer)["key"] for role, answer in zip(roles, made, strict=True)}
    credentials = {
        "url": f"http://127.0.0.1:{port}",
        "databaseUrl": settings["CONSENT_DATABASE_URL"],
        "natsUrl": settings["CONSENT_NATS_URL"],
        "feedKey": json.loads(feed)["feedKey"],
        "verifierKey": json.loads(log)["verifierKey"],
        "keys": keys,
    }
    write_atomically(file, json.dumps(credentials, indent=2).encode() + b"\n")


def _port(wanted: int) -> int:
    if not wanted:
        return free_port()
    try:
        free = is_free(wanted)
    except PermissionError:
        raise ServerError(f"port {wanted} needs privileges; name one above 1023 with --port") from None
    if not free:
        raise ServerError(f"port {wanted} is taken; name another with --port, or 0 for any free one")
    return wanted


def _tell(folder: Path, statuses: list[ChildStatus]) -> None:
    """For `status`. A full disk stops nothing that runs."""
    with suppress(OSError):
        write_atomically(
            folder / "status.json", json.dumps([status._asdict() for status in statuses]).encode()
        )


def _banner(folder: Path, port: int) -> str:
    url = f"http://127.0.0.1:{port}"
    return f"""ready

  address    {url}
  API keys   {folder / "credentials.json"} (admin, auditor, pipeline)
  the log    {url}/log/checkpoint (signed by verifierKey in the same file)
  logs       {folder / "logs"}

  what it says of itself     curl {url}/health/ready
  from another terminal      {sys.argv[0]} status --data-dir {folder}
  stop                       Ctrl-C
"""
