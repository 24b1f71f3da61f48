"""How the story is told: what was asked, what was answered, why it matters; and what must be true."""

from __future__ import annotations

import os
import sys
import textwrap

COLUMNS = 96
_INDENT = 12
_COLOURS = {"bold": "1", "faint": "2", "right": "32", "wrong": "31"}


class Untrue(Exception):
    """The story claims something that is not so: what, what was expected, and what was seen."""


class Telling:
    """Writes the story on standard output, and stops it at the first claim that is not true."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.claims = 0
        """How many claims were checked and found true."""

    def title(self, text: str, about: str) -> None:
        """The story's name, and what it is about."""
        print(f"\n{self._painted(text, 'bold')}\n{textwrap.fill(about, COLUMNS)}", flush=True)

    def step(self, number: int, text: str) -> None:
        """The next step begins."""
        line = f"── {number}. {text} "
        print(f"\n{self._painted(line.ljust(COLUMNS, '─'), 'bold')}", flush=True)

    def asked(self, text: str) -> None:
        """What somebody asks or does."""
        self._said("asked", text)

    def answered(self, text: str) -> None:
        """What the ledger answers, or what is seen."""
        self._said("answered", text)

    def matters(self, text: str) -> None:
        """Why that matters."""
        self._said("matters", text)

    def note(self, text: str) -> None:
        """What goes on meanwhile."""
        print(self._painted(f"{'':{_INDENT}}{text}", "faint"), flush=True)

    def holds(self, claim: str, seen: object, expected: object = True) -> None:
        """Tell a claim that is true. Raises Untrue if `seen` is not `expected`."""
        if seen != expected:
            print(f"{'':{_INDENT}}{self._painted('✗', 'wrong')} {claim}", flush=True)
            raise Untrue(f"{claim}: expected {expected!r}, seen {seen!r}")
        self.claims += 1
        text = textwrap.fill(claim, COLUMNS - _INDENT - 2).replace("\n", f"\n{'':{_INDENT + 2}}")
        print(f"{'':{_INDENT}}{self._painted('✓', 'right')} {text}", flush=True)

    def _said(self, who: str, text: str) -> None:
        lines = [
            wrapped
            for line in text.splitlines()
            for wrapped in textwrap.wrap(line, COLUMNS - _INDENT, subsequent_indent=_hanging(line)) or [""]
        ]
        margin = self._painted(f"  {who}".ljust(_INDENT), "faint")
        print(margin + f"\n{'':{_INDENT}}".join(lines), flush=True)

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colours else text


def _hanging(line: str) -> str:
    """Further lines of a paragraph stand two columns in from its first."""
    return " " * (len(line) - len(line.lstrip()) + 2)
