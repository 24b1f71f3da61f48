"""What people see: words, tables, and colours where there is a terminal that shows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

_COLOURS = {"permit": "32", "deny": "31", "undecided": "33", "faint": "2", "bold": "1"}


def colourful(stream: TextIO) -> bool:
    """Whether the stream is a terminal whose user wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in a colour of the table above, if the stream (standard output) shows it."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if colourful(stream or sys.stdout) else text


def plain(text: str) -> str:
    """`text` without characters that would steer a terminal: what others wrote is shown, not obeyed."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns side by side, two spaces between; those in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


class Progress:
    """A line on standard error that says how far a job is; nothing where nobody would see it."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._shown = sys.stderr.isatty()
        self._percent = -1

    def __call__(self, done: int, total: int | None) -> None:
        """`done` of `total`, in the unit; None if nobody knows how much there is."""
        if total is None:
            if self._shown:
                self._percent = 0
                print(f"\r{done:,} {self._unit}", end="", file=sys.stderr, flush=True)
            return
        percent = 100 * done // total if total else 100
        if self._shown and percent != self._percent:
            self._percent = percent
            print(
                f"\r{percent:3d} %  {done:,} of {total:,} {self._unit}", end="", file=sys.stderr, flush=True
            )

    def end(self) -> None:
        """Take the line away."""
        if self._shown and self._percent >= 0:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
