"""A job decides as of one moment that is not older than the job, or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.pin import pinned
from consent_gate.replica import Replica
from consent_gate.verdicts import Verdicts
from gate_ledger import mark, recorded, replica_of
from scenario import Ledger, enrolled, opt_out


@pytest.fixture
def ledger() -> Ledger:
    return enrolled()


def later(ledger: Ledger) -> Mark:
    """A watermark that says that some time has passed, asked for now."""
    ledger.now += 1_000
    return mark(ledger)


def until(done: threading.Event, replica: Replica, ledger: Ledger) -> threading.Thread:
    """A follower that keeps the replica fresh."""

    def follow() -> None:
        while not done.wait(0.02):
            replica.note_watermark(later(ledger))

    thread = threading.Thread(target=follow)
    thread.start()
    return thread


def test_given_a_fresh_replica_when_nobody_follows_then_it_is_too_old_for_a_new_job(
    ledger: Ledger, tmp_path: Path
) -> None:
    gate = Gate(replica_of(ledger, tmp_path))
    assert gate.status().state == "live"
    with pytest.raises(ConsentError, match="no fresh state") as raised, pinned(gate, 0.2):
        pass
    assert raised.value.code == "stale"


def test_given_no_replica_when_it_does_not_come_then_nothing_is_decided(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="catching_up"), pinned(Gate(Replica.open(tmp_path)), 0.2):
        pass


def test_given_a_halted_replica_when_watermarks_come_then_nothing_is_decided(
    ledger: Ledger, tmp_path: Path
) -> None:
    replica = replica_of(ledger, tmp_path)
    replica.halt("the log was forked")
    done = threading.Event()
    thread = until(done, replica, ledger)
    try:
        with pytest.raises(ConsentError, match="the log was forked"), pinned(Gate(replica), 0.3):
            pass
    finally:
        done.set()
        thread.join()


def test_given_a_job_when_events_come_meanwhile_then_it_decides_as_of_its_beginning(
    ledger: Ledger, tmp_path: Path
) -> None:
    replica = replica_of(ledger, tmp_path)
    done = threading.Event()
    thread = until(done, replica, ledger)
    with pinned(Gate(replica), 10.0) as pin:
        done.set()
        thread.join()
        before = len(ledger.log)
        ledger.given(opt_out())
        replica.apply_events(recorded(ledger, before), mark(ledger))
        verdicts = Verdicts(pin.snapshot, pin.at, "train")
        assert verdicts.table[verdicts.standing("acme").unstated].permit
        assert pin.token.position == before
    with replica.snapshot() as snapshot:
        now = Verdicts(snapshot, ledger.now, "train")
        assert now.table[now.standing("acme").unstated].code == "opt_out_requested"


def test_given_a_watermark_from_before_the_job_when_it_is_new_enough_for_checks_then_the_job_waits_on(
    ledger: Ledger, tmp_path: Path
) -> None:
    replica = replica_of(ledger, tmp_path)
    asked = boot_nanoseconds()
    ledger.now += 1_000
    timer = threading.Timer(0.15, lambda: replica.note_watermark(mark(ledger, asked)))
    newer = threading.Timer(0.4, lambda: replica.note_watermark(later(ledger)))
    timer.start()
    newer.start()
    begun = time.monotonic()
    with pinned(Gate(replica), 10.0):
        assert time.monotonic() - begun >= 0.35
    timer.join()
    newer.join()
