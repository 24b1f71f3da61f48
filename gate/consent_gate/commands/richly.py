"""Progress bars and tables: rich's on a terminal where it is installed, plain text where it is not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from consent_gate.commands.terminal import Progress, colourful, table


@contextmanager
def progress(what: str, unit: str, beside_lines: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """What to call with how much is done and how much there is, None if nobody knows.

    Shows nothing where nobody would see it.

    `beside_lines`: the command prints lines meanwhile; on one terminal they would tear the bar.
    """
    if not sys.stderr.isatty() or (beside_lines and sys.stdout.isatty()):
        yield _unseen
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
    except ModuleNotFoundError:
        line = Progress(unit)
        try:
            yield line
        finally:
            line.end()
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    # Standard output is the command's own: the bar must not stand between its lines.
    with RichProgress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _unseen(done: int, total: int | None) -> None:
    pass


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. The cells are text: nothing in them is obeyed."""
    if colourful(sys.stdout):
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ModuleNotFoundError:
            pass
        else:
            shown = Table(*head)
            for row in rows:
                shown.add_row(*map(Text, row))
            Console().print(shown)
            return
    print(table([head, *rows]))
