"""What every command says of itself when it is asked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest
from consent_gate.cli import arguments


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A command's parser, and those of all commands below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


@pytest.mark.parametrize("parser", list(parsers(arguments())), ids=lambda parser: parser.prog)
def test_every_help_ends_with_an_example_and_the_exit_codes(
    parser: argparse.ArgumentParser,
) -> None:
    told = parser.format_help()
    _, _, epilog = told.partition("\nexamples:\n")
    assert f"  {parser.prog}" in epilog and "Exit codes: 0 " in epilog, told
