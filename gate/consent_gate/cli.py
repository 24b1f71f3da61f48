"""`consent`: ask the ledger from a shell, and check its log.

Exit codes of what asks: 0 permit (or done), 1 deny, 2 undecided, refused, or wrong usage. Whatever is
not 0 must be treated as "no". Exit codes of what checks: 0 good, 1 bad, 2 not checked, or wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from consent_domain.errors import ConsentError

from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.usage import BAD, EXIT_CODES, UNCHECKED, UNDECIDED, examples

COMMANDS = (
    "check", "why", "ever", "simulate", "filter", "history", "runs", "coverage", "snapshot", "status",
    "prove", "verify", "export", "replay", "monitor", "witness",
)  # fmt: skip
"""The sub-commands in the order of `--help`, each a module of `commands`; see `usage.Subcommands`."""

_EXAMPLES = """\
  consent status
  consent check acme --purpose train.search_ranking --collected 2024-01-15T10:30:00Z --explain
  consent filter --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, run, return the exit code: 0 is a yes, whatever goes wrong is not."""
    words = sys.argv[1:] if argv is None else argv
    options = arguments(words).parse_args(words)
    options.is_program = argv is None
    signal.signal(signal.SIGTERM, _stopped)
    try:
        code: int = options.run(options)
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


def arguments(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser, which exits 2 on wrong usage: of the command that `words` begin with, else of all.

    What a command works with takes longer to import than most of them run, so that nobody pays for another's.
    """
    parser = argparse.ArgumentParser(
        prog="consent", description="Ask the consent ledger, and check its log.",
        **examples(_EXAMPLES, EXIT_CODES),
    )  # fmt: skip
    parser.set_defaults(run=lambda _: _helped(parser))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    shared = _shared()
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        import_module(f"consent_gate.commands.{name}").add(commands, shared)
    return parser


def _helped(parser: argparse.ArgumentParser) -> int:
    """What there is, to whoever named no command."""
    parser.print_help(sys.stderr)
    return UNDECIDED


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
        "--replica", metavar="FOLDER", help="where this host's replica is kept (CONSENT_REPLICA)"
    )
    group.add_argument(
        "--config", metavar="FILE",
        help="TOML with url, token, feed_key, replica, or consent-local's credentials.json (CONSENT_CONFIG; "
        "else ./consent.toml, ~/.config/consent/config.toml)",
    )  # fmt: skip
    shared.add_argument("--json", action="store_true", help="for programs")
    return shared


def _failed(options: argparse.Namespace, code: str, detail: str) -> int:
    checks = getattr(options, "checks", False)
    exit_code = BAD if checks and _is_wrong(code) else UNCHECKED if checks else UNDECIDED
    if options.json:
        result = (
            {"result": "bad" if exit_code == BAD else "unchecked"} if checks else {"decision": "undecided"}
        )
        printed = sys.stderr if getattr(options, "is_data_printed", False) else sys.stdout
        print(json.dumps({**result, "code": code, "detail": detail}), file=printed)
    else:
        word = painted("consent:", "deny" if exit_code == BAD else "undecided", sys.stderr)
        print(f"{word} {plain(detail)} [{code}]", file=sys.stderr)
    return exit_code


def _is_wrong(code: str) -> bool:
    # Not above: it takes an HTTP client, which not every command has imported.
    from consent_gate.audit.sources import WRONG_CODES

    return code in WRONG_CODES


def _stopped(number: int, frame: object) -> None:
    raise KeyboardInterrupt
