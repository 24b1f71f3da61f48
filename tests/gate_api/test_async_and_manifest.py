"""What blocks has a form that does not; and a run's manifest is one call."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from consent_gate.gate import Gate
from consent_gate.manifests import model, prepare, read
from consent_gate.server_mode import ServerGate
from gate_ledger import mark, replica_of
from scenario import enrolled, opt_out, scope, workspace

ROWS = [{"w": "acme"}, {"w": "out"}, {"w": None}, {"w": "w2"}]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate whose replica is told all the time that nothing happens, so that jobs begin."""
    ledger = enrolled().given(workspace("w2"), workspace("out"), opt_out(scope=scope("out")))
    replica = replica_of(ledger, tmp_path)
    ended = threading.Event()

    def heartbeat() -> None:
        while not ended.wait(0.02):
            ledger.wait(1)
            replica.note_watermark(mark(ledger))

    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    yield Gate(replica, purpose="train", max_staleness=60)
    ended.set()
    thread.join()


async def test_given_asynchronous_code_then_jobs_filters_and_masks_do_not_block_the_loop(gate: Gate) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with gate:
        result = await gate.filter_async(ROWS, "w")
        assert result.data == [{"w": "acme"}, {"w": "w2"}]
        assert (await gate.mask_async(ROWS, "w")).data == [True, False, False, True]
        job = await gate.job_async(wait_seconds_max=20)
        assert await asyncio.to_thread(job.filter, ROWS, "w") == result.data
        prepared = await gate.manifest_async(job, "run-1", outputs=[model("models:/m", "1")])
        job.close()
    ticking.cancel()
    assert ticks > 3 and prepared.manifest.workspaces == "2"


@pytest.mark.parametrize("name", ["job", "filter", "mask", "manifest"])
def test_the_asynchronous_form_takes_what_the_other_takes(name: str) -> None:
    for kind in (Gate, ServerGate):
        blocking, awaited = getattr(kind, name), getattr(kind, f"{name}_async")
        assert inspect.signature(awaited) == inspect.signature(blocking)
        assert inspect.iscoroutinefunction(awaited)


def test_given_a_job_or_a_result_then_its_manifest_is_one_call_and_reads_back(
    gate: Gate, tmp_path: Path
) -> None:
    made = {"outputs": [model("models:/m", "1")], "code": "git:1"}
    with gate.job() as job:
        job.filter(ROWS, "w")
        prepared = gate.manifest(job, "run-1", **made)  # type: ignore[arg-type]
        assert prepared == prepare(job, "run-1", **made)  # type: ignore[arg-type]
    (tmp_path / "run.json").write_bytes(prepared.encode())
    assert read(tmp_path / "run.json") == prepared
    result = gate.filter(ROWS, "w")
    of_result = gate.manifest(result, "run-2", **made)  # type: ignore[arg-type]
    assert of_result.set == prepared.set and of_result.manifest.rows_out == "2"
