"""Data that cannot be judged is refused, with what is wrong and where: never passed, never dropped unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import engine_world
import pyarrow as pa
import pytest
from consent_domain.errors import ConsentError
from consent_gate.gate import Gate
from engine_drivers import DRIVERS, Driver
from engine_world import customer, opted_out

HERE = [driver for driver in DRIVERS if driver.is_there and driver.name != "torch workers"]


def kind(value: object) -> str:
    """A name for a case that is the same in every process."""
    return type(value).__name__


engines = pytest.mark.parametrize("driver", HERE, ids=lambda driver: driver.name)
INSTANT = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder: Path = tmp_path_factory.mktemp("replica")
    with engine_world.permitted(folder).followed() as gate:
        yield gate


def refused(gate: Gate, driver: Driver, columns: dict[str, Any], *names: str, collected: str = "") -> str:
    table = pa.table({"row": pa.array([0], pa.int64()), **columns})
    with gate.job() as job, pytest.raises(Exception) as raised:
        driver.run(job, table, list(names), collected or None)
    if driver.name not in (
        "duckdb macros",
        "iterator",
    ):  # what looks there is the user's, and so is the error
        assert isinstance(raised.value, ConsentError), raised.value
    return str(raised.value)


@engines
def test_given_a_column_that_is_not_there_then_refused_by_name(gate: Gate, driver: Driver) -> None:
    columns = {"w": pa.array(["w1"]), "at": pa.array([INSTANT])}
    assert "wörk" in refused(gate, driver, columns, "wörk")
    assert "when" in refused(gate, driver, columns, "w", collected="when")
    assert "other" in refused(gate, driver, columns, "w", "other")


@engines
@pytest.mark.parametrize(
    "values", [pa.array([1]), pa.array([b"w1"]), pa.array([1.5]), pa.array([[1]])], ids=str
)
def test_given_ids_that_are_no_text_then_refused(gate: Gate, driver: Driver, values: Any) -> None:
    if driver.name != "duckdb macros":  # there 1 is cast to '1', which is nobody
        refused(gate, driver, {"w": values}, "w")


@engines
@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime(1970, 1, 1)], pa.timestamp("us")),
        pa.array(["1970-01-01T00:00:00Z"]),
        pa.array([50]),
        pa.array([INSTANT.date()]),
    ],
    ids=lambda values: str(values.type),
)
def test_given_collection_times_that_name_no_instant_then_refused(
    gate: Gate, driver: Driver, values: Any
) -> None:
    refused(gate, driver, {"w": pa.array(["w1"]), "at": values}, "w", collected="at")


@engines
def test_given_no_column_at_all_then_refused(gate: Gate, driver: Driver) -> None:
    if driver.name != "duckdb macros":
        assert "at least one column" in refused(gate, driver, {"w": pa.array(["w1"])})


@pytest.mark.parametrize("data", ["w1", b"w1", {"w": ["w1"]}, 5, None, object()], ids=kind)
def test_given_what_holds_no_rows_then_refused(gate: Gate, data: Any) -> None:
    with pytest.raises(ConsentError, match="holds no rows"):
        gate.filter(data, "w")


@pytest.mark.parametrize("places", ["", [], [""], [5], 5], ids=kind)
def test_given_no_place_for_the_owners_then_refused(gate: Gate, places: Any) -> None:
    for data in ([{"w": "w1"}], pa.table({"w": ["w1"]})):
        with pytest.raises((ConsentError, TypeError)):
            gate.filter(data, places)


def test_given_a_column_twice_then_refused(gate: Gate) -> None:
    import pandas as pd

    twice = pa.Table.from_arrays([pa.array(["w1"]), pa.array(["nobody"])], names=["w", "w"])
    for data in (twice, pd.DataFrame([["w1", "nobody"]], columns=["w", "w"])):
        with pytest.raises(ConsentError, match="twice"):
            gate.filter(data, "w")


@pytest.mark.parametrize(
    "owner", [1, b"w1", 1.5, object(), ["w1", 1], [["w1"]], {"w1": 1}, ("w1", b"w1")], ids=kind
)
def test_given_items_whose_owner_is_no_text_then_refused(gate: Gate, owner: Any) -> None:
    with pytest.raises(ConsentError, match="is no workspace id"):
        gate.filter([{"w": owner}], "w")


@pytest.mark.parametrize("owner", [None, float("nan"), [], ["w1", None], (), {"w1", "nobody"}], ids=kind)
def test_given_items_without_a_known_owner_then_dropped_and_counted(gate: Gate, owner: Any) -> None:
    result = gate.filter([{"w": owner}], "w")
    assert result.data == [] and result.report().rows_dropped == 1


@pytest.mark.parametrize("when", [datetime(1970, 1, 1), "1970-01-01T00:00:00Z", 50, 1.5], ids=kind)
def test_given_items_whose_time_names_no_instant_then_refused(gate: Gate, when: Any) -> None:
    with pytest.raises(ConsentError, match="is no collection time"):
        gate.filter([{"w": "w1", "at": when}], "w", "at")


def test_given_pandas_objects_then_only_what_they_surely_are_is_judged(gate: Gate) -> None:
    import pandas as pd

    frame = pd.DataFrame({"w": pd.Series(["w1", None, float("nan"), pd.NA, "w2"], dtype=object)})
    assert list(gate.filter(frame, "w").data["w"]) == ["w1", "w2"]
    lists = pd.DataFrame({"w": [["w1"], [], None, ["w1", None], ("w1", "w2")]})
    assert list(gate.filter(lists, "w").data.index) == [0, 4]
    for mixed in (["w1", 1], ["w1", ["w1"]], ["w1", b"w1"], [["w1"], [1]], [["w1"], [b"w1"]]):
        with pytest.raises(ConsentError, match="workspace ids are text"):
            gate.filter(pd.DataFrame({"w": pd.Series(mixed, dtype=object)}), "w")
    times = pd.Series([INSTANT, datetime(1970, 1, 1)], dtype=object)
    with pytest.raises(ConsentError, match="Python datetimes"):
        gate.filter(pd.DataFrame({"w": ["w1", "w1"], "at": times}), "w", "at")


def test_given_a_duckdb_table_named_as_the_gates_own_then_refused(gate: Gate) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE data AS SELECT 'nobody' AS w")
        connection.execute("CREATE TABLE consent_gate_allowed AS SELECT 'nobody' AS workspace")
        with pytest.raises(ConsentError, match="names are taken"):
            gate.filter(connection.table("data"), "w")
        connection.execute("DROP TABLE consent_gate_allowed")
        assert gate.filter(connection.table("data"), "w").data.fetchall() == []
        connection.execute("ALTER TABLE data RENAME w TO consent_OWNER")
        with pytest.raises(ConsentError, match="names are taken"):
            gate.filter(connection.table("data"), "consent_OWNER")


def test_given_relations_of_two_moments_on_one_connection_then_each_keeps_to_its_own(tmp_path: Path) -> None:
    import duckdb

    world = engine_world.permitted(tmp_path)
    with world.followed() as gate, duckdb.connect() as connection:
        rows = connection.sql("SELECT unnest(['w1', 'w2']) AS w")
        before = gate.filter(rows, "w").data
        world.changed({"w1": customer(200, choices=opted_out(60))})
        after = gate.filter(rows, "w").data
        others = gate.filter(connection.sql("SELECT 'nobody' AS w"), "w").data
        for _ in range(2):
            assert sorted(before.fetchall()) == [("w1",), ("w2",)]
            assert after.fetchall() == [("w2",)] and others.fetchall() == []
        both = before.union(after).to_arrow_table()
        assert sorted(both["w"].to_pylist()) == ["w1", "w2", "w2"]


def test_given_times_at_infinity_then_nothing_is_permitted(gate: Gate) -> None:
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.sql("SELECT 'w1' AS w, unnest(['infinity', '-infinity'])::TIMESTAMPTZ AS sent")
        result = gate.filter(rows, "w", "sent")
        assert result.data.to_arrow_table().num_rows == 0


@pytest.mark.parametrize("kind", ["lazy", "relation", "reader", "iterator"])
def test_given_rows_without_a_lasting_order_then_there_is_no_mask(gate: Gate, kind: str) -> None:
    import duckdb
    import polars as pl

    table = pa.table({"w": ["w1"]})
    data = {
        "lazy": pl.LazyFrame({"w": ["w1"]}),
        "relation": duckdb.sql("SELECT 'w1' AS w"),
        "reader": table.to_reader(),
        "iterator": iter([{"w": "w1"}]),
    }[kind]
    with pytest.raises(ConsentError, match="there is no mask"):
        gate.mask(data, "w")


def test_given_an_extra_that_is_not_installed_then_its_name_is_said(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frame:
        """Of a package whose engine cannot be imported."""

        __module__ = "ray.data"

    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConsentError, match=r"consent-gate\[ray\]"):
        gate.filter(Frame(), "w")
