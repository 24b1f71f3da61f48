"""A job stands on one moment, says what became of its rows, and never asks from where it should not."""

from __future__ import annotations

import hashlib
import linecache
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_world
import pyarrow as pa
import pytest
from consent_domain.errors import ConsentError
from consent_gate.engines.job import Job
from consent_gate.engines.report import set_digest
from consent_gate.filter import Filter
from consent_gate.gate import Gate
from consent_gate.verdicts import Verdict, Verdicts
from engine_world import ACME, World, customer, opted_out

PERMIT = Verdict(True, "defaulted_on")
OWNERS = pa.table({"w": ["w1", "w2", "w3", "nobody", None]})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return engine_world.permitted(tmp_path)


@pytest.fixture
def gate(world: World) -> Iterator[Gate]:
    with world.followed() as gate:
        yield gate


def withdrawn(world: World, *names: str) -> None:
    """An opt-out from everything, recorded now."""
    world.changed({name: customer(200, choices=opted_out(60)) for name in names})


def test_given_a_stale_gate_then_nothing_is_filtered(world: World) -> None:
    for ask in (world.gate.filter, world.gate.mask):
        with pytest.raises(ConsentError) as raised:
            ask(OWNERS, "w", wait_seconds_max=0.1)
        assert raised.value.code == "stale"


@pytest.mark.parametrize("purpose", [5, b"train", "x" * 300])
def test_given_a_purpose_that_is_none_then_nothing_is_filtered(gate: Gate, purpose: Any) -> None:
    with pytest.raises(ConsentError, match="malformed"):
        gate.filter(OWNERS, "w", purpose=purpose)


def test_given_no_purpose_anywhere_then_nothing_is_filtered(world: World) -> None:
    with pytest.raises(ConsentError, match="malformed"):
        Gate(world.replica).filter(OWNERS, "w")


@pytest.mark.parametrize("purpose", ["never.heard.of", ""])
def test_given_a_purpose_that_no_policy_knows_then_every_row_is_dropped(gate: Gate, purpose: str) -> None:
    result = gate.filter(OWNERS, "w", purpose=purpose)
    assert len(result.data) == 0 and result.report().rows_dropped == len(OWNERS)
    assert (result.report().set_size, result.report().set_digest) == (0, hashlib.sha256().hexdigest())


def test_given_a_category_that_the_purpose_does_not_take_then_every_row_is_dropped(gate: Gate) -> None:
    assert len(gate.filter(OWNERS, "w", categories=["payments"]).data) == 0
    assert len(gate.filter(OWNERS, "w", categories=["messages"]).data) == 3


def test_given_rows_then_the_report_says_on_what_it_stands_and_what_became_of_them(world: World) -> None:
    with world.followed() as gate:
        report = gate.filter(OWNERS, "w", categories=["messages"]).report()
    assert (report.purpose, report.categories, report.policy_version) == ("train", ("messages",), "0")
    assert report.token == "consent.test/ledger/1/100" and 100 < report.ledger_time <= world.now
    assert (report.rows_in, report.rows_out, report.rows_dropped) == (5, 3, 2)
    assert report.reasons == {
        PERMIT: 3,
        Verdict(False, "unknown_workspace"): 1,
        Verdict(False, "no_workspace"): 1,
    }
    assert report.ended and not report.spans_withdrawal
    assert (report.set_scope, report.set_size) == ("met", 3)
    assert report.set_digest == hashlib.sha256(b"w1\nw2\nw3\n").hexdigest() == set_digest(["w1", "w2", "w3"])
    assert report.as_json()["dropped"] == 2


def test_given_several_pieces_of_data_when_the_ledger_changes_between_them_then_all_stand_on_one_moment(
    world: World, gate: Gate
) -> None:
    with gate.job() as job:
        before = job.filter(OWNERS, "w")
        withdrawn(world, "w1", "w2")
        after = job.filter(pa.table({"w": ["w1", "w4"]}), "w")
        report = job.report()
    assert before["w"].to_pylist() == ["w1", "w2", "w3"] and after["w"].to_pylist() == ["w1", "w4"]
    assert report.token.endswith("/100") and (report.rows_in, report.rows_out) == (7, 5)
    assert report.spans_withdrawal and report.overtaken is not None
    assert report.overtaken[1:] == (2, ("w1", "w2")) and report.overtaken.token.endswith("/101")
    assert len(gate.filter(OWNERS, "w").data) == 1


def test_given_a_withdrawal_of_somebody_else_when_a_job_ends_then_it_does_not_span_it(
    world: World, gate: Gate
) -> None:
    result = gate.filter(OWNERS, "w")
    withdrawn(world, "w7")
    assert not result.report().spans_withdrawal
    with gate.job() as job:
        job.pinned()  # the whole set is out, w6 too
        withdrawn(world, "w6")
        assert job.report().overtaken == ("consent.test/ledger/1/102", 1, ("w6",))


def test_given_a_purpose_stopped_for_everybody_when_a_job_ends_then_it_says_so(
    world: World, gate: Gate
) -> None:
    result = gate.filter(OWNERS, "w")
    world.changed({}, engine_world.book("prohibited"))
    overtaken = result.report().overtaken
    assert overtaken is not None and overtaken.withdrawn == 3


def test_given_a_gate_that_lost_its_ledger_when_a_job_ends_then_what_came_after_is_unknown(
    world: World, gate: Gate
) -> None:
    result = gate.filter(OWNERS, "w")
    gate.max_staleness = 0.0
    assert result.report().overtaken is None and result.report().spans_withdrawal
    gate.max_staleness = 60.0
    world.replica.halt("a fork")
    assert result.report().overtaken is None and result.report().spans_withdrawal


# -- how long it lasts ---------------------------------------------------------------------------------------


def test_given_a_closed_job_when_it_meets_somebody_new_then_it_raises_and_says_why(gate: Gate) -> None:
    with gate.job() as job:
        kept = job.filter(iter([{"w": "w1"}, {"w": "w1"}, {"w": "w2"}]), "w")
        assert next(kept) == {"w": "w1"}
    assert next(kept) == {"w": "w1"}, "it was judged before"
    with pytest.raises(ConsentError, match="the job is closed"):
        next(kept)
    with pytest.raises(ConsentError, match="the job is closed"):
        job.filter(OWNERS, "w")
    with pytest.raises(ConsentError, match="the job is closed"):
        job.pinned()
    assert not job.report().ended and job.report().rows_out == 2


def test_given_a_stream_then_it_reports_as_it_goes_and_lets_go_at_its_end(gate: Gate) -> None:
    rows = [{"w": "w1"}, {"w": None}, {"w": "w2"}]
    result = gate.filter(iter(rows), "w")
    assert result.report().rows_in == 0 and not result.report().ended
    assert list(result.data) == [rows[0], rows[2]]
    assert result.report().rows_in == 3 and result.report().ended
    reader = pa.RecordBatchReader.from_batches(OWNERS.schema, OWNERS.to_batches(max_chunksize=2))
    result = gate.filter(reader, "w")
    assert next(result.data).num_rows == 2 and result.report().rows_in == 2
    assert [batch.num_rows for batch in result.data] == [1]
    assert result.report().ended and result.report().rows_in == 5


def test_given_a_stream_whose_source_breaks_then_the_consumer_hears_of_it(gate: Gate) -> None:
    def breaking() -> Iterator[pa.RecordBatch]:
        yield OWNERS.to_batches()[0]
        raise OSError("the disk is gone")

    result = gate.filter(pa.RecordBatchReader.from_batches(OWNERS.schema, breaking()), "w")
    with pytest.raises(OSError, match="the disk is gone"):
        result.data.read_all()
    assert not result.report().ended


def in_a_fork(run: Any) -> str:
    """What `run` returns or raises in a forked process."""

    def send(end: Any) -> None:
        try:
            end.send(str(run()))
        except BaseException as error:
            end.send(str(error))
        os._exit(0)

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=send, args=(theirs,))
    process.start()
    try:
        assert ours.poll(20), "the child hangs"
        return str(ours.recv())
    finally:
        process.join(5)
        process.kill()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_given_a_fork_after_the_job_began_then_the_child_asks_nobody(gate: Gate) -> None:
    rows = [{"w": "w1"}, {"w": "w2"}]
    with gate.job() as job:
        kept = job.filter(iter(rows), "w")
        next(kept)
        assert "job belongs to the process that was forked" in in_a_fork(lambda: list(kept))
        assert "job belongs to the process that was forked" in in_a_fork(job.pinned)
        job.pinned()
        assert in_a_fork(lambda: job.filter(rows, "w")) == str(rows)
        assert list(kept) == rows[1:], "the parent goes on"


def test_given_the_pinned_set_when_it_travels_then_it_judges_the_same_without_any_replica(gate: Gate) -> None:
    with gate.job() as job:
        sent = pickle.loads(pickle.dumps(job.pinned()))
        kept = job.filter(OWNERS, "w")
    rows = pickle.loads(pickle.dumps(Filter(sent, ["w"])))
    assert pa.Table.from_batches([rows.apply(batch) for batch in OWNERS.to_batches()]) == kept
    assert sent.fingerprint() == job.pinned().fingerprint()


def test_given_a_withdrawal_then_the_fingerprint_of_the_pinned_set_is_another_one(
    world: World, gate: Gate
) -> None:
    def fingerprint(*purpose: str) -> str:
        with gate.job(*purpose) as job:
            return job.pinned().fingerprint()

    first = fingerprint()
    assert first == fingerprint(), "time alone changes nothing"
    assert first != fingerprint("other")
    withdrawn(world, "w1")
    second = fingerprint()
    assert second != first
    world.changed({"w1": customer(11)})
    assert fingerprint() not in (first, second), "the same set at another position"


def test_given_a_policy_that_begins_when_nothing_is_recorded_then_the_fingerprint_is_another_one(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, engine_world.book("opt_out", "prohibited"), {"w1": customer(10)}, ACME, 10)
    with world.followed() as gate:
        with gate.job() as job:
            first = job.pinned().fingerprint()
            assert job.ledger_time < 40 and job.pinned().permitted().to_pylist() == ["w1"]
        world.now += 40
        with gate.job() as job:
            assert job.pinned().permitted().to_pylist() == []
            assert job.pinned().fingerprint() != first


def test_given_long_work_then_progress_is_told(gate: Gate) -> None:
    told: list[tuple[int, int | None]] = []
    gate.filter(OWNERS, "w", progress=lambda done, total: told.append((done, total)))
    gate.filter([{"w": "w1"}] * 25_000, "w", progress=lambda done, total: told.append((done, total)))
    assert told == [(5, 5), (10_000, 25_000), (20_000, 25_000), (25_000, 25_000)]


def test_given_two_threads_that_meet_new_verdicts_at_once_then_neither_takes_the_others_for_its_own(
    gate: Gate,
) -> None:
    """One sets out everybody's standings for a plan, while the other goes on with a stream."""
    polars = pytest.importorskip("polars", reason="the environments of other engines have no plans of polars")
    numbering, numbered = threading.Event(), threading.Event()
    append = "self.table.append(verdict)"

    def pause(frame: Any, event: str, _: Any) -> Any:
        if event == "line" and not numbering.is_set() and _line_of(frame) == append:
            numbering.set()
            numbered.wait(0.5)  # as long as a lock lets it, which it should not
        return pause

    def set_out(job: Job) -> None:
        sys.settrace(lambda frame, *_: pause if frame.f_code is Verdicts._number.__code__ else None)
        job.pinned()

    with gate.job() as job:
        stream = job.filter(OWNERS.to_reader(), "w")
        setting_out = threading.Thread(target=set_out, args=(job,))
        setting_out.start()
        assert numbering.wait(20), "the line is written differently: this test looks for it"
        assert stream.read_all()["w"].to_pylist() == ["w1", "w2", "w3"]
        numbered.set()
        setting_out.join(20)
        plan = job.filter(polars.LazyFrame({"w": OWNERS["w"].to_pylist()}), "w")
        assert plan.collect()["w"].to_list() == ["w1", "w2", "w3"]
        alone = gate.filter(OWNERS, "w").report().reasons
        assert alone and job.report().reasons == {verdict: 2 * count for verdict, count in alone.items()}


def _line_of(frame: Any) -> str:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
