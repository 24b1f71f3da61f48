"""Measured figures as rows of one table: each beside its limit of the same run, and what it should reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

COLUMNS = ("what", "measured", "limit in the same run", "ratio", "to reach", "reached")
MARKS = {None: "", True: "yes", False: "no"}


class Row(NamedTuple):
    """`measured` in `unit`; `limit` says in words what `limit_measured` is; `reached` is None without a target.

    `note` is what belongs to the figure and is no figure of its own, as how long answers took.
    """

    what: str
    measured: float
    unit: str
    limit: str = ""
    limit_measured: float | None = None
    target: str = ""
    reached: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over the limit."""
        return self.measured / self.limit_measured if self.limit_measured else None

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict() | {"ratio": self.ratio}


def markdown(rows: Iterable[Row]) -> str:
    """The table, which is also readable as it is: columns are padded."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    measured = f"{_number(row.measured)} {row.unit}" + (f", {row.note}" if row.note else "")
    limit = row.limit if row.limit_measured is None else f"{row.limit}: {_number(row.limit_measured)}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return (row.what, measured, limit, ratio, row.target, MARKS[row.reached])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
