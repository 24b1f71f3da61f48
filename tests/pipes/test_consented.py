"""Given data in any engine, when some may not be used, then the assertion says how much, whose and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from consent_domain.errors import ConsentError
from consent_gate.consented import require_consented
from consent_gate.engines.arrow import batch_of
from consent_gate.gate import Gate
from engine_world import World, permitted

GOOD = ["w0", "w1", "w2"]
MIXED = ["w0", "nobody", None, "w1", "nobody", "no id"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return permitted(tmp_path_factory.mktemp("replica"))


@pytest.fixture
def gate(world: World) -> Iterator[Gate]:
    with world.followed() as gate:
        yield gate


def table(owners: list[Any]) -> pa.Table:
    kind = pa.list_(pa.string()) if owners and isinstance(owners[0], list) else pa.string()
    return pa.table({"n": range(len(owners)), "w": pa.array(owners, kind)})


def batch(owners: list[Any]) -> pa.RecordBatch:
    return batch_of(table(owners))


def view(owners: list[Any]) -> pa.Table:
    column = table(owners)["w"]
    is_list = pa.types.is_list(column.type)
    return pa.table({"w": column.cast(pa.list_(pa.string_view()) if is_list else pa.string_view())})


MAKERS = {
    "pyarrow table": table,
    "pyarrow batch": batch,
    "pyarrow reader": lambda owners: table(owners).to_reader(),
    "pyarrow dataset": lambda owners: ds.dataset(table(owners)),
    "pyarrow scanner": lambda owners: ds.dataset(table(owners)).scanner(),
    "pyarrow view": view,
    "polars": lambda owners: pl.DataFrame(table(owners)),
    "polars lazy": lambda owners: pl.LazyFrame(table(owners)),
    "pandas": lambda owners: table(owners).to_pandas(),
    "duckdb": lambda owners: duckdb.connect().from_arrow(table(owners)),
    "list": lambda owners: table(owners).to_pylist(),
    "iterator": lambda owners: iter(table(owners).to_pylist()),
}  # fmt: skip


@pytest.mark.parametrize("engine", MAKERS)
def test_given_rows_that_may_all_be_used_when_asserted_then_nothing_happens(gate: Gate, engine: str) -> None:
    require_consented(gate, MAKERS[engine](GOOD), workspace="w")  # type: ignore[operator]


@pytest.mark.parametrize("engine", MAKERS)
def test_given_rows_that_may_not_when_asserted_then_it_says_how_many_whose_and_why(
    gate: Gate, engine: str
) -> None:
    with pytest.raises(AssertionError) as raised:
        require_consented(gate, MAKERS[engine](MIXED), workspace="w")  # type: ignore[operator]
    said = str(raised.value)
    assert said.startswith("4 of 6 rows may not be used for train:\n  2  unknown_workspace (")
    assert ": 'nobody'\n" in said
    assert "  1  no_workspace (" in said
    assert "  1  invalid_id (" in said and "'no id'" in said
    assert "decided as of " in said
    assert "Filter the data before it is used" in said


@pytest.mark.parametrize("engine", MAKERS)
def test_given_several_owners_when_one_denies_then_it_is_named(gate: Gate, engine: str) -> None:
    with pytest.raises(AssertionError, match=r"^2 of 3 rows[^']*'nobody'"):
        require_consented(gate, MAKERS[engine]([["w0", "w1"], ["w1", "nobody"], ["nobody"]]), workspace="w")  # type: ignore[operator]


@pytest.mark.parametrize("engine", MAKERS)
def test_given_no_rows_when_asserted_then_it_fails_unless_that_was_said(gate: Gate, engine: str) -> None:
    with pytest.raises(AssertionError, match="allow_empty=True"):
        require_consented(gate, MAKERS[engine]([]), workspace="w")  # type: ignore[operator]
    require_consented(gate, MAKERS[engine]([]), workspace="w", allow_empty=True)  # type: ignore[operator]


def test_given_plain_objects_when_asserted_then_callables_find_the_owner(gate: Gate) -> None:
    rows = [("w0", datetime(2026, 1, 1, tzinfo=UTC)), ("nobody", None)]
    with pytest.raises(AssertionError, match="1 of 2 rows"):
        require_consented(gate, rows, workspace=lambda row: row[0])


def test_given_many_workspaces_when_asserted_then_the_names_are_few(gate: Gate) -> None:
    with pytest.raises(AssertionError, match="and 995 more") as raised:
        require_consented(gate, table([f"nobody{number}" for number in range(1_000)]), workspace="w")
    assert len(str(raised.value)) < 1_000


def test_given_collection_times_when_not_named_then_it_says_what_to_pass(tmp_path: Path) -> None:
    from engine_world import windows

    world = windows(tmp_path)
    times = pa.array([90, 90, 20], pa.timestamp("us", "UTC"))
    data = pa.table({"w": ["w0", "w1", "w0"], "t": times})
    with world.followed() as gate:
        with pytest.raises(AssertionError, match="Say by collected="):
            require_consented(gate, data, workspace="w")
        require_consented(gate, data.slice(0, 2), workspace="w", collected="t")
        with pytest.raises(AssertionError, match=r"1 of 3 rows .*\n.*'w0'") as raised:
            require_consented(gate, data, workspace="w", collected="t")
        assert "Say by collected=" not in str(raised.value)
        naive = data.set_column(1, "t", data["t"].cast(pa.timestamp("us")))
        for engine in (lambda one: one, lambda one: one.to_pylist(), lambda one: one.to_pandas()):
            with pytest.raises(ConsentError, match="time zone"):
                require_consented(gate, engine(naive), workspace="w", collected="t")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "data",
    [
        pa.table({"v": ["w0"]}), pa.table({"w": [7]}), pl.DataFrame({"v": ["w0"]}), pl.DataFrame({"w": [7]}),
        pd.DataFrame({"v": ["w0"]}), pd.DataFrame({"w": [7]}), pd.DataFrame({"w": ["w0", 7]}),
        pd.DataFrame([["w0", "w0"]], columns=["w", "w"]), [{"v": "w0"}], [{"w": 7}], [{"w": b"w0"}],
        pa.RecordBatch.from_arrays([pa.array(["w0"])] * 2, names=["w", "w"]), "w0", 7, None, {"w": ["w0"]},
    ],
    ids=lambda data: type(data).__module__.partition(".")[0],
)  # fmt: skip
def test_given_data_that_cannot_be_judged_when_asserted_then_it_never_passes(gate: Gate, data: Any) -> None:
    with pytest.raises(Exception) as raised:
        require_consented(gate, data, workspace="w")
    assert not isinstance(raised.value, AssertionError)


def test_given_python_times_of_which_one_names_no_instant_when_asserted_then_it_never_passes(
    gate: Gate,
) -> None:
    """Arrow would take the one without a zone for UTC."""
    times = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1)]
    data = pd.DataFrame({"w": ["w0", "w0"], "at": pd.Series(times, dtype=object)})
    for given in (data, data.to_dict("records")):
        with pytest.raises(ConsentError):
            require_consented(gate, given, workspace="w", collected="at")


class Sly(str):
    """Says that it is another one."""

    def __str__(self) -> str:
        return "w0"


def test_given_text_that_calls_itself_otherwise_when_asserted_then_what_it_holds_counts(gate: Gate) -> None:
    for owner in (Sly("nobody"), [Sly("nobody")]):
        with pytest.raises(AssertionError, match="nobody"):
            require_consented(gate, [{"w": owner}], workspace="w")
        assert gate.filter([{"w": owner}], "w").data == []


def test_given_a_gate_that_is_not_fresh_when_asserted_then_it_never_passes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.gate.Gate.job", lambda *_, **__: _stale(world))
    with pytest.raises(ConsentError, match="no fresh state"):
        require_consented(world.gate, table(GOOD), workspace="w")


def _stale(world: World) -> Any:
    from consent_gate.engines.job import Job

    return Job(world.gate, "train", (), 0.1, False)
