"""Opt-ins and suspensions: given what happened, when a command comes, then events or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.commands import (
    CloseWorkspace,
    GrantOptIn,
    RefuseOptIn,
    ResumePurpose,
    SuspendPurpose,
    WithdrawOptIn,
    WithdrawOptOut,
)
from consent_domain.events import (
    OptInGranted,
    OptInRefused,
    OptInRequested,
    OptInWithdrawn,
    PurposeResumed,
    PurposeResumeProposed,
    PurposeSuspended,
)
from consent_domain.instants import DAY
from consent_domain.state import fold_book_stored
from scenario import (
    MEMBER,
    OWNER,
    START,
    STRANGER,
    Ledger,
    at,
    enrolled,
    notice,
    opt_in,
    opt_out,
    policy,
    purpose,
    rule,
    rules,
    scope,
)

CONSENT = rules(rule("opt_in"))


def asked(*keys: str) -> tuple[Ledger, str]:
    """Acme asked to opt in where that is needed; the ledger, and the opt-in's id."""
    ledger = enrolled(rules=CONSENT).given(opt_in(*keys))
    return ledger, ledger.request()


def grant(request: str, **more: Any) -> GrantOptIn:
    return GrantOptIn(**({"opt_in": request, "applicant": OWNER, "notice": notice(START)} | more))


# -- opt-in --------------------------------------------------------------------------------------------------


def test_given_a_purpose_that_takes_consent_when_it_is_granted_then_it_holds_from_then_on():
    ledger = enrolled(rules=CONSENT)
    (requested,) = ledger.when(opt_in())
    assert isinstance(requested, OptInRequested)
    assert ledger.answer == {"optIn": requested.opt_in, "state": "received"}
    assert not ledger.decide().permit
    before = ledger.now
    (granted,) = ledger.when(grant(requested.opt_in))
    assert isinstance(granted, OptInGranted)
    assert granted.shown == [purpose()]
    assert ledger.decide().permit
    assert not ledger.decide(collected=before).permit
    assert ledger.streams["workspace/acme"].requests[requested.opt_in].state == "granted"


def test_given_consent_when_the_owner_says_so_then_it_covers_earlier_data_and_ends_when_it_said():
    ledger, request = asked()
    before = ledger.now
    expires = ledger.now + DAY
    ledger.when(grant(request, covers_collected_before=True, expires_at=at(expires)))
    assert ledger.decide(collected=before).permit
    ledger.wait(2 * DAY)
    assert not ledger.decide().permit


def test_given_a_purpose_announced_when_it_is_granted_then_what_was_announced_is_what_was_shown():
    ledger = enrolled()
    later = (purpose(), purpose("write", model_class="generative"))
    ledger.given(
        policy("2", ledger.now + DAY, rules=rules(rule("opt_in", "write"), rule("opt_out"), purposes=later))
    )
    ledger.given(opt_in("write"))
    (granted,) = ledger.when(grant(ledger.request()))
    assert granted.shown == [later[1]]  # type: ignore[attr-defined]
    assert not ledger.decide(purpose="write").permit
    ledger.wait(2 * DAY)
    assert ledger.decide(purpose="write").permit


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"applicant": MEMBER}, "authority_insufficient"),
        ({"applicant": STRANGER}, "authority_insufficient"),
        ({"effective_at": at(START)}, "backdated"),
        ({"expires_at": at(START)}, "invalid_value"),
        ({"notice": notice(START + 900 * DAY)}, "postdated"),
        ({"opt_in": "nothing"}, "unknown_opt_in"),
    ],
)
def test_given_an_opt_in_requested_when_it_is_granted_wrongly_then_it_is_refused(
    changes: dict[str, Any], code: str
):
    ledger, request = asked()
    ledger.refused(grant(request, **changes), code)
    assert not ledger.decide().permit


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"keys": []}, "invalid_value"),
        ({"keys": ["nothing"]}, "unknown_purpose"),
        ({"keys": ["a b"]}, "invalid_id"),
        ({"scope": scope("acme", "channel")}, "unsupported_scope"),
        ({"scope": scope("nobody")}, "unknown_workspace"),
        ({"received_at": at(START + 900 * DAY)}, "postdated"),
    ],
)
def test_given_a_workspace_when_an_opt_in_is_requested_wrongly_then_it_is_refused(
    changes: dict[str, Any], code: str
):
    enrolled(rules=CONSENT).refused(opt_in(**changes), code)


def test_given_an_opt_out_that_names_it_when_an_opt_in_is_granted_then_the_opt_out_must_go_first():
    ledger = enrolled(rules=CONSENT).given(opt_out())
    objection = ledger.request()
    ledger.given(opt_in())
    request = ledger.request()
    assert ledger.refused(grant(request), "wrong_state").extra == {"request": objection}
    ledger.given(WithdrawOptOut(request=objection, applicant=OWNER), grant(request))
    assert ledger.decide().permit


def test_given_a_strangers_opt_out_when_the_owner_opts_in_then_it_does_not_stand_in_the_way():
    ledger = enrolled(rules=CONSENT).given(opt_out(by=STRANGER), opt_in())
    assert ledger.when(grant(ledger.request()))


def test_given_an_opt_in_at_its_end_when_it_is_moved_again_then_it_is_refused():
    ledger, request = asked()
    ledger.given(grant(request))
    ledger.refused(grant(request), "wrong_state")
    ledger.refused(RefuseOptIn(opt_in=request, applicant=OWNER), "wrong_state")
    ledger.given(WithdrawOptIn(opt_in=request, applicant=MEMBER))
    ledger.refused(WithdrawOptIn(opt_in=request, applicant=OWNER), "wrong_state")


def test_given_consent_when_it_is_withdrawn_then_use_ends_at_once_under_every_regime():
    ledger, request = asked()
    ledger.given(grant(request))
    (withdrawn,) = ledger.when(WithdrawOptIn(opt_in=request, applicant=OWNER))
    assert isinstance(withdrawn, OptInWithdrawn)
    assert not ledger.decide().permit
    ledger.given(policy("2", ledger.now + 2))
    ledger.wait(DAY)
    assert not ledger.decide().permit


def test_given_an_opt_in_requested_when_it_is_refused_then_that_stands_under_every_regime():
    ledger, request = asked()
    ledger.refused(RefuseOptIn(opt_in=request, applicant=STRANGER), "authority_insufficient")
    (refused,) = ledger.when(RefuseOptIn(opt_in=request, applicant=MEMBER))
    assert isinstance(refused, OptInRefused)
    ledger.given(policy("2", ledger.now + 2))
    ledger.wait(DAY)
    assert not ledger.decide().permit


def test_given_a_closed_workspace_when_an_opt_in_is_granted_then_it_is_refused():
    ledger, request = asked()
    ledger.given(CloseWorkspace(workspace="acme", reason="left"))
    ledger.refused(grant(request), "wrong_state")


# -- suspension ----------------------------------------------------------------------------------------------

STOP = SuspendPurpose(purpose="train", reason="the regulator asked")
GO_ON = ResumePurpose(purpose="train", reason="settled")


def test_given_a_purpose_when_one_person_suspends_it_then_nobodys_data_may_be_used():
    ledger = enrolled()
    (stopped,) = ledger.when(STOP)
    assert isinstance(stopped, PurposeSuspended)
    assert not ledger.decide().permit
    ledger.refused(STOP, "wrong_state")


def test_given_a_purpose_suspended_when_it_is_resumed_then_that_takes_two_different_persons():
    ledger = enrolled().given(STOP)
    (proposed,) = ledger.when(GO_ON)
    assert isinstance(proposed, PurposeResumeProposed)
    assert not ledger.decide().permit
    ledger.refused(GO_ON, "second_person_required")
    (resumed,) = ledger.when(GO_ON, by="staff-2")
    assert isinstance(resumed, PurposeResumed)
    assert resumed.approved_by == "staff-1"
    ledger.wait(1)
    assert ledger.decide().permit
    ledger.refused(GO_ON, "not_suspended")


def test_given_a_proposal_when_the_purpose_was_suspended_anew_then_it_takes_two_persons_again():
    ledger = enrolled().given(STOP, GO_ON)
    ledger.when(GO_ON, by="staff-2")
    ledger.given(STOP)
    (proposed,) = ledger.when(GO_ON, by="staff-2")
    assert isinstance(proposed, PurposeResumeProposed)


def test_given_no_such_purpose_when_it_is_suspended_then_it_is_refused():
    enrolled().refused(SuspendPurpose(purpose="trian", reason="typo"), "unknown_purpose")
    enrolled().refused(SuspendPurpose(purpose="a b", reason="typo"), "invalid_id")
    enrolled().refused(SuspendPurpose(purpose="train", reason=""), "invalid_value")
    enrolled().refused(GO_ON, "not_suspended")


def test_given_an_unreadable_event_of_a_purpose_when_it_is_resumed_then_it_is_refused():
    ledger = enrolled().given(STOP)
    ledger.everybody = fold_book_stored(ledger.everybody, "purpose/train", 99, b"{}")
    assert ledger.everybody.versions["purpose/train"] == 2
    ledger.refused(GO_ON, "quarantined")
    ledger.refused(STOP, "quarantined")
