"""Workspaces and organisations: given what happened, when a command comes, then events or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.commands import (
    ChangeWorkspace,
    CloseWorkspace,
    GrantOptIn,
    RegisterOrganisation,
    SucceedWorkspace,
)
from consent_domain.events import (
    DefaultOn,
    LedgerOpened,
    WorkspaceChanged,
    WorkspaceClosed,
    WorkspaceEnrolled,
    WorkspaceSucceeded,
)
from consent_domain.facts import WorkspaceFacts
from consent_domain.instants import DAY, micros
from consent_domain.policy import Exclusion
from consent_domain.purposes import Selector
from consent_domain.state import fold_stored
from msgspec.structs import replace
from scenario import (
    ALL,
    OWNER,
    START,
    Ledger,
    at,
    enrolled,
    notice,
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

SERVE = purpose("serve", processing="serve")


def test_given_a_ledger_never_opened_when_the_first_live_command_comes_then_it_is_opened_in_front():
    ledger = Ledger()
    opening, enrolment = ledger.when(workspace())
    assert isinstance(opening, LedgerOpened)
    assert isinstance(enrolment, WorkspaceEnrolled)
    assert ledger.book.opened == 1


def test_given_a_policy_in_force_when_a_workspace_enrols_then_what_is_on_is_said_in_the_same_commit():
    ledger = opened().given(policy(rules=rules(purposes=(purpose(), SERVE))))
    ledger.wait(DAY)
    enrolment, on = ledger.when(workspace())
    assert isinstance(enrolment, WorkspaceEnrolled)
    assert isinstance(on, DefaultOn)
    assert on.purposes == ["serve", "train"]
    assert (on.policy_version, on.policy_position) == ("1", "2")
    assert ledger.answer == {"workspace": "acme", "onByDefault": ["serve", "train"], "policyVersion": "1"}
    assert ledger.decide().permit


def test_given_no_policy_in_force_when_a_workspace_enrols_then_nothing_is_said_to_be_on():
    assert len(opened().when(workspace())) == 1


def test_given_everything_takes_opt_in_when_a_workspace_enrols_then_nothing_is_said_to_be_on():
    ledger = opened().given(policy(rules=rules(rule("opt_in"))))
    ledger.wait(DAY)
    assert len(ledger.when(workspace())) == 1


def test_given_a_sandbox_when_it_enrols_then_training_is_not_said_to_be_on():
    ledger = opened().given(policy(rules=rules(purposes=(purpose(), SERVE))))
    ledger.wait(DAY)
    assert ledger.when(workspace(kind="sandbox"))[1].purposes == ["serve"]  # type: ignore[attr-defined]


def test_given_kinds_of_customers_that_the_policy_tells_apart_when_they_enrol_then_each_gets_its_own():
    told_apart = rules(rule("prohibited", plans=["enterprise"]), rule("opt_out"))
    ledger = opened().given(policy(rules=told_apart))
    ledger.wait(DAY)
    assert len(ledger.when(workspace("small", contract="c-1"))) == 2
    assert len(ledger.when(workspace("large", plan="enterprise"))) == 1
    assert len(ledger.when(workspace("other", contract="c-2"))) == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "invalid_id"),
        ({"name": "a/b"}, "invalid_id"),
        ({"name": "a" * 129}, "invalid_id"),
        ({"kind": "test"}, "invalid_value"),
        ({"plan": ""}, "invalid_value"),
        ({"region": ""}, "invalid_value"),
        ({"contract": "c" * 129}, "invalid_value"),
        ({"plan": "a\nb"}, "invalid_value"),
        ({"organisation": "nobody"}, "unknown_organisation"),
        ({"organisation": "no body"}, "invalid_id"),
        ({"customer_since": at(START - DAY)}, "backdated"),
        ({"customer_since": at(START).replace(tzinfo=None)}, "invalid_time"),
        ({"occurred_at": at(START + DAY)}, "postdated"),
    ],
)
def test_given_a_ledger_when_a_workspace_enrols_wrongly_then_it_is_refused(
    changes: dict[str, Any], code: str
):
    opened().refused(workspace(**changes), code)


def test_given_an_id_that_was_used_when_it_is_enrolled_again_then_it_is_refused_even_after_closing():
    ledger = enrolled()
    ledger.refused(workspace(), "already_exists")
    ledger.given(CloseWorkspace(workspace="acme", reason="left"))
    ledger.refused(workspace(), "already_exists")


def test_given_an_organisation_when_it_is_registered_again_then_it_is_refused():
    enrolled().refused(RegisterOrganisation(organisation="corp"), "already_exists")


def test_given_a_workspace_that_begins_later_when_it_is_enrolled_then_its_default_is_that_of_then():
    ledger = opened().given(policy(effective=START + 10 * DAY))
    assert len(ledger.when(workspace("soon", customer_since=at(START + DAY)))) == 1
    assert len(ledger.when(workspace("later", customer_since=at(START + 11 * DAY)))) == 2


# -- If-Match and quarantine ---------------------------------------------------------------------------------


def test_given_a_version_when_if_match_names_another_then_it_conflicts_with_the_current_one():
    ledger = enrolled()
    close = CloseWorkspace(workspace="acme", reason="left")
    assert ledger.refused(close, "version_conflict", if_match=1).extra == {"currentVersion": 2}
    assert ledger.when(close, if_match=2)
    assert ledger.refused(workspace("new"), "version_conflict", if_match=3).extra == {"currentVersion": 0}
    ledger.refused(CloseWorkspace(workspace="nobody", reason="left"), "unknown_workspace", if_match=3)


def test_given_an_unreadable_event_when_a_command_names_its_stream_then_it_is_refused():
    ledger = enrolled()
    stream = "workspace/acme"
    ledger.streams[stream] = fold_stored(ledger.streams[stream], stream, 99, b"{}")
    for command in (opt_out(), ChangeWorkspace(workspace="acme", plan="pro"), opt_in()):
        ledger.refused(command, "quarantined")
    ledger.refused(SucceedWorkspace(workspace="acme", predecessor="acme2", kind="merge"), "quarantined")
    assert ledger.streams[stream].version == 3
    assert not ledger.decide().permit


def test_given_a_first_event_that_is_unreadable_when_the_id_is_enrolled_then_it_counts_as_used():
    ledger = opened()
    ledger.streams["workspace/acme"] = fold_stored(None, "workspace/acme", 2, b"{}")
    ledger.refused(workspace(), "already_exists")
    ledger.refused(opt_out(), "quarantined")


# -- change --------------------------------------------------------------------------------------------------

NO_ENTERPRISE = rules(exclusions=[Exclusion(selector=ALL, plans=["enterprise"])])


def test_given_a_plan_that_excludes_when_it_is_left_then_what_that_turns_on_is_said():
    ledger = opened().given(policy(rules=NO_ENTERPRISE))
    ledger.wait(DAY)
    ledger.given(workspace(plan="enterprise"))
    assert not ledger.decide().permit
    before = ledger.now
    changed, on = ledger.when(ChangeWorkspace(workspace="acme", plan="free"))
    assert isinstance(changed, WorkspaceChanged)
    assert (changed.plan, changed.region) == ("free", "eu")
    assert isinstance(on, DefaultOn)
    assert on.purposes == ["train"]
    ledger.wait(1)
    assert ledger.decide().permit
    assert not ledger.decide(collected=before).permit


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (ChangeWorkspace(workspace="nobody", plan="pro"), "unknown_workspace"),
        (ChangeWorkspace(workspace="acme"), "invalid_value"),
        (ChangeWorkspace(workspace="acme", plan="free"), "invalid_value"),
        (ChangeWorkspace(workspace="acme", plan=""), "invalid_value"),
        (ChangeWorkspace(workspace="acme", organisation="nobody"), "unknown_organisation"),
        (ChangeWorkspace(workspace="acme", plan="pro", effective_at=at(START)), "backdated"),
        (ChangeWorkspace(workspace="acme", plan="enterprise", effective_at=at(START + 9 * DAY)), "postdated"),
    ],
)
def test_given_a_workspace_when_it_is_changed_wrongly_then_it_is_refused(command: ChangeWorkspace, code: str):
    enrolled(rules=NO_ENTERPRISE).refused(command, code)


def test_given_a_change_that_narrows_when_it_is_backdated_then_it_counts_from_then():
    ledger = enrolled(rules=NO_ENTERPRISE)
    since = ledger.now
    ledger.wait(DAY)
    ledger.when(ChangeWorkspace(workspace="acme", plan="enterprise", effective_at=at(since + 5)))
    assert not ledger.decide().permit
    assert not ledger.decide(collected=since + 6).permit


def test_given_an_organisation_when_leaving_it_is_backdated_then_it_is_refused():
    ledger = enrolled()
    ledger.given(workspace("beta", organisation="corp"))
    leaving = ChangeWorkspace(workspace="beta", organisation="", plan="x", effective_at=at(ledger.now - 1))
    ledger.refused(leaving, "backdated")
    assert ledger.when(ChangeWorkspace(workspace="beta", organisation=""))


def test_given_an_opted_out_organisation_when_joining_it_is_backdated_then_it_counts_from_then():
    ledger = enrolled()
    ledger.given(opt_out(scope=scope("corp", "organisation")))
    ledger.wait(DAY)
    ledger.when(ChangeWorkspace(workspace="acme", organisation="corp", effective_at=at(ledger.now - DAY)))
    assert not ledger.decide().permit


def test_given_an_opted_in_organisation_when_joining_it_is_backdated_then_it_is_refused():
    ledger = enrolled(rules=rules(rule("opt_in")))
    ledger.given(opt_in(scope=scope("corp", "organisation")))
    ledger.given(GrantOptIn(opt_in=ledger.request(), applicant=OWNER, notice=notice(START)))
    ledger.wait(DAY)
    joining = ChangeWorkspace(workspace="acme", organisation="corp", effective_at=at(ledger.now - 1))
    ledger.refused(joining, "backdated")


def test_given_a_change_announced_when_another_comes_before_it_then_neither_undoes_the_other():
    ledger = enrolled(rules=rules(exclusions=[Exclusion(selector=ALL, contracts=["no-training"])]))
    later = ledger.now + 10 * DAY
    ledger.given(ChangeWorkspace(workspace="acme", plan="pro", effective_at=at(later)))
    now, then = ledger.when(ChangeWorkspace(workspace="acme", contract="no-training"))
    assert isinstance(now, WorkspaceChanged)
    assert isinstance(then, WorkspaceChanged)
    assert (now.plan, now.contract) == ("free", "no-training")
    assert (then.plan, then.contract, micros(then.effective_at)) == ("pro", "no-training", later)
    ledger.wait(20 * DAY)
    assert not ledger.decide().permit


def test_given_many_changes_announced_when_one_comes_before_them_all_then_it_is_refused():
    ledger = enrolled()
    for day in range(1, 10):
        soon = at(ledger.now + day * DAY)
        ledger.given(ChangeWorkspace(workspace="acme", plan=f"plan-{day}", effective_at=soon))
    ledger.refused(ChangeWorkspace(workspace="acme", contract="c"), "wrong_state")


# -- closing and succession ----------------------------------------------------------------------------------


def test_given_a_workspace_when_it_closes_then_nothing_of_it_may_be_used_and_it_stays_closed():
    ledger = enrolled()
    (closed,) = ledger.when(CloseWorkspace(workspace="acme", reason="left", effective_at=at(START + DAY)))
    assert isinstance(closed, WorkspaceClosed)
    assert not ledger.decide().permit
    ledger.refused(CloseWorkspace(workspace="acme", reason="left"), "wrong_state")
    ledger.refused(ChangeWorkspace(workspace="acme", plan="pro"), "wrong_state")
    assert ledger.when(opt_out()), "an objection is always recorded"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"effective_at": at(START + 900 * DAY)}, "postdated"),
        ({"reason": ""}, "invalid_value"),
        ({"reason": "succeeded"}, "invalid_value"),
        ({"workspace": "nobody"}, "unknown_workspace"),
        ({"workspace": "a b"}, "invalid_id"),
    ],
)
def test_given_a_workspace_when_it_is_closed_wrongly_then_it_is_refused(changes: dict[str, Any], code: str):
    enrolled().refused(CloseWorkspace(**({"workspace": "acme", "reason": "left"} | changes)), code)


@pytest.mark.parametrize("kind", ["merge", "transfer"])
def test_given_two_workspaces_when_one_takes_over_the_other_then_both_know_and_the_other_closes(kind: str):
    ledger = enrolled().given(workspace("beta"))
    events = ledger.when(SucceedWorkspace(workspace="beta", predecessor="acme", kind=kind))
    assert [type(event) for event in events] == [WorkspaceSucceeded, WorkspaceSucceeded, WorkspaceClosed]
    acme, beta = ledger.workspace("acme"), ledger.workspace("beta")
    assert isinstance(acme, WorkspaceFacts)
    assert isinstance(beta, WorkspaceFacts)
    assert acme.closed_by_succession
    assert (acme.successions[0].other, beta.successions[0].other) == ("beta", "acme")
    assert ledger.decide("beta").permit
    assert not ledger.decide("acme").permit


@pytest.mark.parametrize("kind", ["split", "clone"])
def test_given_two_workspaces_when_one_splits_from_the_other_then_both_stay_open(kind: str):
    ledger = enrolled().given(workspace("beta"))
    assert len(ledger.when(SucceedWorkspace(workspace="beta", predecessor="acme", kind=kind))) == 2
    assert ledger.decide("beta").permit
    assert ledger.decide("acme").permit


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "swallow"}, "invalid_value"),
        ({"predecessor": "beta"}, "invalid_value"),
        ({"predecessor": "nobody"}, "unknown_workspace"),
        ({"predecessor": "a/b"}, "invalid_id"),
        ({"workspace": "nobody"}, "unknown_workspace"),
        ({"effective_at": at(START)}, "backdated"),
        ({"effective_at": at(START + 9 * DAY)}, "postdated"),
    ],
)
def test_given_two_workspaces_when_one_succeeds_wrongly_then_it_is_refused(
    changes: dict[str, Any], code: str
):
    said = {"workspace": "beta", "predecessor": "acme", "kind": "merge"} | changes
    enrolled().given(workspace("beta")).refused(SucceedWorkspace(**said), code)


def test_given_a_link_or_a_closed_predecessor_when_it_is_succeeded_again_then_it_is_refused():
    ledger = enrolled().given(workspace("beta"), workspace("gamma"))
    ledger.given(SucceedWorkspace(workspace="beta", predecessor="acme", kind="split"))
    ledger.refused(SucceedWorkspace(workspace="beta", predecessor="acme", kind="clone"), "already_exists")
    ledger.given(CloseWorkspace(workspace="acme", reason="left"))
    ledger.refused(SucceedWorkspace(workspace="gamma", predecessor="acme", kind="merge"), "wrong_state")


def test_given_a_book_that_cannot_be_read_when_something_would_widen_then_it_is_refused():
    ledger = enrolled()
    ledger.everybody = replace_book(ledger, quarantined=77)
    ledger.refused(workspace("beta"), "quarantined")
    ledger.refused(ChangeWorkspace(workspace="acme", plan="pro"), "quarantined")
    assert ledger.when(opt_out("train", selector=Selector(keys=["train"]))), "an objection is always recorded"


def replace_book(ledger: Ledger, **changes: Any) -> Any:
    known = ledger.everybody
    return type(known)(replace(known.book, **changes), known.proposals, known.versions, known.position)
