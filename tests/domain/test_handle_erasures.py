"""Given a ledger, when a person or a workspace is erased, then so many people agree and nothing follows."""

from __future__ import annotations

import pytest
from consent_domain.commands import (
    AcknowledgeOptOut,
    ChangeWorkspace,
    CloseWorkspace,
    Command,
    EnrolWorkspace,
    ErasePerson,
    EraseWorkspace,
    RepeatErasure,
    RequestOptIn,
    RequestOptOut,
    SucceedWorkspace,
    WithdrawOptOut,
)
from consent_domain.events import LOG_STREAM, PersonErased, Scope, WorkspaceErased, WorkspaceErasureProposed
from consent_domain.handlers.erasures import KEYS_AN_EVENT, PERSON_EVENTS_MAX, PROPOSAL_VALID
from consent_domain.state import fold_stored
from scenario import ALL, OWNER, Ledger, enrolled

PERSON = "ab" * 32
KEYS = ("0f" * 16, "1e" * 16)
ERASE = EraseWorkspace(workspace="acme", reason="the customer asked")
SCOPE = Scope(kind="workspace", id="acme")
OPT_OUT = RequestOptOut(scope=SCOPE, selector=ALL, applicant=OWNER)


def erased() -> Ledger:
    ledger = enrolled().given(ERASE)
    ledger.when(ERASE, by="staff-2", keys=KEYS)
    return ledger


# -- a workspace ---------------------------------------------------------------------------------------------


def test_given_a_workspace_when_one_person_asks_twice_then_it_is_not_erased() -> None:
    ledger = enrolled()
    (proposed,) = ledger.when(ERASE)
    assert isinstance(proposed, WorkspaceErasureProposed)
    assert ledger.answer == {"workspace": "acme", "erased": False, "proposed": True}
    ledger.refused(ERASE, "second_person_required")
    assert ledger.decide().permit, "asking erases nothing"


def test_given_a_proposal_when_another_person_confirms_then_everything_is_denied_for_ever() -> None:
    ledger = enrolled().given(ERASE)
    (gone,) = ledger.when(ERASE, by="staff-2", keys=KEYS)
    assert isinstance(gone, WorkspaceErased)
    assert (gone.approved_by, gone.key_ids) == ("staff-1", list(KEYS))
    decision = ledger.decide()
    assert not decision.permit
    assert decision.reasons[0].code == "workspace_erased"
    assert decision.reasons[0].position == len(ledger.log)


def test_given_a_forgotten_proposal_when_somebody_asks_then_it_is_proposed_anew() -> None:
    ledger = enrolled().given(ERASE)
    ledger.wait(PROPOSAL_VALID)
    (proposed,) = ledger.when(ERASE, by="staff-2")
    assert isinstance(proposed, WorkspaceErasureProposed)
    ledger.refused(ERASE, "second_person_required", by="staff-2")
    (gone,) = ledger.when(ERASE)
    assert isinstance(gone, WorkspaceErased)
    assert gone.approved_by == "staff-2"


@pytest.mark.parametrize("by", ["staff-1", "staff-2", "staff-3"])
def test_given_an_erased_workspace_when_it_is_erased_again_then_nothing_is_recorded(by: str) -> None:
    ledger = erased()
    assert ledger.when(ERASE, by=by) == []
    assert ledger.answer["erased"] is True


AFTER: list[Command] = [
    OPT_OUT,
    RequestOptIn(scope=SCOPE, keys=["train"], applicant=OWNER),
    ChangeWorkspace(workspace="acme", plan="enterprise"),
    CloseWorkspace(workspace="acme", reason="left"),
    SucceedWorkspace(workspace="acme", predecessor="other", kind="split"),
    SucceedWorkspace(workspace="other", predecessor="acme", kind="split"),
]


@pytest.mark.parametrize("command", AFTER, ids=lambda command: type(command).__name__)
def test_given_an_erased_workspace_when_anything_is_asked_of_it_then_it_is_refused(command: Command) -> None:
    ledger = erased().given(EnrolWorkspace(workspace="other", plan="business", region="eu"))
    ledger.refused(command, "wrong_state")
    ledger.refused(EnrolWorkspace(workspace="acme", plan="business", region="eu"), "already_exists")


def test_given_a_request_of_an_erased_workspace_when_it_goes_on_then_it_is_refused() -> None:
    ledger = enrolled().given(OPT_OUT)
    request = ledger.request()
    ledger.given(ERASE)
    ledger.when(ERASE, by="staff-2")
    ledger.refused(AcknowledgeOptOut(request=request), "wrong_state")
    ledger.refused(WithdrawOptOut(request=request, applicant=OWNER), "wrong_state")


def test_given_an_open_request_or_a_closed_workspace_when_it_is_erased_then_it_may_be() -> None:
    ledger = enrolled().given(OPT_OUT, CloseWorkspace(workspace="acme", reason="left"), ERASE)
    (gone,) = ledger.when(ERASE, by="staff-2")
    assert isinstance(gone, WorkspaceErased)


def test_given_no_such_workspace_or_an_unreadable_one_when_it_is_erased_then_it_is_refused() -> None:
    ledger = enrolled()
    ledger.refused(EraseWorkspace(workspace="nobody", reason="asked"), "unknown_workspace")
    ledger.refused(EraseWorkspace(workspace="a b", reason="asked"), "invalid_id")
    ledger.refused(EraseWorkspace(workspace="acme", reason=" "), "invalid_value")
    ledger.streams["workspace/acme"] = fold_stored(
        ledger.streams["workspace/acme"], "workspace/acme", 99, b"{}"
    )
    ledger.refused(ERASE, "quarantined")


# -- a person ------------------------------------------------------------------------------------------------


def test_given_a_person_with_keys_when_erased_then_the_event_names_the_keys_and_no_person() -> None:
    ledger = enrolled()
    (gone,) = ledger.when(ErasePerson(person=PERSON), keys=KEYS)
    assert isinstance(gone, PersonErased)
    assert (gone.person, gone.key_ids) == (PERSON, list(KEYS))
    assert ledger.answer == {"person": PERSON, "keys": 2}
    assert ledger.decide().permit, "the evidence of one person decides nothing"


def test_given_a_person_without_keys_when_erased_then_nothing_is_recorded() -> None:
    assert enrolled().when(ErasePerson(person=PERSON)) == []


def test_given_more_keys_than_fit_into_an_event_when_erased_then_every_one_is_named_in_one_commit() -> None:
    keys = tuple(f"{number:032x}" for number in range(2 * KEYS_AN_EVENT + 1))
    bodies = enrolled().when(ErasePerson(person=PERSON), keys=keys)
    assert [key for body in bodies if isinstance(body, PersonErased) for key in body.key_ids] == list(keys)
    assert len(bodies) == 3
    many = tuple(f"{number:032x}" for number in range(PERSON_EVENTS_MAX * KEYS_AN_EVENT + 1))
    assert len(enrolled().when(ErasePerson(person=PERSON), keys=many)) == PERSON_EVENTS_MAX
    ledger = enrolled().given(ERASE)
    (gone,) = ledger.when(ERASE, by="staff-2", keys=many)
    assert isinstance(gone, WorkspaceErased)
    assert gone.key_ids == list(many[:KEYS_AN_EVENT])


@pytest.mark.parametrize("person", ["", "dana@example.com", PERSON[:-1], PERSON.upper(), PERSON + "0"])
def test_given_what_is_no_ref_when_erased_then_it_is_refused_and_not_repeated(person: str) -> None:
    refusal = enrolled().refused(ErasePerson(person=person), "invalid_id", keys=KEYS)
    assert not person or person not in refusal.detail


# -- what the log lost ---------------------------------------------------------------------------------------


def test_given_an_erasure_that_the_log_lost_when_it_is_repeated_then_it_says_so_and_denies() -> None:
    ledger = enrolled()
    lost = RepeatErasure(workspace="acme", reason="asked", approved_by="staff-1", key_ids=list(KEYS))
    (gone,) = ledger.when(lost, by="consent-ledger")
    assert isinstance(gone, WorkspaceErased)
    assert (gone.provenance, gone.approved_by) == ("repeated", "staff-1")
    assert not ledger.decide().permit
    assert ledger.when(lost) == []
    verdict = ledger.verdict(RepeatErasure(person=PERSON, key_ids=list(KEYS)))
    (draft,) = verdict.drafts
    assert draft.stream == LOG_STREAM
    assert isinstance(draft.body, PersonErased)
    ledger.refused(RepeatErasure(workspace="nobody", key_ids=[]), "unknown_workspace")
