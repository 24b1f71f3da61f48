"""What the check of the documents finds."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from lint.docs import commands, faults_of_line, faults_of_links, shell_lines, untold


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="consent")
    below = parser.add_subparsers()
    below.add_parser("check").add_argument("--purpose")
    below.add_parser("keys").add_subparsers().add_parser("create").add_argument("--role")
    return parser


KNOWN = {command.words: command for command in commands(parser(), "consent")}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make demo", ""),
        ("make -j4 demo PYTEST=-x", ""),
        ("make dmo", "no target dmo"),
        ("consent check w1 --purpose=p | jq .", ""),
        ("CONSENT_URL=x .venv/bin/consent keys create --role admin", ""),
        ("consent keys --help", ""),
        ("consent keys", "no such sub-command"),
        ("consent keys destroy", "no such sub-command"),
        ("consent check w1 --porpoise p", "no option --porpoise"),
        ("consent check w1 --role admin", "no option --role"),
        ("curl --anything", ""),
    ],
)
def test_a_command_in_a_document(line: str, fault: str) -> None:
    found = list(faults_of_line(line, {"demo"}, KNOWN))
    assert (len(found), fault in "".join(found)) == (1 if fault else 0, True)


def test_only_commands_of_shell_blocks_are_read() -> None:
    text = "```console\n$ make demo\noutput of it\n```\n```python\nmake\n```\n```sh\nmake up \\\n  -n\n```\n"
    assert [line.split()[:2] for line in shell_lines(text)] == [["make", "demo"], ["make", "up"]]


def test_a_relative_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("")
    text = "[a](there.md#part) [b](gone.md) [c](https://example.org/gone) [d](#part)\n```\n[e](gone)\n```\n"
    assert list(faults_of_links(tmp_path / "here.md", text)) == ["link to gone.md, which does not exist"]


def test_what_no_section_tells_of() -> None:
    told = "# check\n`consent check W --purpose P`\n# other\n`make demo`, `consent keys`, --role\n"
    assert list(untold({Path("cli.md"): told}, {"demo", "up"}, KNOWN)) == [
        "no document tells of `make up`",
        "no document tells of `consent keys create`",
        "no section about `consent keys create` tells of --role",
    ]
