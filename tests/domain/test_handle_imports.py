"""The import of history: given a ledger never opened, when a line comes, then events or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.commands import (
    Applicant,
    EarlierOptOut,
    ImportOrganisation,
    ImportPolicy,
    ImportWorkspace,
    OpenLedger,
)
from consent_domain.events import DefaultOn, OptOutProcessed, OptOutRequested, WorkspaceEnrolled
from consent_domain.instants import DAY, micros
from consent_domain.policy import DeadlineRule
from msgspec.structs import replace
from scenario import ALL, MEMBER, OWNER, START, STRANGER, Ledger, at, opt_out, policy, rule, rules, workspace

YEAR = 365 * DAY


def earlier_policy(version: str = "1", effective: int = START - YEAR, **more: Any) -> ImportPolicy:
    live = policy(version)
    said: dict[str, Any] = {
        "published_at": at(effective),
        "title": live.title,
        "text_sha256": live.text_sha256,
        "direction": "looser",
        "why": live.why,
        "rules": live.rules,
    }
    return ImportPolicy(version=version, effective_at=at(effective), **(said | more))


def earlier(received: int = START - 100 * DAY, **more: Any) -> EarlierOptOut:
    return EarlierOptOut(**({"selector": ALL, "received_at": at(received), "applicant": OWNER} | more))


def imported(*opt_outs: EarlierOptOut, **more: Any) -> ImportWorkspace:
    said: dict[str, Any] = {
        "workspace": "acme",
        "plan": "free",
        "region": "eu",
        "customer_since": at(START - 200 * DAY),
        "opt_outs": list(opt_outs),
    }
    return ImportWorkspace(**(said | more))


def before() -> Ledger:
    """A policy has been in force for a year, and the ledger was never opened."""
    return Ledger().given(earlier_policy())


def test_given_a_policy_of_then_when_a_workspace_is_imported_then_all_says_it_is_backfilled():
    ledger = before()
    enrolment, on = ledger.when(imported())
    assert isinstance(enrolment, WorkspaceEnrolled)
    assert isinstance(on, DefaultOn)
    assert (on.policy_version, on.policy_position) == ("1", "1")
    for event in (enrolment, on):
        assert event.provenance == "backfilled"
        assert event.occurred_at == at(START - 200 * DAY)
    assert ledger.book.opened == 0
    assert ledger.decide(collected=START - 150 * DAY).permit


def test_given_a_customer_from_before_any_policy_when_it_is_imported_then_nothing_was_on():
    assert len(before().when(imported(customer_since=at(START - 2 * YEAR)))) == 1


def test_given_earlier_opt_outs_when_a_workspace_is_imported_then_they_come_in_the_same_commit():
    ledger = before()
    done = earlier(processed_at=at(START - 90 * DAY))
    _, _, first, processed, second = ledger.when(imported(done, earlier(START - DAY, applicant=MEMBER)))
    assert isinstance(first, OptOutRequested)
    assert isinstance(processed, OptOutProcessed)
    assert isinstance(second, OptOutRequested)
    assert (processed.request, processed.occurred_at) == (first.request, at(START - 90 * DAY))
    assert first.deadline is not None
    assert micros(first.deadline.due_at) == START - 70 * DAY
    requests = ledger.streams["workspace/acme"].requests
    assert requests[first.request].processed_at == START - 90 * DAY
    assert requests[second.request].state == "received"
    assert all(request.backfilled for request in requests.values())
    assert not ledger.decide().permit
    assert ledger.answer == {"workspace": "acme", "optOuts": 2}


def test_given_an_organisation_with_an_earlier_opt_out_when_it_is_imported_then_its_workspaces_are_denied():
    ledger = before()
    ledger.given(ImportOrganisation(organisation="corp", opt_outs=[earlier()]), imported(organisation="corp"))
    assert not ledger.decide().permit


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (imported(customer_since=at(START + DAY)), "postdated"),
        (imported(organisation="nobody"), "unknown_organisation"),
        (imported(workspace="a/b"), "invalid_id"),
        (imported(kind="toy"), "invalid_value"),
        (imported(earlier(START + DAY)), "postdated"),
        (imported(earlier(processed_at=at(START + DAY))), "postdated"),
        (imported(earlier(processed_at=at(START - 101 * DAY))), "invalid_value"),
        (imported(earlier(channel="")), "invalid_value"),
        (imported(earlier(applicant=Applicant(role="owner", authority="sure"))), "invalid_value"),
        (imported(earlier(applicant=Applicant(role="owner", subject="Ann"))), "invalid_value"),
        (imported(*[earlier()] * 101), "invalid_value"),
        (ImportOrganisation(organisation="a/b"), "invalid_id"),
        (ImportOrganisation(organisation="corp", opt_outs=[earlier(START + DAY)]), "postdated"),
        (earlier_policy("2", START + DAY), "postdated"),
        (earlier_policy("2", START - DAY, published_at=at(START)), "backdated"),
        (earlier_policy("1", START - DAY), "already_exists"),
        (earlier_policy("0", START - 2 * YEAR), "policy_out_of_order"),
        (
            earlier_policy("2", START - DAY, direction="editorial", rules=rules(rule("opt_in"))),
            "not_editorial",
        ),
    ],
)
def test_given_history_when_a_line_of_it_is_wrong_then_it_is_refused_and_nothing_is_recorded(
    command: Any, code: str
):
    ledger = before()
    ledger.refused(command, code)
    assert len(ledger.log) == 2


def test_given_a_line_imported_when_it_comes_again_then_it_is_refused():
    ledger = before().given(imported(), ImportOrganisation(organisation="corp"))
    ledger.refused(imported(), "already_exists")
    ledger.refused(ImportOrganisation(organisation="corp"), "already_exists")


def test_given_a_strangers_earlier_request_when_it_is_imported_then_it_denies_nothing():
    ledger = before().given(imported(earlier(applicant=STRANGER)))
    assert ledger.decide(collected=START - 150 * DAY).permit


def test_given_a_policy_of_then_that_permitted_while_requested_when_a_request_is_overdue_then_it_denies():
    lenient = rules(while_requested="permit", deadlines=[DeadlineRule(id="d", days=30)])
    ledger = Ledger().given(earlier_policy(rules=lenient), imported(earlier()))
    assert not ledger.decide().permit


def test_given_a_ledger_opened_when_history_comes_then_it_is_refused():
    ledger = before().given(imported(), OpenLedger())
    ledger.refused(OpenLedger(), "already_open")
    for command in (
        imported(workspace="b"),
        earlier_policy("2", START),
        ImportOrganisation(organisation="c"),
    ):
        ledger.refused(command, "wrong_state")


def test_given_a_ledger_never_opened_when_something_happens_then_history_is_over():
    ledger = before().given(imported())
    ledger.when(opt_out())
    assert ledger.book.opened == 5
    ledger.refused(replace(imported(), workspace="b"), "wrong_state")
    ledger.given(workspace("b"))
