"""Measured figures as rows of one table, each beside its limit of the same run and what it should reach.

A figure means nothing by itself: a bench measures the limit (the same work without ours, or what
others need for it) in the same run, and says how long the disk takes to make 4 KiB durable.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

COLUMNS = ("what", "measured", "limit in the same run", "ratio", "to reach", "reached")
MARKS = {None: "", True: "yes", False: "no"}
SYNCS = 50


class Row(NamedTuple):
    """`measured` in `unit`; `limit` names what `limit_measured` is; `reached` is None without a target.

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
        """For JSON. `row` is the inverse."""
        return self._asdict() | {"ratio": self.ratio}


def row(told: dict[str, Any]) -> Row:
    """The row of `Row.told`."""
    return Row(**{name: told[name] for name in Row._fields})


def fdatasync_ms(folder: Path) -> float:
    """The median time of an fdatasync after writing 4 KiB to the disk of `folder`."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return sorted(took)[SYNCS // 2] * 1000


def machine(folder: Path) -> str:
    """In words, what the figures depend on."""
    return (
        f"fdatasync {fdatasync_ms(folder):.2f} ms, {os.cpu_count()} cores, Python {platform.python_version()}"
    )


def report(title: str, rows: Sequence[Row], folder: Path, json_file: Path | None) -> None:
    """Print the table, and write it as JSON if a file is named. `folder` is on the disk that was measured."""
    where = machine(folder)
    print(f"{title}\n{where}\n\n{markdown(rows)}", flush=True)
    if json_file is not None:
        told = {"title": title, "machine": where, "rows": [one.told() for one in rows]}
        json_file.write_text(json.dumps(told, indent=1) + "\n")


def markdown(rows: Iterable[Row]) -> str:
    """The table; its columns are padded, so that it can be read as it is."""
    cells = [COLUMNS, *(_cells(one) for one in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _cells(one: Row) -> tuple[str, ...]:
    measured = f"{number(one.measured)} {one.unit}" + (f"; {one.note}" if one.note else "")
    limit = one.limit if one.limit_measured is None else f"{one.limit}: {number(one.limit_measured)}"
    ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
    return (one.what, measured, limit, ratio, one.target, MARKS[one.reached])


def number(value: float) -> str:
    """For people: whole above 100, else with a digit."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
