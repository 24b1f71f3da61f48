"""Every engine keeps exactly the rows that the filter keeps, whatever the data looks like."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_world
import pyarrow as pa
import pytest
import some_facts
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_gate.engines.job import Job
from consent_gate.filter import Filter
from engine_drivers import DRIVERS, Driver
from engine_world import World
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

HERE = [driver for driver in DRIVERS if driver.is_there]
NAMES = [f"w{number}" for number in range(8)]
STRANGERS = ["w99", "", "w 1", "W1", "é", "w" * 200, "nobody-0"]

snapshots = st.tuples(
    some_facts.books(),
    st.lists(some_facts.workspaces() | some_facts.workspaces(plain=True), min_size=8, max_size=8),
    some_facts.organisations,
)
COLUMNS = (["one"], ["several"], ["one", "two"], ["two", "several", "one"], ["nobody"])
QUESTIONS = [(columns, collected) for columns in COLUMNS for collected in (None, "sent")]
engines = pytest.mark.parametrize("driver", HERE, ids=lambda driver: driver.name)
"""One test an engine that is installed here."""
patient = pytest.mark.timeout(400)
"""Spark and Ray take seconds for each question, and more on a busy machine."""


def strings(choose: random.Random, values: list[str | None]) -> Any:
    """A column of text of some type, in some number of chunks."""
    kind = choose.choice([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
    cut = choose.randrange(len(values) + 1)
    return pa.chunked_array([pa.array(part, pa.string()).cast(kind) for part in (values[:cut], values[cut:])])


def lists(choose: random.Random, values: list[list[str | None] | None]) -> Any:
    """A column of lists of text."""
    kind = choose.choice([pa.list_(pa.string()), pa.large_list(pa.large_string())])
    return pa.chunked_array([pa.array(values, kind)])


def times(choose: random.Random, values: list[int | None]) -> Any:
    """A column of instants of some unit and zone."""
    zone = choose.choice(["UTC", "Europe/Berlin", "Asia/Kolkata"])
    unit = choose.choice(["us", "us", "ns"])
    scale = 1_000 if unit == "ns" else 1
    rest = choose.randrange(scale)
    return pa.chunked_array(
        [pa.array([None if at is None else at * scale + rest for at in values], pa.timestamp(unit, zone))]
    )


def random_table(choose: random.Random, now: int, count: int) -> pa.Table:
    """Rows of known, unknown, impossible and missing owners, at all kinds of times."""

    def owner() -> str | None:
        return choose.choice([*NAMES * 3, *STRANGERS, None])

    def owners() -> list[str | None] | None:
        return choose.choice([None, [], [owner()], [choose.choice(NAMES)] * 2, [owner(), owner(), owner()]])

    def instant() -> int | None:
        late = [now, now + 300_000_000, now + 300_000_001, now + 10**12]
        return choose.choice([None, -5, *late, *(choose.randrange(0, 120) for _ in range(12))])

    return pa.table(
        {
            "row": pa.array(range(count), pa.int64()),
            "one": strings(choose, [owner() for _ in range(count)]),
            "two": strings(choose, [choose.choice([*NAMES, owner()]) for _ in range(count)]),
            "several": lists(choose, [owners() for _ in range(count)]),
            "sent": times(choose, [instant() for _ in range(count)]),
            "nobody": pa.array([None] * count, pa.string()),
        }
    )


def expected(job: Job, table: pa.Table, columns: list[str], collected: str | None) -> tuple[list[int], Any]:
    """The rows that the filter keeps of one batch, and its counts."""
    rows = Filter(job.judge(), columns, collected or "")
    whole = table.unify_dictionaries().combine_chunks().to_batches()
    kept = [row for batch in whole for row in rows.apply(batch)["row"].to_pylist()]
    return kept, rows.counts


@patient
@engines
def test_given_any_facts_and_rows_then_an_engine_keeps_the_rows_that_the_filter_keeps(driver: Driver) -> None:
    @settings(
        max_examples=driver.examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(snapshots, st.integers(0, 1 << 32), st.sampled_from(["train", "train", "learn", "nothing"]))
    def check(
        snapshot: tuple[Book, list[WorkspaceFacts], OrganisationFacts], seed: int, purpose: str
    ) -> None:
        book, facts, organisation = snapshot
        choose = random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            workspaces = dict(zip(NAMES, facts, strict=True))
            world = World(Path(folder), book, workspaces, {"acme": organisation}, some_facts.NOW)
            with world.followed() as gate:
                for columns, collected in choose.sample(QUESTIONS, 3):
                    table = random_table(choose, world.now, choose.choice([0, 1, 5, 60]))
                    used = table.select(["row", *columns, *([collected] if collected else [])])
                    if driver.takes(used):
                        with gate.job(purpose) as job:
                            compare(driver, job, used, columns, collected)

    check()


@patient
@engines
@pytest.mark.parametrize("facts", [engine_world.windows, engine_world.consents])
def test_given_windows_and_choices_then_an_engine_keeps_the_rows_that_the_filter_keeps(
    driver: Driver, facts: Callable[[Path], World], tmp_path: Path
) -> None:
    """Facts of which much is permitted, for one reason or another, and every kind of column in turn."""
    choose, kept = random.Random(driver.name), 0
    world = facts(tmp_path)
    with world.followed() as gate:
        for columns, collected in QUESTIONS:
            table = random_table(choose, world.now, 300)
            used = table.select(["row", *columns, *([collected] if collected else [])])
            if driver.takes(used):
                with gate.job() as job:
                    kept += compare(driver, job, used, columns, collected)
    assert kept > 0, "something was permitted, or nothing was tested"


def compare(driver: Driver, job: Job, table: pa.Table, columns: list[str], collected: str | None) -> int:
    """How many rows were kept, after all was compared."""
    kept, counts = expected(job, table, columns, collected)
    found = driver.run(job, table, columns, collected)
    assert (found if driver.is_ordered else sorted(found)) == kept
    report = job.report()
    if driver.counts and (len(table) or driver.package != "pyspark"):  # Spark does not run what has no rows
        assert report.reasons == counts
        assert (report.rows_in, report.rows_out) == (len(table), len(kept))
    if report.set_scope == "met":
        assert set(job.workspaces()) <= set(NAMES)
    return len(kept)
