"""Spark's plans are joins and nothing of Python; what runs again, or is cached, is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_world
import pyarrow as pa
import pytest
from consent_gate.gate import Gate
from engine_world import World, customer, opted_out

pytest.importorskip("pyspark")
pytestmark = pytest.mark.timeout(400)

OWNERS = pa.table({"w": [f"w{number % 4}" for number in range(80)] + ["nobody"] * 20})
EVERY_OWNER = sorted(OWNERS["w"].to_pylist()[:80])
both = pytest.mark.parametrize("reasons", [True, False], ids=["with reasons", "semi-join"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return engine_world.permitted(tmp_path)


@pytest.fixture
def gate(world: World) -> Iterator[Gate]:
    with world.followed() as gate:
        yield gate


def frame() -> Any:
    import spark_session

    return spark_session.frame(OWNERS)


def owners(data: Any) -> list[str]:
    return sorted(row["w"] for row in data.collect())


@both
def test_given_a_plan_then_what_goes_out_is_broadcast_and_no_python_runs(gate: Gate, reasons: bool) -> None:
    kept = gate.filter(frame(), "w", reasons=reasons).data
    plan = str(kept._jdf.queryExecution().executedPlan())
    assert "BroadcastHashJoin" in plan and ("LeftSemi" in plan) is not reasons
    assert "CollectMetrics" in plan and "Python" not in plan and "Exchange hashpartitioning" not in plan


@both
def test_given_a_task_that_fails_when_it_runs_again_then_no_row_is_counted_twice(
    gate: Gate, reasons: bool
) -> None:
    def breaking(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        for batch in batches:
            yield batch
            context = TaskContext.get()
            assert context is not None and context.attemptNumber() > 0, "the first attempt always fails"

    result = gate.filter(frame().mapInArrow(breaking, "w string"), "w", reasons=reasons)
    assert owners(result.data) == EVERY_OWNER
    report = result.report()
    assert (report.rows_in, report.rows_out) == (100, 80)


@both
def test_given_a_frame_that_is_kept_when_it_is_read_twice_then_its_rows_are_counted_once(
    gate: Gate, reasons: bool
) -> None:
    result = gate.filter(frame(), "w", reasons=reasons)
    kept = result.data.persist()
    assert owners(kept) == owners(kept) == EVERY_OWNER
    report = result.report()
    assert (report.rows_in, report.rows_out) == (100, 80)
    kept.unpersist()


@both
def test_given_a_frame_that_is_not_kept_when_it_is_read_twice_then_the_first_action_counts(
    gate: Gate, reasons: bool
) -> None:
    result = gate.filter(frame(), "w", reasons=reasons)
    assert result.report().rows_in is None, "nothing ran yet"
    assert owners(result.data) == owners(result.data) == EVERY_OWNER
    assert (result.report().rows_in, result.report().rows_out, result.report().ended) == (100, 80, False)


@both
def test_given_a_cached_frame_when_one_withdraws_then_the_next_job_does_not_find_it(
    world: World, gate: Gate, reasons: bool
) -> None:
    source = frame().persist()
    with gate.job() as job:
        kept = source.transform(job.filter, "w", reasons=reasons).persist()
        assert owners(kept) == EVERY_OWNER
        world.changed({"w1": customer(200, choices=opted_out(60))})
        assert owners(kept) == EVERY_OWNER, "a job stands on one moment"
        report = job.report()
        assert report.spans_withdrawal and report.overtaken is not None and report.overtaken.names == ("w1",)
    with gate.job() as job:
        assert "w1" not in owners(source.transform(job.filter, "w", reasons=reasons))
        assert "w1" not in owners(kept.transform(job.filter, "w", reasons=reasons))
