"""What the benches of parts share: a durable database of their own, figures as a table and as JSON.

A figure means nothing by itself: each bench measures the limit (the same work without ours) in the
same run, and prints how long the disk takes to make 4 KiB durable.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from consent_local.postgres import Postgres
from http_report import fdatasync_ms


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

    @property
    def reached(self) -> bool | None:
        """Whether it is as high as it should be; None if nothing is asked of it."""
        if self.reach is None:
            return None
        return (self.a_second if self.share is None else self.share) >= self.reach


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
    sync = fdatasync_ms(folder)
    cores = os.cpu_count() or 1
    print(f"{title}\nfdatasync: {sync:.2f} ms   cores: {cores}   Python {platform.python_version()}\n")
    for figure in figures:
        share = "" if figure.share is None else f"{figure.share:6.2f} × {figure.limit}"
        mark = {None: "", True: "reached", False: "not reached"}[figure.reached]
        print(f"{figure.what:48} {figure.a_second:12,.0f} {figure.unit}/s   {share:36} {mark}")
    if json_file is not None:
        told = [figure._asdict() | {"share": figure.share, "reached": figure.reached} for figure in figures]
        json_file.write_text(json.dumps({"title": title, "fdatasyncMs": sync, "figures": told}, indent=1))
