"""Figures of the HTTP benches: how many a second, and how long each answer took."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import table
from http_load import Figures


class Line(NamedTuple):
    """One figure, beside a limit, and what it should reach: `reach` a second or more, `p99_ms_max` or less.

    `each` is how many things one answer answers.
    """

    what: str
    figures: Figures
    limit: Figures | None = None
    reach: float | None = None
    p99_ms_max: float | None = None
    each: int = 1

    def row(self) -> table.Row:
        """For the table."""
        rate, p99 = self.figures.a_second * self.each, self.figures.p99_ms
        target = [f"≥ {self.reach:,.0f}/s"] if self.reach is not None else []
        target += [f"p99 < {self.p99_ms_max:.0f} ms"] if self.p99_ms_max is not None else []
        reached = (self.reach is None or rate >= self.reach) and (
            self.p99_ms_max is None or p99 < self.p99_ms_max
        )
        return table.Row(
            self.what,
            rate,
            "/s",
            "" if self.limit is None else "bare ASGI application",
            None if self.limit is None else self.limit.a_second,
            ", ".join(target),
            reached if target else None,
            f"p50 {self.figures.p50_ms:.1f} ms, p99 {p99:.1f} ms",
        )


def report(title: str, lines: list[Line], folder: Path, json_file: Path | None) -> None:
    """Print the figures. Raises AssertionError if any answer was an error: then they say nothing."""
    table.report(title, [line.row() for line in lines], folder, json_file)
    errors = sum(figures.errors for line in lines for figures in (line.figures, line.limit) if figures)
    assert errors == 0, f"{errors} answers were errors"
