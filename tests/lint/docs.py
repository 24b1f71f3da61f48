"""The documents and the programs agree: nothing is left untold, and nothing is told that does not exist.

Checked in every `.md` file: relative links lead to files; commands in fenced blocks (`make …` and our
programs') name existing targets, sub-commands and options. Once `docs/reference/cli.md` is there, also
the other way: every target, sub-command and option stands in some section that names its command.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
PROGRAMS = ("consent", "consent-ledger", "consent-local", "consent-projector")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
SHELLS = ("sh", "bash", "shell", "console")
OPERATORS = re.compile(r"\s(?:\||\|\||&&|;|>|>>|<|&)(?:\s|$)")


class Command(NamedTuple):
    """A program with its sub-commands, the options it takes there, and whether others stand below it."""

    words: str
    options: frozenset[str]
    is_leaf: bool


def targets(makefile: Path) -> set[str]:
    """The documented targets of a Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", makefile.read_text(), re.MULTILINE))


def parser_of(program: str) -> argparse.ArgumentParser | None:
    """The parser that an installed program makes, caught before it reads any; None if there is none."""

    class Caught(Exception):
        pass

    def catch(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise Caught(parser)

    found = importlib.metadata.entry_points(group="console_scripts", name=program)
    try:
        run = next(iter(found)).load()
    except (ModuleNotFoundError, StopIteration):
        return None
    with mock.patch("argparse.ArgumentParser.parse_args", catch), mock.patch("sys.argv", [program]):
        try:
            run()
        except Caught as caught:
            parser = caught.args[0]
            assert isinstance(parser, argparse.ArgumentParser)
            return parser
    raise AssertionError(f"{program} reads no arguments with argparse")


def commands(parser: argparse.ArgumentParser, words: str) -> Iterator[Command]:
    """The parser's command and all below it. `--help` goes without saying."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    options = {option for action in parser._actions for option in action.option_strings}
    yield Command(words, frozenset(options - {"-h", "--help"}), not below)
    for action in below:
        for name, inner in action.choices.items():
            yield from commands(inner, f"{words} {name}")


def shell_lines(text: str) -> Iterator[str]:
    """The commands in the fenced blocks for a shell, continued lines joined, prompts and output left out."""
    for language, block in FENCE.findall(text):
        if language not in SHELLS:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if language != "console":
                yield line.strip()
            elif line.startswith("$ "):
                yield line[2:].strip()


def faults_of_line(line: str, make_targets: set[str], known: dict[str, Command]) -> Iterator[str]:
    """What a command in a document gets wrong."""
    try:
        words = shlex.split(OPERATORS.split(line)[0], comments=True)
    except ValueError as error:
        yield f"`{line}`: {error}"
        return
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if not words:
        return
    name = words[0].rsplit("/", 1)[-1]
    if name == "make":
        wanted = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
        yield from (f"`{line}`: no target {word}" for word in wanted if word not in make_targets)
    elif name in known:
        command, allowed = known[name], set(known[name].options)
        for word in words[1:]:
            if not word.startswith("-") and f"{command.words} {word}" in known:
                command = known[f"{command.words} {word}"]
                allowed |= command.options
        if not command.is_leaf and not {"-h", "--help"} & set(words):
            yield f"`{line}`: `{command.words}` has no such sub-command"
        given = {word.split("=")[0] for word in words[1:] if word.startswith("--") and word != "--"}
        yield from (f"`{line}`: no option {option}" for option in sorted(given - allowed - {"--help"}))


def faults_of_links(path: Path, text: str) -> Iterator[str]:
    """Relative links that lead nowhere."""
    for link in LINK.findall(FENCE.sub("", text)):
        target = link.partition("#")[0]
        if target and not re.match(r"[a-z][a-z+.-]*:", target) and not (path.parent / target).exists():
            yield f"link to {link}, which does not exist"


def untold(texts: dict[Path, str], make_targets: set[str], known: dict[str, Command]) -> Iterator[str]:
    """Targets, sub-commands and options that no section tells of."""
    sections = [section for text in texts.values() for section in HEADING.split(text)]
    for target in sorted(make_targets):
        if not any(re.search(rf"\bmake {target}(?![\w-])", section) for section in sections):
            yield f"no document tells of `make {target}`"
    for command in known.values():
        named = re.compile(rf"(?<![\w-]){re.escape(command.words)}(?![\w-])")
        telling = [section for section in sections if named.search(section)]
        if not telling and command.is_leaf:
            yield f"no document tells of `{command.words}`"
        for option in sorted(command.options):
            if not any(re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", part) for part in telling):
                yield f"no section about `{command.words}` tells of {option}"


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    texts = {path: path.read_text() for path in paths}
    make_targets = targets(ROOT / "Makefile")
    parsers = {program: parser_of(program) for program in PROGRAMS}
    known = {
        command.words: command
        for program, parser in parsers.items()
        if parser is not None
        for command in commands(parser, program)
    }
    faults: list[str] = []
    for path, text in texts.items():
        found = list(faults_of_links(path, text))
        for line in shell_lines(text):
            found += faults_of_line(line, make_targets, known)
        faults += [f"{path.relative_to(ROOT)}: {fault}" for fault in found]
    if REFERENCE.exists():
        faults += [f"{program} cannot be loaded" for program, parser in parsers.items() if parser is None]
        faults += untold(texts, make_targets, known)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
