"""What the benches of parts share: a durable database of their own, and rates beside a limit."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import table
from consent_local.postgres import Postgres


class Figure(NamedTuple):
    """A rate, and the limit it is compared with: `share` is the rate over the limit's."""

    what: str
    a_second: float
    unit: str
    limit: str = ""
    limit_a_second: float | None = None
    reach: float | None = None
    """The share of the limit, or without a limit the rate, that it should have."""

    @property
    def share(self) -> float | None:
        """The rate as a share of the limit's."""
        return None if self.limit_a_second is None else self.a_second / self.limit_a_second

    def row(self) -> table.Row:
        """For the table."""
        value = self.a_second if self.share is None else self.share
        rate = self.reach is not None and self.share is None
        target = "" if self.reach is None else f"≥ {self.reach:,.0f}/s" if rate else f"≥ {self.reach:.2f} ×"
        return table.Row(
            self.what,
            self.a_second,
            f"{self.unit}/s",
            self.limit,
            self.limit_a_second,
            target,
            None if self.reach is None else value >= self.reach,
        )


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every bench takes: where to put its data, and where its JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    return parser


@contextmanager
def durable_postgres(folder: Path) -> Iterator[str]:
    """URL of a fresh, durable PostgreSQL whose data is in `folder`, until the end."""
    server = Postgres(folder)
    try:
        yield server.start()
    finally:
        server.stop()


def report(title: str, figures: list[Figure], folder: Path, json_file: Path | None) -> None:
    """Print the figures, and write them as JSON if asked to."""
    table.report(title, [figure.row() for figure in figures], folder, json_file)
