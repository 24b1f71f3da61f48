"""Ways to a wrong yes that were open once: each is told from its first command to the denial."""

from __future__ import annotations

import pytest
from consent_domain.commands import (
    ChangeWorkspace,
    GrantOptIn,
    RefuseOptIn,
    RegisterOrganisation,
    RejectOptOut,
    WithdrawOptIn,
)
from consent_domain.decide import Collected, Decision, decide
from consent_domain.events import DefaultOn, Scope
from consent_domain.instants import DAY, Micros
from consent_domain.policy import Exclusion, PolicyRules
from consent_domain.purposes import PurposeClass, Selector
from scenario import (
    ALL,
    OWNER,
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

CORP = scope("corp", "organisation")
BY_CONSENT = rules(rule("opt_in"))


def excluding(*categories: str, **whom: list[str]) -> Exclusion:
    return Exclusion(selector=ALL, categories=list(categories), **(whom or {"plans": ["free"]}))


def customer(given: PolicyRules, **attributes: str) -> Ledger:
    ledger = opened().given(policy(rules=given))
    ledger.wait(DAY)
    ledger.given(RegisterOrganisation(organisation="corp"), workspace(**attributes))
    ledger.wait(DAY)
    return ledger


def consent(ledger: Ledger, whose: Scope, *, covers_before: bool = False) -> str:
    ledger.given(opt_in(scope=whose))
    asked = ledger.request()
    ledger.given(
        GrantOptIn(
            opt_in=asked,
            applicant=OWNER,
            notice=notice(ledger.now),
            covers_collected_before=covers_before,
        )
    )
    return asked


def refuse(ledger: Ledger, whose: Scope) -> None:
    ledger.given(opt_in(scope=whose))
    ledger.given(RefuseOptIn(opt_in=ledger.request(), applicant=OWNER))


def ask(ledger: Ledger, category: str, collected: Micros | None = None) -> Decision:
    when = ledger.now if collected is None else collected
    return decide(ledger, ["acme"], "train", (category,), ledger.now, Collected(when, when))


def test_given_a_chain_of_successors_within_one_policy_then_an_opt_out_follows_it_to_its_end() -> None:
    chain = [purpose(f"p{n}", replaces=[f"p{n - 1}"] if n else []) for n in range(5)]
    ledger = enrolled(rules=rules(purposes=tuple(chain))).given(opt_out("p0"))
    assert not any(ledger.decide(purpose=one.key).permit for one in chain)


def test_given_purposes_that_replace_each_other_in_a_circle_then_an_opt_out_of_one_is_one_of_all() -> None:
    circle = (purpose("a", replaces=["c"]), purpose("b", replaces=["a"]), purpose("c", replaces=["b"]))
    ledger = enrolled(rules=rules(purposes=circle)).given(opt_out("a"))
    assert not any(ledger.decide(purpose=one.key).permit for one in circle)


@pytest.mark.parametrize(("first", "then"), [(CORP, scope()), (scope(), CORP)])
def test_given_a_refusal_then_an_opt_in_of_another_scope_does_not_outdate_it(
    first: Scope, then: Scope
) -> None:
    ledger = customer(BY_CONSENT, organisation="corp")
    refuse(ledger, first)
    consent(ledger, then)
    ledger.wait(DAY)
    assert ledger.decide().standing == "opted_out"
    consent(ledger, first)
    ledger.wait(1)
    assert ledger.decide().permit


def test_given_an_organisation_that_took_consent_back_then_its_workspace_cannot_give_it_for_itself() -> None:
    ledger = customer(BY_CONSENT, organisation="corp")
    ledger.given(WithdrawOptIn(opt_in=consent(ledger, CORP), applicant=OWNER))
    consent(ledger, scope())
    ledger.wait(DAY)
    assert ledger.decide().standing == "opted_out"


def test_given_an_organisation_opted_in_for_earlier_data_then_data_from_before_joining_it_stays_out() -> None:
    ledger = customer(BY_CONSENT)
    consent(ledger, CORP, covers_before=True)
    ledger.wait(DAY)
    earlier = ledger.now
    ledger.wait(DAY)
    ledger.given(ChangeWorkspace(workspace="acme", organisation="corp"))
    joined = ledger.now
    ledger.wait(DAY)
    assert not ledger.decide(collected=earlier).permit
    assert ledger.decide().windows[0].start == joined


def test_given_leaving_and_rejoining_an_organisation_then_its_consent_counts_from_rejoining() -> None:
    ledger = customer(BY_CONSENT, organisation="corp")
    consent(ledger, CORP, covers_before=True)
    ledger.wait(DAY)
    ledger.given(ChangeWorkspace(workspace="acme", organisation=""))
    ledger.wait(DAY)
    ledger.given(ChangeWorkspace(workspace="acme", organisation="corp"))
    rejoined = ledger.now
    ledger.wait(DAY)
    assert [window.start for window in ledger.decide().windows] == [rejoined]


def test_given_consent_of_an_organisation_then_data_on_by_default_before_joining_it_stays_out() -> None:
    ledger = customer(rules(rule("opt_out")))
    consent(ledger, CORP)
    ledger.wait(DAY)
    earlier = ledger.now
    ledger.given(policy("2", ledger.now + DAY, direction="stricter", rules=BY_CONSENT))
    ledger.wait(2 * DAY)
    assert not ledger.decide(collected=earlier).permit
    ledger.given(ChangeWorkspace(workspace="acme", organisation="corp"))
    ledger.wait(DAY)
    assert ledger.decide().permit and not ledger.decide(collected=earlier).permit


def test_given_consent_to_a_purpose_then_its_successor_cannot_use_what_was_collected_under_it() -> None:
    ledger = customer(BY_CONSENT)
    consent(ledger, scope())
    ledger.wait(DAY)
    earlier = ledger.now
    learn = rules(rule("opt_out"), purposes=(purpose("learn", replaces=["train"]),))
    ledger.given(policy("2", ledger.now + DAY, rules=learn))
    ledger.wait(2 * DAY)
    assert ledger.decide(purpose="learn").permit
    assert not ledger.decide(purpose="learn", collected=earlier).permit


def test_given_a_pending_opt_out_then_a_later_policy_cannot_make_required_what_it_names() -> None:
    ledger = enrolled().given(opt_out("train"))
    request = ledger.request()
    ledger.given(policy("2", ledger.now + DAY, rules=rules(rule("required"))))
    ledger.wait(2 * DAY)
    reject = RejectOptOut(request=request, reason="required_by_policy", approved_by="staff-2")
    ledger.refused(reject, "required_by_policy")
    assert not ledger.decide().permit


def test_given_a_plan_that_is_only_announced_then_what_it_requires_rejects_no_opt_out() -> None:
    ledger = enrolled(rules=rules(rule("required", plans=["gold"]), rule("opt_out")))
    ledger.given(ChangeWorkspace(workspace="acme", plan="gold", effective_at=at(ledger.now + 300 * DAY)))
    ledger.given(opt_out("train"))
    reject = RejectOptOut(request=ledger.request(), reason="required_by_policy", approved_by="staff-2")
    ledger.refused(reject, "required_by_policy")


def test_given_an_opt_out_that_denies_now_then_it_is_no_duplicate_of_one_that_denies_when_it_is_due() -> None:
    ledger = enrolled().given(opt_out("train"))
    first = ledger.request()
    ledger.given(policy("2", ledger.now + DAY, rules=rules(rule("opt_out"), while_requested="permit")))
    ledger.wait(2 * DAY)
    ledger.given(opt_out("train"))
    ledger.refused(RejectOptOut(request=first, reason="duplicate"), "wrong_state")


def test_given_an_exclusion_when_only_a_part_of_it_stays_excluded_then_the_policy_is_not_stricter() -> None:
    ledger = enrolled(rules=rules(exclusions=[excluding("messages")]))
    narrower = rules(exclusions=[excluding("messages.direct")])
    ledger.refused(policy("2", ledger.now, direction="stricter", rules=narrower), "wrong_direction")
    ledger.given(policy("2", ledger.now + 1, direction="looser", rules=narrower))


def test_given_a_contract_that_excludes_less_of_a_category_then_it_cannot_be_backdated() -> None:
    by_contract = rules(
        exclusions=[
            excluding("messages", contracts=["whole"]),
            excluding("messages.direct", "files", contracts=["part"]),
        ]
    )
    ledger = customer(by_contract, contract="whole")
    earlier = ledger.now
    ledger.wait(DAY)
    ledger.refused(ChangeWorkspace(workspace="acme", contract="part", effective_at=at(earlier)), "backdated")
    ledger.given(ChangeWorkspace(workspace="acme", contract="part"))
    ledger.wait(1)
    assert ask(ledger, "messages.public").permit
    assert not ask(ledger, "messages.public", earlier).permit


def test_given_a_purpose_that_takes_over_an_earlier_one_then_the_policy_is_not_stricter() -> None:
    ledger = enrolled(rules=rules(purposes=(purpose(), purpose("learn"))))
    taking_over = rules(purposes=(purpose(), purpose("learn", replaces=["train"])))
    ledger.refused(policy("2", ledger.now, direction="stricter", rules=taking_over), "wrong_direction")


@pytest.mark.parametrize("category", ["messages.", "messages..direct", ".", ""])
def test_given_a_category_with_an_empty_part_then_deny(category: str) -> None:
    ledger = enrolled(rules=rules(exclusions=[excluding("messages.direct")]))
    ledger.wait(DAY)
    assert not ask(ledger, category).permit
    assert ask(ledger, "messages.public").permit


def test_given_an_opt_out_of_required_purposes_when_a_successor_further_on_is_not_then_it_stands() -> None:
    chain = (purpose("a"), purpose("b", replaces=["a"]), purpose("c", replaces=["b"]))
    ledger = enrolled(rules=rules(rule("required", "a", "b"), rule("opt_out"), purposes=chain))
    ledger.given(opt_out("a"))
    reject = RejectOptOut(request=ledger.request(), reason="required_by_policy", approved_by="staff-2")
    ledger.refused(reject, "required_by_policy")


def test_given_a_policy_that_is_announced_not_to_require_a_purpose_then_its_opt_out_stands() -> None:
    ledger = enrolled(rules=rules(rule("required"))).given(opt_out("train"))
    reject = RejectOptOut(request=ledger.request(), reason="required_by_policy", approved_by="staff-2")
    ledger.verdict(reject)
    ledger.given(policy("2", ledger.now + DAY, rules=rules(rule("opt_out"))))
    ledger.refused(reject, "required_by_policy")


@pytest.mark.parametrize(
    "selector",
    [Selector(keys=["trian"]), Selector(class_=PurposeClass(processing="Train"))],
)
def test_given_an_opt_out_that_names_nothing_then_nobody_is_told_that_something_is_denied(
    selector: Selector,
) -> None:
    ledger = enrolled().given(opt_out(selector=selector))
    assert ledger.decide().permit
    assert ledger.answer["deniedSince"] is None


@pytest.mark.parametrize("processing", ["train", "fine_tune", "pretrain", "Train"])
def test_given_a_sandbox_then_nothing_trains_on_it_whatever_that_is_called(processing: str) -> None:
    ledger = enrolled(
        rules=rules(purposes=(purpose(processing=processing), purpose("s", processing="serve")))
    )
    events = ledger.when(workspace("sandbox", kind="sandbox"))
    ledger.wait(1)
    assert ledger.decide().permit and not ledger.decide("sandbox").permit
    assert ledger.decide("sandbox", "s").permit
    assert [body.purposes for body in events if isinstance(body, DefaultOn)] == [["s"]]


def test_given_a_policy_that_makes_a_purpose_required_then_it_is_not_stricter() -> None:
    ledger = enrolled()
    required = policy("2", ledger.now, direction="stricter", rules=rules(rule("required")))
    ledger.refused(required, "wrong_direction")


def test_given_a_version_dated_back_to_before_a_request_then_what_it_adds_rejects_nothing() -> None:
    ledger = enrolled()
    earlier = ledger.now
    ledger.wait(DAY)
    ledger.given(opt_out("train"))
    reject = RejectOptOut(request=ledger.request(), reason="new", approved_by="staff-2")
    ledger.wait(DAY)
    ledger.given(policy("2", earlier, direction="stricter", rules=rules(rejection_reasons=["new"])))
    ledger.refused(reject, "reason_not_listed")
