"""`consent-local`: the whole consent ledger on one host, in one command."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from consent_local.children import ServerError
from consent_local.reset import reset
from consent_local.status import in_words, status
from consent_local.up import Options, up

FOLDER = Path(".data")
PORT = 8080
WORKERS_MAX = 64
EXIT_OK = 0
EXIT_FAILED = 1


def arguments() -> argparse.ArgumentParser:
    """The parser: every sub-command takes `--data-dir`. It ends the process with 2 on bad options."""
    parser = argparse.ArgumentParser(prog="consent-local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", type=Path, default=FOLDER, metavar="D", help=f"default {FOLDER}")

    command = commands.add_parser("up", parents=[shared], help="start everything, until Ctrl-C")
    command.add_argument(
        "--port", type=_port, default=PORT, help=f"of the HTTP API; 0: any free; default {PORT}"
    )
    command.add_argument("--workers", type=_workers, default=1, help="processes of the HTTP API; default 1")
    command.set_defaults(run=_up)

    command = commands.add_parser("demo", help="the main job as a story, on a ledger that ends with it")
    command.add_argument("--keep", action="store_true", help="keep the folder, and say where it is")
    command.add_argument("--examples", type=Path, metavar="E", help="default: those of this clone")
    command.set_defaults(run=_demo, data_dir=Path(tempfile.gettempdir()))

    command = commands.add_parser("status", parents=[shared], help="exit code 0: running and ready; 1: not")
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_status)

    command = commands.add_parser("reset", parents=[shared], help="remove the folder's ledger for ever")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(run=_reset)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command. Returns the exit code: 0 done, 1 failed (said on stderr); 2 is for bad options."""
    options = arguments().parse_args(argv)
    try:
        return int(options.run(options))
    except ServerError as error:
        return _failed(str(error))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _failed(f"the disk of {options.data_dir} is full: {error}")
        return _failed(str(error))
    except KeyboardInterrupt:
        return _failed("interrupted")


def _up(options: argparse.Namespace) -> int:
    up(Options(options.data_dir, options.port, options.workers), _say)
    return EXIT_OK


def _demo(options: argparse.Namespace) -> int:
    # Not above: the story needs an HTTP client and reads Parquet, which take a second to import.
    from consent_local.demo.play import play
    from consent_local.demo.telling import Untrue

    try:
        play(options.examples, options.keep)
    except Untrue as error:
        return _failed(f"this is not as it should be: {error} (--keep leaves the folder with the logs)")
    return EXIT_OK


def _status(options: argparse.Namespace) -> int:
    found = status(options.data_dir)
    print(json.dumps(found, indent=2) if options.json else in_words(found))
    return EXIT_OK if found["ready"] else EXIT_FAILED


def _reset(options: argparse.Namespace) -> int:
    print(reset(options.data_dir, lambda question: options.yes or _asked(question)))
    return EXIT_OK


def _asked(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ServerError(f"{question} There is nobody to ask: say --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _say(sentence: str) -> None:
    try:
        print(f"consent-local: {sentence}", flush=True)
    except OSError:  # the terminal is gone; what runs does not depend on it
        sys.stdout = open(os.devnull, "w")


def _failed(why: str) -> int:
    print(f"consent-local: {why}", file=sys.stderr)
    return EXIT_FAILED


def _port(text: str) -> int:
    return _between(text, 0, 65_535)


def _workers(text: str) -> int:
    return _between(text, 1, WORKERS_MAX)


def _between(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
    return int(text)
