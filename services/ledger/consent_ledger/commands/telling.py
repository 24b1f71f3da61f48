"""How a command says what it did: words for people, one JSON object for programs."""

from __future__ import annotations

import argparse
import json

from consent_plumbing.process import EXIT_OK


def say(arguments: argparse.Namespace, answer: dict[str, object], words: str) -> int:
    """Print the answer in the form asked for; the exit code for done."""
    print(json.dumps(answer) if arguments.json else words, flush=True)
    return EXIT_OK
