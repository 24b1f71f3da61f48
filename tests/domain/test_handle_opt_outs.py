"""The life of an opt-out: given what happened, when a command comes, then events or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.commands import (
    AcknowledgeOptOut,
    AskForAction,
    CloseWorkspace,
    DelayOptOut,
    ProcessOptOut,
    RejectOptOut,
    WithdrawOptOut,
)
from consent_domain.events import (
    OptOutAcknowledged,
    OptOutDelayed,
    OptOutNeedsAction,
    OptOutProcessed,
    OptOutRejected,
    OptOutRequested,
    OptOutWithdrawn,
)
from consent_domain.instants import DAY, micros, rfc3339
from consent_domain.policy import DeadlineRule
from consent_domain.purposes import PurposeClass, Selector
from consent_domain.requests import Request
from scenario import (
    ALL,
    MEMBER,
    OWNER,
    START,
    STRANGER,
    Ledger,
    at,
    enrolled,
    opened,
    opt_in,
    opt_out,
    policy,
    purpose,
    rule,
    rules,
    scope,
    workspace,
)

OWN = purpose("own", reach="workspace")
BOTH = rules(purposes=(purpose(), OWN))


def asked(*keys: str, by: Any = OWNER, **more: Any) -> tuple[Ledger, str]:
    """Acme asked to opt out; the ledger, and the request's id."""
    ledger = enrolled(rules=BOTH).given(opt_out(*keys, by=by, **more))
    return ledger, ledger.request()


def of(ledger: Ledger, request: str, stream: str = "workspace/acme") -> Request:
    return ledger.streams[stream].requests[request]


# -- requested -----------------------------------------------------------------------------------------------


def test_given_a_default_when_the_owner_opts_out_then_it_denies_at_once_and_says_when_it_is_due():
    ledger = enrolled(rules=BOTH)
    assert ledger.decide().permit
    (event,) = ledger.when(opt_out())
    assert isinstance(event, OptOutRequested)
    received = micros(event.received_at)
    assert event.deadline is not None
    assert (event.deadline.rule, micros(event.deadline.due_at)) == ("gdpr", received + 30 * DAY)
    assert ledger.answer == {
        "request": event.request,
        "state": "received",
        "deniedSince": rfc3339(received),
        "dueAt": rfc3339(received + 30 * DAY),
        "joined": False,
    }
    assert not ledger.decide().permit
    assert not ledger.decide(purpose="own").permit


def test_given_a_member_when_it_opts_out_then_only_what_reaches_outside_is_denied():
    ledger, _ = asked(by=MEMBER)
    assert ledger.answer["deniedSince"] is not None
    assert not ledger.decide().permit
    assert ledger.decide(purpose="own").permit
    ledger.when(opt_out("own", by=MEMBER))
    assert ledger.answer["deniedSince"] is None


def test_given_a_stranger_when_it_opts_out_then_nothing_is_denied_and_it_is_recorded():
    ledger, request = asked(by=STRANGER)
    assert ledger.answer["deniedSince"] is None
    assert ledger.decide().permit
    assert of(ledger, request).state == "received"


def test_given_an_owners_own_key_when_it_opts_out_then_its_authority_is_verified_whatever_it_says():
    ledger = enrolled()
    (event,) = ledger.when(opt_out(by=STRANGER), role="owner")
    assert event.requester.authority == "verified"  # type: ignore[attr-defined]
    assert not ledger.decide().permit


def test_given_mail_that_lay_about_when_it_is_recorded_then_it_counts_from_its_receipt():
    ledger = enrolled()
    ledger.wait(40 * DAY)
    received = ledger.now - 35 * DAY
    ledger.when(opt_out(channel="email", received_at=at(received), effective_at=at(received - DAY)))
    assert ledger.answer["deniedSince"] == rfc3339(received - DAY)
    assert of(ledger, ledger.request()).is_overdue(ledger.now)
    assert not ledger.decide(collected=received).permit


def test_given_an_organisation_when_it_opts_out_then_its_workspaces_are_denied_under_the_shortest_deadline():
    deadlines = [
        DeadlineRule(id="us", days=45, regions=["us"]),
        DeadlineRule(id="eu", days=30, regions=["eu"]),
    ]
    ledger = enrolled(rules=rules(deadlines=deadlines)).given(workspace("beta", organisation="corp"))
    ledger.when(opt_out(scope=scope("corp", "organisation")))
    assert of(ledger, ledger.request(), "organisation/corp").rule == "eu"
    assert not ledger.decide("beta").permit
    assert ledger.decide("acme").permit


def test_given_deadlines_by_region_when_a_workspace_opts_out_then_its_regions_rule_counts():
    deadlines = [
        DeadlineRule(id="us", days=45, regions=["us"]),
        DeadlineRule(id="eu", days=30, regions=["eu"]),
    ]
    ledger = enrolled(rules=rules(deadlines=deadlines))
    ledger.given(workspace("beta", region="us"), workspace("gamma", region="jp"))
    ledger.when(opt_out(scope=scope("beta")))
    assert of(ledger, ledger.request(), "workspace/beta").rule == "us"
    ledger.when(opt_out(scope=scope("gamma")))
    assert ledger.answer["dueAt"] is None


def test_given_no_policy_at_all_when_somebody_opts_out_then_it_is_recorded_without_a_deadline():
    ledger = opened().given(workspace())
    ledger.when(opt_out())
    assert ledger.answer["dueAt"] is None


def test_given_a_policy_that_permits_while_requested_when_the_owner_opts_out_then_use_ends_when_it_is_due():
    ledger = enrolled(rules=rules(while_requested="permit"))
    collected = ledger.now
    (event,) = ledger.when(opt_out())
    assert isinstance(event, OptOutRequested)
    assert event.deadline is not None
    assert event.permit_until == event.deadline.due_at
    assert ledger.answer["deniedSince"] is None
    assert ledger.decide(collected=collected).permit
    ledger.wait(31 * DAY)
    assert not ledger.decide(collected=collected).permit


def test_given_a_policy_that_permits_while_requested_when_a_request_comes_overdue_then_it_denies_at_once():
    ledger = enrolled(rules=rules(while_requested="permit"))
    ledger.wait(40 * DAY)
    ledger.when(opt_out(received_at=at(ledger.now - 31 * DAY)))
    assert ledger.answer["deniedSince"] is not None
    assert not ledger.decide().permit


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"scope": scope("acme", "channel")}, "unsupported_scope"),
        ({"scope": scope("acme", "")}, "unsupported_scope"),
        ({"scope": scope("a/b")}, "invalid_id"),
        ({"scope": scope("nobody")}, "unknown_workspace"),
        ({"scope": scope("nobody", "organisation")}, "unknown_organisation"),
        ({"selector": Selector()}, "invalid_value"),
        ({"selector": Selector(all=True, keys=["train"])}, "invalid_value"),
        ({"selector": Selector(class_=PurposeClass())}, "invalid_value"),
        ({"selector": Selector(keys=["a b"])}, "invalid_id"),
        ({"selector": Selector(keys=["a", "a"])}, "invalid_value"),
        ({"applicant": OWNER.__class__(role="owner", authority="certain")}, "invalid_value"),
        ({"applicant": OWNER.__class__(role="")}, "invalid_value"),
        ({"channel": ""}, "invalid_value"),
        ({"evidence": b"x" * 65}, "invalid_value"),
        ({"received_at": at(START + 900 * DAY)}, "postdated"),
        ({"effective_at": at(START + 900 * DAY)}, "postdated"),
        ({"received_at": at(START), "effective_at": at(START + 1)}, "postdated"),
        ({"occurred_at": at(START + 900 * DAY)}, "postdated"),
        ({"on_behalf_of": "x" * 200}, "invalid_value"),
    ],
)
def test_given_a_workspace_when_an_opt_out_is_wrong_then_it_is_refused(changes: dict[str, Any], code: str):
    enrolled().refused(opt_out(**changes), code)


# -- joined --------------------------------------------------------------------------------------------------


def test_given_an_open_request_when_another_asks_for_no_more_then_it_joins_and_both_are_processed_at_once():
    ledger, first = asked()
    ledger.when(opt_out("train", by=MEMBER))
    second = ledger.request()
    assert (ledger.answer["joined"], ledger.answer["joins"]) == (True, first)
    assert second != first
    ledger.when(opt_out(by=STRANGER))
    third = ledger.request()
    events = ledger.when(ProcessOptOut(request=first))
    assert [event.request for event in events] == [first, second, third]  # type: ignore[attr-defined]
    assert ledger.answer["alsoProcessed"] == [second, third]
    assert of(ledger, second).state == "processed"


def test_given_an_open_request_when_another_asks_for_more_or_better_proven_then_it_stands_by_itself():
    ledger, _ = asked("train", by=MEMBER)
    ledger.when(opt_out("train"))
    assert not ledger.answer["joined"], "the owner's word is worth more than the member's"
    ledger.when(opt_out())
    assert not ledger.answer["joined"], "everything is more than one purpose"


@pytest.mark.parametrize("end", ["withdrawn", "rejected"])
def test_given_a_request_that_another_joined_when_the_first_ends_then_the_second_still_denies(end: str):
    ledger, first = asked(by=MEMBER)
    ledger.when(opt_out(by=MEMBER))
    second = ledger.request()
    assert ledger.answer["joined"]
    if end == "withdrawn":
        ledger.when(WithdrawOptOut(request=first, applicant=OWNER))
    else:
        ledger.when(RejectOptOut(request=first, reason="no_authority"))
    assert ledger.answer["remaining"] == [second]
    assert not ledger.decide().permit


def test_given_many_that_joined_when_one_more_comes_then_it_stands_by_itself():
    ledger, _ = asked()
    for _ in range(15):
        ledger.when(opt_out())
        assert ledger.answer["joined"]
    ledger.when(opt_out())
    assert not ledger.answer["joined"]


def test_given_a_processed_request_when_it_is_asked_again_then_it_stands_by_itself():
    ledger, request = asked()
    ledger.given(ProcessOptOut(request=request), opt_out())
    assert not ledger.answer["joined"]


# -- on its way ----------------------------------------------------------------------------------------------


def test_given_a_strangers_request_when_its_authority_is_proven_then_it_counts_from_its_receipt():
    ledger, request = asked(by=STRANGER)
    received = ledger.now
    ledger.wait(DAY)
    (event,) = ledger.when(AcknowledgeOptOut(request=request, authority="verified"))
    assert isinstance(event, OptOutAcknowledged)
    assert not ledger.decide().permit
    assert not ledger.decide(collected=received + 1).permit


def test_given_a_proven_request_when_it_is_acknowledged_with_less_then_its_authority_does_not_fall():
    ledger, request = asked()
    (event,) = ledger.when(AcknowledgeOptOut(request=request, authority="unverified"))
    assert event.authority == "verified"  # type: ignore[attr-defined]
    assert not ledger.decide().permit


def test_given_a_members_request_when_the_owner_acknowledges_it_then_it_is_verified():
    ledger, request = asked(by=MEMBER)
    ledger.when(AcknowledgeOptOut(request=request), role="owner")
    assert of(ledger, request).authority == "verified"
    assert not ledger.decide(purpose="own").permit


def test_given_a_request_when_it_goes_its_way_then_each_step_is_recorded():
    ledger, request = asked()
    due = of(ledger, request).due_at
    assert due is not None
    (action,) = ledger.when(AskForAction(request=request, action="prove your domain"))
    assert isinstance(action, OptOutNeedsAction)
    (delayed,) = ledger.when(DelayOptOut(request=request, reason="many requests"))
    assert isinstance(delayed, OptOutDelayed)
    assert of(ledger, request).due_at == due + 60 * DAY
    ledger.refused(DelayOptOut(request=request, reason="even more"), "wrong_state")
    ledger.when(AcknowledgeOptOut(request=request))
    assert of(ledger, request).state == "acknowledged"
    (processed,) = ledger.when(ProcessOptOut(request=request))
    assert isinstance(processed, OptOutProcessed)
    known = of(ledger, request)
    assert (known.state, known.processed_at) == ("processed", ledger.now)
    assert known.last_position == len(ledger.log)


def test_given_a_deadline_without_extension_when_it_is_delayed_then_it_is_refused():
    ledger = enrolled(rules=rules(deadlines=[DeadlineRule(id="ccpa", days=15)])).given(opt_out())
    ledger.refused(DelayOptOut(request=ledger.request(), reason="many requests"), "wrong_state")


def test_given_a_request_past_its_due_date_when_it_is_delayed_then_it_is_refused():
    ledger, request = asked()
    ledger.wait(31 * DAY)
    ledger.refused(DelayOptOut(request=request, reason="many requests"), "wrong_state")


# -- processed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [MEMBER, STRANGER])
def test_given_an_unproven_request_when_one_person_processes_it_then_a_second_is_required(by: Any):
    ledger, request = asked(by=by)
    ledger.refused(ProcessOptOut(request=request), "second_person_required")
    ledger.refused(ProcessOptOut(request=request, approved_by="staff-1"), "second_person_required")
    assert ledger.when(ProcessOptOut(request=request, approved_by="staff-2"))
    assert not ledger.decide(purpose="own").permit


@pytest.mark.parametrize(
    "command",
    [
        ProcessOptOut(request="?"),
        AcknowledgeOptOut(request="?"),
        AskForAction(request="?", action="write"),
        DelayOptOut(request="?", reason="busy"),
        RejectOptOut(request="?", reason="unfounded", approved_by="staff-2"),
        WithdrawOptOut(request="?", applicant=OWNER),
    ],
)
def test_given_no_such_request_when_anything_is_done_with_it_then_it_is_refused(command: Any):
    ledger = enrolled()
    ledger.refused(command, "unknown_request")
    ledger.given(opt_in())
    ledger.refused(command.__class__(**{**_members(command), "request": ledger.request()}), "unknown_request")


def _members(command: Any) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


@pytest.mark.parametrize("end", ["processed", "rejected", "withdrawn"])
def test_given_a_request_at_its_end_when_it_is_processed_or_moved_then_it_is_refused(end: str):
    ledger, request = asked()
    ledger.when(
        {
            "processed": ProcessOptOut(request=request),
            "rejected": RejectOptOut(request=request, reason="unfounded", approved_by="staff-2"),
            "withdrawn": WithdrawOptOut(request=request, applicant=OWNER),
        }[end]
    )
    for command in (
        ProcessOptOut(request=request),
        AcknowledgeOptOut(request=request),
        AskForAction(request=request, action="write"),
        DelayOptOut(request=request, reason="busy"),
        RejectOptOut(request=request, reason="unfounded", approved_by="staff-2"),
    ):
        assert ledger.refused(command, "wrong_state").extra == {"state": end}


# -- rejected ------------------------------------------------------------------------------------------------


def test_given_a_request_when_two_people_reject_it_for_a_listed_reason_then_the_denial_ends():
    ledger, request = asked()
    reject = RejectOptOut(request=request, reason="unfounded")
    ledger.refused(reject, "second_person_required")
    ledger.refused(
        RejectOptOut(request=request, reason="annoying", approved_by="staff-2"), "reason_not_listed"
    )
    (event,) = ledger.when(RejectOptOut(request=request, reason="unfounded", approved_by="staff-2"))
    assert isinstance(event, OptOutRejected)
    assert ledger.decide().permit
    assert not ledger.decide(collected=micros(event.effective_at) - 1).permit


def test_given_a_reason_listed_after_a_request_came_when_it_is_rejected_for_it_then_it_is_refused():
    ledger, request = asked()
    later = rules(purposes=(purpose(), OWN), rejection_reasons=["unfounded", "inconvenient"])
    ledger.given(policy("2", ledger.now + DAY, rules=later))
    ledger.wait(2 * DAY)
    for reason in ("inconvenient", "duplicate"):
        ledger.refused(
            RejectOptOut(request=request, reason=reason, approved_by="staff-2"), "reason_not_listed"
        )


def test_given_no_policy_when_a_request_is_rejected_then_it_is_refused():
    ledger = opened().given(workspace(), opt_out())
    reject = RejectOptOut(request=ledger.request(), reason="unfounded", approved_by="staff-2")
    ledger.refused(reject, "no_policy_in_force")


def test_given_a_duplicate_when_one_person_rejects_it_then_the_other_must_still_stand():
    ledger, first = asked()
    ledger.refused(RejectOptOut(request=first, reason="duplicate"), "wrong_state")
    ledger.when(opt_out("train"))
    second = ledger.request()
    ledger.when(RejectOptOut(request=second, reason="duplicate"))
    ledger.refused(RejectOptOut(request=first, reason="duplicate"), "wrong_state")
    assert not ledger.decide().permit


def test_given_a_weaker_request_when_a_proven_one_is_called_its_duplicate_then_it_is_refused():
    ledger, _ = asked(by=STRANGER)
    ledger.when(opt_out())
    ledger.refused(RejectOptOut(request=ledger.request(), reason="duplicate"), "wrong_state")


def test_given_a_proven_request_when_it_is_rejected_for_lack_of_authority_then_it_is_refused():
    ledger, request = asked()
    ledger.refused(RejectOptOut(request=request, reason="no_authority"), "wrong_state")


@pytest.mark.parametrize(
    ("selector", "refused"),
    [
        (Selector(keys=["bill"]), False),
        (Selector(keys=["bill", "train"]), True),
        (Selector(keys=["nothing"]), True),
        (ALL, True),
        (Selector(class_=PurposeClass(processing="analyze")), True),
    ],
)
@pytest.mark.parametrize("kind", ["workspace", "organisation"])
def test_given_a_required_purpose_when_a_request_is_rejected_for_it_then_it_must_name_nothing_else(
    selector: Selector, refused: bool, kind: str
):
    bill = purpose("bill", processing="analyze", reach="workspace")
    ledger = enrolled(rules=rules(rule("required", "bill"), rule("opt_out"), purposes=(purpose(), bill)))
    ledger.when(opt_out(selector=selector, scope=scope("acme" if kind == "workspace" else "corp", kind)))
    reject = RejectOptOut(request=ledger.request(), reason="required_by_policy", approved_by="staff-2")
    if refused:
        ledger.refused(reject, "required_by_policy")
    else:
        assert ledger.when(reject)


# -- withdrawn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processed", [True, False])
def test_given_an_opt_out_when_the_owner_withdraws_it_then_use_goes_on_for_data_from_then_on(processed: bool):
    ledger, request = asked()
    if processed:
        ledger.when(ProcessOptOut(request=request))
    (event,) = ledger.when(WithdrawOptOut(request=request, applicant=OWNER))
    assert isinstance(event, OptOutWithdrawn)
    assert ledger.decide().permit
    assert not ledger.decide(collected=micros(event.effective_at) - 1).permit
    ledger.refused(WithdrawOptOut(request=request, applicant=OWNER), "wrong_state")
    ledger.refused(ProcessOptOut(request=request), "wrong_state")


def test_given_an_opt_out_when_somebody_unproven_withdraws_it_then_it_is_refused():
    ledger, request = asked()
    for by in (MEMBER, STRANGER):
        ledger.refused(WithdrawOptOut(request=request, applicant=by), "authority_insufficient")
    assert ledger.when(WithdrawOptOut(request=request, applicant=STRANGER), role="owner")


def test_given_a_closed_workspace_when_its_request_is_processed_then_it_still_is():
    ledger, request = asked()
    ledger.given(CloseWorkspace(workspace="acme", reason="left"))
    assert ledger.when(ProcessOptOut(request=request))
