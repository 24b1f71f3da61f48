"""How a command says what it did: words for people, one JSON object for programs."""

from __future__ import annotations

import argparse
import json
import sys

from consent_plumbing.process import EXIT_OK


def say(arguments: argparse.Namespace, answer: dict[str, object], words: str) -> int:
    """Print the answer in the form asked for; the exit code for done."""
    print(json.dumps(answer) if arguments.json else words, flush=True)
    return EXIT_OK


def fail(arguments: argparse.Namespace, code: str, detail: str, exit_code: int) -> int:
    """Say on standard error what went wrong, in the form asked for; the exit code that was given."""
    said = json.dumps({"error": code, "detail": detail}) if arguments.json else f"consent-ledger: {detail}"
    print(said, file=sys.stderr)
    return exit_code
