"""Large data, small pieces, blocks and threads: whichever way rows go, the same stay, and all are counted."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import engine_world
import pyarrow as pa
import pytest
from consent_domain.errors import ConsentError
from consent_gate.engines import arrow, iterables
from consent_gate.filter import Filter, instants
from consent_gate.gate import Gate
from engine_world import World, customer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = [*(f"w{number}" for number in range(8)), "w99", "W1", "w 1", "w1\n", "", "é", None]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Workspaces that permit all, some, or none of the time."""
    folder: Path = tmp_path_factory.mktemp("replica")
    with engine_world.windows(folder).followed() as gate:
        yield gate


@pytest.fixture(scope="module")
def consents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Workspaces that permit by default, because they opted in, or not at all."""
    folder: Path = tmp_path_factory.mktemp("replica")
    with engine_world.consents(folder).followed() as gate:
        yield gate


@pytest.fixture(scope="module")
def permits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """`w0` to `w7` permit everything."""
    folder: Path = tmp_path_factory.mktemp("replica")
    with engine_world.permitted(folder).followed() as gate:
        yield gate


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "+05:30"])
def test_given_nanoseconds_of_an_hour_that_comes_twice_then_each_is_the_instant_it_is(zone: str) -> None:
    hours = [1_730_611_800_000_000, 1_730_615_400_000_000, 1_710_055_800_000_000, -1]
    column = pa.array([1_000 * hour + 999 for hour in hours], pa.int64()).cast(pa.timestamp("ns", zone))
    assert instants(column).to_pylist() == hours


def rows(choose: random.Random, count: int) -> pa.Table:
    """Rows of two owners and a list of them, at some time or none."""
    owners = [choose.choices(NAMES, k=count) for _ in range(2)]
    several = [choose.choice([None, [], choose.choices(NAMES, k=2)]) for _ in range(count)]
    times = [choose.choice([None, *range(0, 120, 5)]) for _ in range(count)]
    return pa.table(
        {
            "row": pa.array(range(count), pa.int64()),
            "one": pa.array(owners[0], pa.string()),
            "two": pa.array(owners[1], pa.string()).dictionary_encode(),
            "several": pa.array(several, pa.list_(pa.string())),
            "sent": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )


questions = st.tuples(
    st.sampled_from([["one"], ["two"], ["one", "two"], ["one", "several"], ["two", "two"]]),
    st.sampled_from([None, "sent"]),
)


def one_by_one(gate: Gate, table: pa.Table, owners: list[str], collected: str | None) -> Any:
    """The rows that stay and the counts, by the plainest way there is: an iterator."""
    result = gate.filter(iter(table.to_pylist()), owners, collected)
    return [item["row"] for item in result.data], result.report().reasons


@settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(questions, st.integers(0, 1 << 32), st.booleans())
def test_given_data_in_pieces_of_any_size_then_a_job_keeps_and_counts_what_it_would_of_each_row(
    gate: Gate, consents: Gate, question: tuple[list[str], str | None], seed: int, everybody: bool
) -> None:
    import duckdb
    import polars as pl

    choose = random.Random(seed)
    gate = choose.choice([gate, consents])
    table = rows(choose, choose.choice([0, 1, 40, 150]))
    kept, reasons = one_by_one(gate, table, *question)
    with gate.job() as job:
        if everybody:
            job.pinned()
        found, start = [], 0
        while start < len(table):
            piece = table.slice(start, choose.choice([1, 1, 2, 3, 20]))
            start += len(piece)
            way = choose.choice(["batch", "frame", "plan", "relation", "items"])
            if way == "batch":
                found += job.filter(piece, *question)["row"].to_pylist()
            elif way == "frame":
                found += job.filter(pl.DataFrame(piece), *question)["row"].to_list()
            elif way == "plan":
                found += job.filter(pl.LazyFrame(piece), *question).collect()["row"].to_list()
            elif way == "relation":
                with duckdb.connect() as connection:
                    connection.register("piece", piece)
                    kept_here = job.filter(connection.table("piece"), *question).select("row").fetchall()
                found += sorted(row[0] for row in kept_here)
            else:
                found += [item["row"] for item in job.filter(piece.to_pylist(), *question)]
        report = job.report()
    assert found == kept and (report.reasons or {}) == (reasons or {})


@settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(questions, st.integers(0, 1 << 32))
def test_given_a_table_judged_block_by_block_on_threads_then_it_keeps_and_counts_the_same(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, question: tuple[list[str], str | None], seed: int
) -> None:
    monkeypatch.setattr(arrow, "BLOCK_ROWS_MIN", 3)
    monkeypatch.setattr(arrow, "BLOCK_ROWS_MAX", 7)
    monkeypatch.setattr(iterables, "PROGRESS_ROWS", 4)
    table = rows(random.Random(seed), 90)
    kept, reasons = one_by_one(gate, table, *question)
    whole = gate.filter(table, *question)
    assert whole.data["row"].to_pylist() == kept and whole.report().reasons == reasons
    items = gate.filter(table.to_pylist(), *question)
    assert [item["row"] for item in items.data] == kept and items.report().reasons == reasons


@settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([["one"], ["two"], ["one", "two"]]), st.integers(0, 1 << 32), st.booleans())
def test_given_more_workspaces_than_are_hashed_again_then_a_plan_without_reasons_keeps_the_same(
    permits: Gate, monkeypatch: pytest.MonkeyPatch, owners: list[str], seed: int, many: bool
) -> None:
    import polars as pl
    from consent_gate.engines import polars

    monkeypatch.setattr(polars, "IS_IN_MAX", 0 if many else 100)
    table = rows(random.Random(seed), 60)
    kept, _ = one_by_one(permits, table, owners, None)
    with permits.job() as job:
        plan = pl.LazyFrame(table).pipe(job.filter, owners, reasons=False)
        assert plan.collect()["row"].to_list() == kept


@settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(questions, st.integers(0, 1 << 32), st.booleans())
def test_given_a_plan_or_frame_of_many_rows_then_it_keeps_and_counts_the_same_in_every_engine_of_polars(
    consents: Gate, question: tuple[list[str], str | None], seed: int, streaming: bool
) -> None:
    import polars as pl
    from consent_gate.engines.polars_index import Indexed

    table = rows(random.Random(seed), 200)
    kept, reasons = one_by_one(consents, table, *question)
    with consents.job() as job:
        plan = pl.LazyFrame(table).pipe(job.filter, *question)
        assert plan.collect(engine="streaming" if streaming else "in-memory")["row"].to_list() == kept
        assert job.report().reasons == reasons
        pinned = job.pinned()
        travelled = pickle.loads(
            pickle.dumps(Filter(pinned, question[0], question[1] or "", Indexed(pinned)))
        )
        batch = pl.DataFrame(table).to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        assert travelled.apply(batch.to_batches()[0])["row"].to_pylist() == kept
        assert travelled.counts == reasons
    with consents.job() as job:
        job.pinned()
        assert job.filter(pl.DataFrame(table), *question)["row"].to_list() == kept
        assert job.report().reasons == reasons


@pytest.mark.parametrize("numbers", [[1], [0, None], [0, 0, 0]])
@pytest.mark.parametrize("column", ["one", "two"])
def test_given_a_look_up_that_does_not_answer_for_each_row_then_none_is_let_through(
    consents: Gate, column: str, numbers: list[int | None]
) -> None:
    """Which would be a bug of ours, found by more than an `assert`: `python -O` leaves those out."""

    class Broken:
        def verdicts(self, owners: Any, collected: Any) -> Any:
            return pa.array(numbers, pa.int32())

    batch = pa.record_batch({"one": ["w1", "w2"], "two": [["w1"], ["w2"]]})
    with consents.job() as job, pytest.raises(ConsentError, match="not every owner has a verdict"):
        Filter(job.judge(), [column], "", Broken()).mask(batch)


def test_given_items_of_all_kinds_in_one_block_then_each_is_read_as_what_it_is(permits: Gate) -> None:
    class Name(str):
        """A text all the same."""

    items = [
        {"w": "w0"},
        MappingProxyType({"w": "w0"}),
        SimpleNamespace(w="w0"),
        {"w": Name("w0")},
        {"w": ["w0", "w1"]},
        {"w": ["w0", "w99"]},
        {"w": Name("W0")},
        {"w": None},
    ]
    assert permits.filter(items, "w").data == items[:5]
    assert permits.filter(items[:1] * 2_500, "w").data == items[:1] * 2_500
    with pytest.raises(ConsentError, match="has no 'w'"):
        permits.filter([*items[:1] * 1_500, {"v": "w0"}], "w")


def test_given_an_owner_that_claims_to_equal_any_other_then_it_is_refused(permits: Gate) -> None:
    class Impostor:
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("w0")

    with pytest.raises(ConsentError, match="is no workspace id"):
        permits.filter([{"w": "w0"}, {"w": Impostor()}], "w")


def test_given_an_iterator_then_no_item_is_read_before_it_is_wanted(permits: Gate) -> None:
    read: list[int] = []

    def stream() -> Iterator[dict[str, str]]:
        for number in range(5):
            read.append(number)
            yield {"w": f"w{number}"}

    kept = permits.filter(stream(), "w").data
    assert read == []
    for number in range(5):
        assert next(kept) == {"w": f"w{number}"} and len(read) == number + 1


# -- DuckDB: ids differ by case, whatever the user's tables and session say --------------------------------


@pytest.mark.parametrize("kind", ["VARCHAR", "VARCHAR COLLATE NOCASE", "ENUM('w1', 'W1', 'ẃ1')"])
@pytest.mark.parametrize("collation", ["", "NOCASE", "NOACCENT"])
def test_given_a_collation_that_takes_ids_for_equal_then_only_the_workspace_itself_is_permitted(
    tmp_path: Path, kind: str, collation: str
) -> None:
    import duckdb
    from consent_gate.engines.duckdb import register

    with engine_world.permitted(tmp_path).followed() as gate, duckdb.connect() as connection:
        connection.execute(f"SET default_collation = '{collation}'")
        connection.execute(f"CREATE TABLE data (w {kind}, l VARCHAR[], sent TIMESTAMPTZ)")
        connection.execute("INSERT INTO data SELECT x, [x], NULL FROM unnest(['w1', 'W1', 'ẃ1']) t(x)")
        with gate.job() as job:
            for owners in ("w", "l", ["w", "l"]):
                for collected in (None, "sent"):
                    kept = job.filter(connection.table("data"), owners, collected)
                    assert [row[0] for row in kept.fetchall()] == ["w1"]
            report = job.report()
            assert (report.rows_in, report.rows_out) == (18, 6)
            register(job, connection)
            for test in ("consent_permits(w)", "consent_permits_at(w, sent)"):
                assert connection.sql(f"SELECT w FROM data WHERE {test}").fetchall() == [("w1",)]  # noqa: S608


def test_given_a_table_named_as_the_gates_own_in_capitals_then_refused(tmp_path: Path) -> None:
    import duckdb

    world = World(tmp_path, engine_world.book("opt_out"), {"w1": customer(10)}, engine_world.ACME, 100)
    with world.followed() as gate, duckdb.connect() as connection:
        connection.execute("CREATE TABLE data AS SELECT 'nobody' AS w")
        connection.execute(
            "CREATE TABLE CONSENT_GATE_STANDINGS AS SELECT 'nobody' AS workspace, 0 AS unstated"
        )
        with pytest.raises(ConsentError, match="names are taken"):
            gate.filter(connection.table("data"), "w")
