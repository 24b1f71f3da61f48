"""Given runs, when they are registered, discharged and judged by claims, then the rules hold."""

from __future__ import annotations

import pytest
from consent_domain.commands import Command, DischargeRun, NotifyRecipient, RegisterRun
from consent_domain.envelope import decode
from consent_domain.events import RunDischarged, RunOutput, RunRegistered
from consent_domain.instants import moment_of
from consent_domain.runs import BOTH, Run, dues, reached
from scenario import Ledger

HASH = "ab" * 32


def run(name: str = "r1", **more: object) -> RegisterRun:
    given = {
        "purpose": "train.search_ranking",
        "manifest_sha256": HASH,
        "set_sha256": HASH,
        "epoch": 1,
        "position": 0,
        "at": moment_of(20_000 * 86_400 * 1_000_000),
        "outputs": [RunOutput(kind="model", uri="models:/m"), RunOutput(kind="dataset", uri="s3://d")],
        **more,
    }
    return RegisterRun(run=name, **given)  # type: ignore[arg-type]


def discharge(name: str = "r1", through: int = 1, **more: object) -> DischargeRun:
    given = {"action": "purged", "evidence_sha256": HASH, **more}
    return DischargeRun(run=name, through=through, **given)  # type: ignore[arg-type]


def test_given_no_run_when_registered_then_it_is_recorded_with_what_came_out() -> None:
    ledger = Ledger()
    (body,) = [one for one in ledger.when(run()) if isinstance(one, RunRegistered)]
    assert [output.uri for output in body.outputs] == ["models:/m", "s3://d"]
    assert ledger.streams["run/r1"].run is not None


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (run(), "already_exists"),
        (run("r2", parents=["r9"]), "unknown_run"),
        (run("r/2"), "invalid_id"),
        (run("r2", position=1_000), "invalid_value"),
        (run("r2", epoch=2), "manifest_refused"),
        (run("r2", at=moment_of(90_000 * 86_400 * 1_000_000)), "postdated"),
        (run("r2", set_sha256="AB" * 32), "invalid_value"),
        (discharge("r9"), "unknown_run"),
        (discharge(action="forgotten"), "invalid_value"),
        (discharge(outputs=["s3://another"]), "invalid_value"),
        (discharge(through=1_000), "invalid_value"),
        (discharge(evidence_sha256=""), "invalid_value"),
        (NotifyRecipient(recipient="a b", position=0), "invalid_id"),
        (NotifyRecipient(recipient="p", position=1_000), "invalid_value"),
    ],
)
def test_given_a_run_when_what_cannot_be_comes_then_it_is_refused(command: Command, code: str) -> None:
    Ledger().given(run()).refused(command, code)


def test_given_a_recipient_when_it_goes_back_then_refused_and_the_same_again_records_nothing() -> None:
    ledger = Ledger().given(run(), NotifyRecipient(recipient="p", position=2))
    before = len(ledger.log)
    assert ledger.when(NotifyRecipient(recipient="p", position=2)) == []
    assert len(ledger.log) == before
    ledger.refused(NotifyRecipient(recipient="p", position=1), "wrong_state")


def _run_of(ledger: Ledger) -> Run:
    found = ledger.streams["run/r1"].run
    assert found is not None
    return found


def test_given_a_discharge_when_a_claim_is_newer_then_it_is_open_still() -> None:
    ledger = Ledger().given(run(), discharge(through=1, outputs=["s3://d"]))
    done, newer = dues(_run_of(ledger), BOTH, 1), dues(_run_of(ledger), BOTH, 2)
    assert {one.output.uri: one.discharge is not None for one in done if one.output} == {
        "models:/m": False,
        "s3://d": True,
    }
    assert all(one.discharge is None for one in newer)


def test_given_an_event_of_a_run_when_decoded_from_its_bytes_then_it_is_the_same() -> None:
    ledger = Ledger().given(run(), discharge())
    bodies = [decode(stored).body for stored in ledger.log]
    assert isinstance(bodies[-1], RunDischarged)
    assert bodies[-1].through == "1"


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), ()), (("models",), ("models",)), (("datasets", "models"), BOTH), (("dataset",), BOTH)],
)
def test_given_the_words_of_an_opt_out_then_one_that_nobody_knows_spares_nothing(
    words: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert reached(words) == expected
