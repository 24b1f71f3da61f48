"""`consent`: ask the ledger from a shell.

Exit codes: 0 permit (or done), 1 deny, 2 undecided, refused, or wrong usage. Whatever is not 0 must
be treated as "no".
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

from consent_domain.errors import ConsentError

from consent_gate.commands.check import UNDECIDED, check
from consent_gate.commands.filter import filter_file
from consent_gate.commands.history import history
from consent_gate.commands.ledger import Ledger
from consent_gate.commands.settings import NAMES, Settings, environment_of_process, settings
from consent_gate.commands.status import status
from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.why import why

EPILOG = "Exit codes: 0 permit or done; 1 deny; 2 undecided, refused or wrong usage. Only 0 is a yes."


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, run, return the exit code: 0 is a yes, whatever goes wrong is 2."""
    options = arguments().parse_args(argv)
    signal.signal(signal.SIGTERM, _stopped)
    try:
        code = run(options)
        sys.stdout.flush()
    except ConsentError as error:
        return _failed(options, error.code, error.detail)
    except BrokenPipeError:
        # Whoever read us has gone; Python must not fail again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNDECIDED
    except KeyboardInterrupt:
        return _failed(options, "undecided", "stopped before there was an answer")
    except Exception as error:
        return _failed(options, "internal", f"{type(error).__name__}: {error}")
    return code


def arguments() -> argparse.ArgumentParser:
    """The parser: every sub-command takes the settings and `--json`. It exits 2 on wrong usage."""
    parser = argparse.ArgumentParser(prog="consent", description="Ask the consent ledger.", epilog=EPILOG)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = _shared()

    command = commands.add_parser(
        "check", parents=[shared], help="may data of a workspace be used?", epilog=EPILOG
    )
    command.add_argument(
        "workspaces", nargs="+", metavar="WORKSPACE", help="whose data it is; several: all must permit"
    )
    _add_question(command)
    _add_collected(command)
    command.add_argument(
        "--known-at",
        metavar="TOKEN|TIME",
        help="answer with what the ledger knew then, not with all it knows now",
    )
    command.add_argument("--as-of", metavar="TIME", help="answer for that time, not for now")
    command.set_defaults(role="pipeline", run=lambda ledger, _, options: check(ledger, options))

    command = commands.add_parser(
        "why", parents=[shared], help="every event that led to the answer, oldest first", epilog=EPILOG
    )
    command.add_argument("workspace", metavar="WORKSPACE")
    command.add_argument("purpose", metavar="PURPOSE")
    _add_collected(command)
    command.set_defaults(role="auditor", run=lambda ledger, _, options: why(ledger, options))

    command = commands.add_parser(
        "filter", parents=[shared], help="the rows of a Parquet file that may be used", epilog=EPILOG
    )
    command.add_argument("source", metavar="IN.parquet")
    command.add_argument("target", metavar="OUT.parquet", help="there if and only if the exit code is 0")
    command.add_argument(
        "--column", action="append", required=True, metavar="NAME",
        help="of workspace ids, or lists of them; may be repeated: every one must permit",
    )  # fmt: skip
    _add_question(command)
    command.add_argument(
        "--collected-column",
        metavar="NAME",
        help="of times at which the row's data was collected, with time zone",
    )
    command.add_argument("--overwrite", action="store_true", help="remove OUT.parquet first if it is there")
    command.set_defaults(role="pipeline", run=filter_file)

    command = commands.add_parser(
        "history", parents=[shared], help="every event of a workspace", epilog=EPILOG
    )
    command.add_argument("workspace", metavar="WORKSPACE")
    command.set_defaults(role="auditor", run=lambda ledger, _, options: history(ledger, options))

    command = commands.add_parser(
        "status", parents=[shared], help="whether the ledger can be asked now: 0 if so, else 2"
    )
    command.set_defaults(role="pipeline", run=status)
    return parser


def _shared() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    group = shared.add_argument_group("settings, also from CONSENT_… in the environment or from a file")
    group.add_argument("--url", help="the ledger's address (CONSENT_URL)")
    group.add_argument(
        "--token", metavar="KEY", help="an API key (CONSENT_TOKEN: a flag shows in lists of processes)"
    )
    group.add_argument(
        "--feed-key", metavar="KEY", help="the ledger's public key, to be pinned (CONSENT_FEED_KEY)"
    )
    group.add_argument(
        "--replica", metavar="FOLDER", help="where `filter` keeps its replica (CONSENT_REPLICA)"
    )
    group.add_argument(
        "--config", metavar="FILE",
        help="TOML with url, token, feed_key, replica, or consent-local's credentials.json (CONSENT_CONFIG; "
        "else ./consent.toml, ~/.config/consent/config.toml)",
    )  # fmt: skip
    shared.add_argument("--json", action="store_true", help="for programs")
    return shared


def _add_question(command: argparse.ArgumentParser) -> None:
    command.add_argument("--purpose", required=True, metavar="P", help="what it would be used for")
    command.add_argument(
        "--category", action="append", default=[], metavar="C",
        help="of data that is used, may be repeated; none: all that the purpose takes",
    )  # fmt: skip


def _add_collected(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("when the data was collected, as 2026-01-31T09:00:00Z")
    group.add_argument("--collected", metavar="T", help="all of it at that time")
    group.add_argument("--collected-from", metavar="A", help="the first of it")
    group.add_argument("--collected-to", metavar="B", help="the last of it")


def run(options: argparse.Namespace) -> int:
    """Run a sub-command; its exit code. Raises ConsentError for whatever keeps it from an answer."""
    flags = {name: getattr(options, name) for name in NAMES}
    found: Settings = settings(flags, environment_of_process(), options.config, options.role)
    with Ledger(found) as ledger:
        code: int = options.run(ledger, found, options)
    return code


def _failed(options: argparse.Namespace, code: str, detail: str) -> int:
    if options.json:
        print(json.dumps({"decision": "undecided", "code": code, "detail": detail}))
    else:
        print(f"{painted('consent:', 'undecided', sys.stderr)} {plain(detail)} [{code}]", file=sys.stderr)
    return UNDECIDED


def _stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt
