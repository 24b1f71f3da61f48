"""Ray counts each block once, whatever becomes of its workers; and nothing is counted short unsaid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_world
import pyarrow as pa
import pytest
from consent_gate.gate import Gate
from engine_world import World, customer, opted_out

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(400)

OWNERS = pa.table({"w": [f"w{number % 4}" for number in range(80)] + ["nobody"] * 20})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return engine_world.permitted(tmp_path / "replica")


@pytest.fixture
def gate(world: World) -> Iterator[Gate]:
    with world.followed() as gate:
        yield gate


def breaking(mark: Path) -> Any:
    """Gives each block in halves. The worker that is the first to have given one dies then."""

    def halves(block: pa.Table) -> Iterator[pa.Table]:
        yield block.slice(0, len(block) // 2)
        if not mark.exists():
            mark.touch()
            os._exit(1)
        yield block.slice(len(block) // 2)

    return halves


def owners(data: Any) -> list[str]:
    return sorted(row["w"] for row in data.take_all())


EVERY_OWNER = sorted(OWNERS["w"].to_pylist()[:80])


def test_given_a_worker_that_dies_when_its_task_runs_again_then_no_row_is_counted_twice(
    gate: Gate, tmp_path: Path
) -> None:
    from ray_session import dataset

    mark = tmp_path / "died"
    data = dataset(OWNERS).map_batches(breaking(mark), batch_format="pyarrow", batch_size=None)
    result = gate.filter(data, "w")
    assert owners(result.data) == EVERY_OWNER
    assert mark.exists(), "a worker died, or nothing was tested"
    report = result.report()
    assert (report.rows_in, report.rows_out, report.ended) == (100, 80, False)


def test_given_a_dataset_that_is_kept_when_it_is_read_twice_then_its_rows_are_counted_once(
    gate: Gate,
) -> None:
    from ray_session import dataset

    result = gate.filter(dataset(OWNERS), "w")
    kept = result.data.materialize()
    assert owners(kept) == owners(kept) == EVERY_OWNER
    assert result.report().rows_in == 100
    assert owners(result.data) == EVERY_OWNER
    assert result.report().rows_in == 200, "the plan itself was run again, and the report says so"


def test_given_that_nobody_counts_any_more_when_rows_are_read_then_the_job_fails(gate: Gate) -> None:
    from consent_gate.engines.ray import _counting
    from ray_session import dataset

    result = gate.filter(dataset(OWNERS), "w")
    ray.kill(_counting())
    with pytest.raises(ray.exceptions.RayError):
        result.data.take_all()
    with pytest.raises(ray.exceptions.RayError):
        result.report()
    assert owners(gate.filter(dataset(OWNERS), "w").data) == EVERY_OWNER, "another job counts anew"


def test_given_a_withdrawal_while_blocks_are_read_then_all_stand_on_one_moment_and_the_report_says_so(
    world: World, gate: Gate
) -> None:
    from ray_session import dataset

    with gate.job() as job:
        rows = iter(job.filter(dataset(OWNERS, block_rows=10), "w").iter_rows())
        seen = [next(rows)["w"]]
        world.changed({"w1": customer(200, choices=opted_out(60))})
        seen += [row["w"] for row in rows]
        assert sorted(seen) == EVERY_OWNER
        report = job.report()
    assert report.spans_withdrawal and report.overtaken is not None and report.overtaken.names == ("w1",)
    assert "w1" not in owners(gate.filter(dataset(OWNERS), "w").data)
