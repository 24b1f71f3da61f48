"""Deciding, rule by rule: given facts, when a use is asked about, then permit or deny, and why."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.decide import AHEAD_MAX, Collected, Decision, decide
from consent_domain.facts import (
    EVERYTHING,
    NOTHING,
    OUTSIDE,
    Attributes,
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    Succession,
    Suspension,
    WorkspaceFacts,
)
from consent_domain.grounds import prepare
from consent_domain.instants import DAY
from consent_domain.policy import Exclusion, PolicyRules, Rule
from consent_domain.purposes import Purpose, PurposeClass, Selector
from consent_domain.reasons import DENYING, PERMITTING, sentence
from consent_domain.ruling import for_member, rule, rule_class

NOW = 1_000 * DAY
ALL = Selector(all=True)


class Ledger:
    """Facts at one position, written down by hand."""

    def __init__(
        self, book: Book, organisations: dict[str, OrganisationFacts] | None = None, **workspaces: Any
    ):
        self.book = book
        self.organisations = organisations or {}
        self.workspaces: dict[str, WorkspaceFacts] = workspaces

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return self.workspaces.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        return self.organisations.get(name)

    def ask(
        self,
        *workspaces: str,
        purpose: str = "train",
        categories: tuple[str, ...] = (),
        collected: int | tuple[int, int] | None = NOW,
        at: int = NOW,
    ) -> Decision:
        when = (collected, collected) if isinstance(collected, int) else collected
        stated = None if when is None else Collected(*when)
        decision = decide(self, workspaces or ("w",), purpose, categories, at, stated)
        for reason in decision.reasons:
            assert reason.code in (PERMITTING if decision.permit else DENYING), reason
        assert sentence(decision, "w", purpose)
        return decision


def purpose(key: str = "train", **changes: Any) -> Purpose:
    attributes: dict[str, Any] = {
        "processing": "train",
        "reach": "global",
        "model_class": "non_generative",
        "recipient": "first_party",
        "categories": ["messages", "files"],
        "legal_basis": "legitimate_interest",
        "justification": "to rank search results",
    }
    return Purpose(key=key, **(attributes | changes))


def policy(
    *rules: Rule,
    effective: int = 100 * DAY,
    purposes: tuple[Purpose, ...] = (purpose(),),
    version: str = "2",
    position: int = 2,
    **more: Any,
) -> Published:
    return Published(
        version,
        position,
        effective,
        "looser",
        PolicyRules(purposes=list(purposes), rules=list(rules), **more),
    )


def regime(name: str, **whom: Any) -> Rule:
    return Rule(selector=ALL, regime=name, **whom)


def workspace(since: int = 200 * DAY, kind: str = "production", **more: Any) -> WorkspaceFacts:
    attributes = more.pop("attributes", None) or (attributes_from(since),)
    return WorkspaceFacts(kind, 10, since, attributes, **more)


def attributes_from(since: int, position: int = 10, **changes: str) -> Attributes:
    said = {"plan": "free", "region": "eu", "contract": "", "organisation": ""} | changes
    return Attributes(since, position, **said)


def opt_out(since: int, selector: Selector = ALL, breadth: int = EVERYTHING, **more: Any) -> OptOut:
    return OptOut("r", selector, since, 20, breadth, **more)


def opt_in(since: int, *shown: Purpose, position: int = 30, **more: Any) -> OptIn:
    shown = shown or (purpose(),)
    return OptIn("i", shown, tuple(one.key for one in shown), since, position, **more)


def choosing(*choices: OptOut | OptIn) -> Choices:
    return Choices(
        tuple(one for one in choices if isinstance(one, OptOut)),
        tuple(one for one in choices if isinstance(one, OptIn)),
    )


ON = Book(policies=(policy(regime("opt_out")),))
CONSENT = Book(policies=(policy(regime("opt_in")),))


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


def denied(decision: Decision, code: str, position: int | None = None) -> None:
    assert not decision.permit
    assert decision.reasons[0].code == code
    if position is not None:
        assert decision.reasons[0].position == position


# -- the precedence table, a row a test ----------------------------------------------------------------


def test_given_a_default_and_no_choice_then_permit_as_defaulted_on_and_never_as_consent() -> None:
    answer = Ledger(ON, w=workspace()).ask()
    assert answer.permit and answer.standing == "defaulted_on" and answer.policy_version == "2"
    assert answer.reasons == (("defaulted_on", 2, ""),)


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "nobody", "ü"])
def test_given_a_workspace_that_is_none_then_deny(name: str) -> None:
    answer = Ledger(ON, w=workspace()).ask(name)
    assert codes(answer) == ["unknown_workspace" if name == "nobody" else "invalid_id"]


def test_given_no_workspace_then_deny() -> None:
    assert codes(decide(Ledger(ON), (), "train", (), NOW, None)) == ["no_workspace"]


def test_given_an_unknown_purpose_then_deny() -> None:
    denied(Ledger(ON, w=workspace()).ask(purpose="trian"), "unknown_purpose")


def test_given_no_policy_then_deny() -> None:
    denied(Ledger(Book(), w=workspace()).ask(), "no_policy_in_force")


def test_given_a_policy_announced_for_later_then_it_permits_nothing_yet() -> None:
    book = Book(policies=(policy(regime("opt_out"), effective=NOW + 1),))
    denied(Ledger(book, w=workspace()).ask(), "no_policy_in_force")


@pytest.mark.parametrize(
    "ledger",
    [
        Ledger(Book(policies=ON.policies, quarantined=7), w=workspace()),
        Ledger(Book(policies=ON.policies, quarantined_purposes=("train",)), w=workspace()),
        Ledger(ON, w=workspace(quarantined=7)),
        Ledger(ON, w=WorkspaceFacts("", 7, 0, (), quarantined=7)),
        Ledger(
            ON,
            {"acme": OrganisationFacts(5, quarantined=7)},
            w=workspace(attributes=(attributes_from(200 * DAY, organisation="acme"),)),
        ),
    ],
)
def test_given_an_unreadable_event_then_whatever_depends_on_it_is_denied(ledger: Ledger) -> None:
    denied(ledger.ask(), "quarantined")


def test_given_an_unreadable_event_of_another_purpose_then_this_one_goes_on() -> None:
    assert Ledger(Book(policies=ON.policies, quarantined_purposes=("other",)), w=workspace()).ask().permit


def test_given_an_organisation_that_is_missing_then_deny() -> None:
    ledger = Ledger(ON, w=workspace(attributes=(attributes_from(200 * DAY, organisation="acme"),)))
    denied(ledger.ask(), "unknown_organisation", 10)


def test_given_a_closed_or_erased_workspace_then_deny_all() -> None:
    denied(Ledger(ON, w=workspace(closed=NOW, closed_position=44)).ask(), "workspace_closed", 44)
    denied(Ledger(ON, w=workspace(erased_position=45)).ask(), "workspace_erased", 45)


def test_given_a_suspension_then_deny_everybody_also_who_opted_in() -> None:
    book = Book(policies=ON.policies, suspensions=(Suspension("train", NOW - DAY, 50),))
    answer = Ledger(book, w=workspace(choices=choosing(opt_in(300 * DAY)))).ask()
    denied(answer, "suspended", 50)
    assert answer.standing == "suspended"


def test_given_a_resumption_then_data_collected_during_the_stop_stays_out() -> None:
    stop = Suspension("train", 500 * DAY, 50, ended=600 * DAY)
    ledger = Ledger(Book(policies=ON.policies, suspensions=(stop,)), w=workspace())
    assert ledger.ask().permit
    denied(ledger.ask(collected=550 * DAY), "collected_outside_windows")
    assert codes(ledger.ask(collected=550 * DAY))[1] == "suspended"


@pytest.mark.parametrize(("processing", "permit"), [("train", False), ("fine_tune", False), ("serve", True)])
def test_given_a_sandbox_then_it_never_trains(processing: str, permit: bool) -> None:
    book = Book(policies=(policy(regime("opt_out"), purposes=(purpose(processing=processing),)),))
    answer = Ledger(book, w=workspace(kind="sandbox")).ask()
    assert answer.permit is permit
    assert codes(answer) == (["defaulted_on"] if permit else ["sandbox"])


def test_given_a_prohibition_or_silence_then_deny_although_opted_in() -> None:
    consenting = workspace(choices=choosing(opt_in(300 * DAY)))
    denied(
        Ledger(Book(policies=(policy(regime("prohibited")),)), w=consenting).ask(), "prohibited_by_policy", 2
    )
    denied(Ledger(Book(policies=(policy(),)), w=consenting).ask(), "not_covered_by_policy", 2)


@pytest.mark.parametrize("name", ["opt_out", "opt_in", "required"])
@pytest.mark.parametrize("processed", [False, True])
def test_given_an_opt_out_then_deny_under_every_regime_from_receipt_on(name: str, processed: bool) -> None:
    book = Book(policies=(policy(regime(name)),))
    choices = choosing(opt_out(NOW - DAY, processed=processed), opt_in(300 * DAY))
    answer = Ledger(book, w=workspace(choices=choices)).ask()
    denied(answer, "opted_out" if processed else "opt_out_requested", 20)
    assert answer.standing == ("opted_out" if processed else "opt_out_requested")


def test_given_an_opt_out_of_the_organisation_then_it_binds_its_workspaces() -> None:
    acme = {"acme": OrganisationFacts(5, choosing(opt_out(NOW - DAY, processed=True)))}
    ledger = Ledger(ON, acme, w=workspace(attributes=(attributes_from(200 * DAY, organisation="acme"),)))
    denied(ledger.ask(), "organisation_opted_out", 20)


def test_given_opt_in_regime_without_opt_in_then_deny_as_off_by_default() -> None:
    answer = Ledger(CONSENT, w=workspace()).ask()
    denied(answer, "opt_in_missing")
    assert answer.standing == "defaulted_off"


def test_given_an_opt_in_then_permit_and_say_which() -> None:
    answer = Ledger(CONSENT, w=workspace(choices=choosing(opt_in(300 * DAY)))).ask()
    assert answer.permit and answer.standing == "opted_in" and answer.reasons[0][:2] == ("opted_in", 30)


def test_given_an_opt_in_of_the_organisation_then_its_workspaces_have_it() -> None:
    acme = {"acme": OrganisationFacts(5, choosing(opt_in(300 * DAY)))}
    ledger = Ledger(CONSENT, acme, w=workspace(attributes=(attributes_from(200 * DAY, organisation="acme"),)))
    assert ledger.ask().permit


@pytest.mark.parametrize(("member", "code"), [("plans", "plan"), ("contracts", "contract")])
def test_given_a_plan_or_contract_that_excludes_then_deny_also_who_opted_in(member: str, code: str) -> None:
    exclusion = Exclusion(selector=ALL, **{member: ["enterprise"]})
    book = Book(policies=(policy(regime("required"), exclusions=[exclusion]),))
    attributes = attributes_from(200 * DAY, plan="enterprise", contract="enterprise")
    choices = choosing(opt_in(300 * DAY))
    ledger = Ledger(book, w=workspace(attributes=(attributes,), choices=choices))
    denied(ledger.ask(), f"excluded_by_{code}", 10)


def test_given_required_by_policy_then_permit_although_nobody_was_asked() -> None:
    answer = Ledger(Book(policies=(policy(regime("required")),)), w=workspace()).ask()
    assert answer.permit and answer.standing == "required"


# -- authority ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("breadth", "reach", "recipient", "permit"),
    [
        (NOTHING, "global", "first_party", True),
        (OUTSIDE, "global", "first_party", False),
        (OUTSIDE, "workspace", "first_party", True),
        (OUTSIDE, "workspace", "third_party", False),
        (EVERYTHING, "workspace", "first_party", False),
    ],
)
def test_an_objection_stops_as_much_as_its_authority_reaches(
    breadth: int, reach: str, recipient: str, permit: bool
) -> None:
    book = Book(policies=(policy(regime("opt_out"), purposes=(purpose(reach=reach, recipient=recipient),)),))
    ledger = Ledger(book, w=workspace(choices=choosing(opt_out(NOW - DAY, breadth=breadth))))
    assert ledger.ask().permit is permit


def test_given_while_requested_permit_then_use_goes_on_until_due_and_the_answer_says_so() -> None:
    choices = choosing(opt_out(NOW - DAY, permit_until=NOW + 1))
    ledger = Ledger(ON, w=workspace(choices=choices))
    answer = ledger.ask(collected=NOW - 2 * DAY)
    assert answer.permit and answer.standing == "opt_out_requested"
    assert codes(answer) == ["permitted_while_requested", "defaulted_on"]
    denied(ledger.ask(collected=NOW), "collected_outside_windows")
    denied(ledger.ask(collected=NOW - 2 * DAY, at=NOW + 1), "opt_out_requested")


def test_given_while_requested_permit_when_processed_then_deny() -> None:
    choices = choosing(opt_out(NOW - DAY, permit_until=NOW + DAY, processed=True))
    denied(Ledger(ON, w=workspace(choices=choices)).ask(collected=NOW - 2 * DAY), "opted_out")


# -- selectors and lineage ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "permit"),
    [
        (Selector(keys=["train"]), False),
        (Selector(keys=["other"]), True),
        (Selector(class_=PurposeClass(processing="train")), False),
        (Selector(class_=PurposeClass(processing="train", model_class="generative")), True),
    ],
)
def test_an_objection_stops_the_purposes_that_its_selector_names(selector: Selector, permit: bool) -> None:
    ledger = Ledger(ON, w=workspace(choices=choosing(opt_out(NOW - DAY, selector))))
    assert ledger.ask().permit is permit


def test_given_a_successor_of_a_purpose_then_the_opt_out_follows_it_and_the_opt_in_does_not() -> None:
    renamed = policy(
        regime("opt_out"),
        purposes=(purpose("learn", replaces=["train"]),),
        effective=400 * DAY,
        version="3",
        position=3,
    )
    out = workspace(choices=choosing(opt_out(300 * DAY, Selector(keys=["train"]))))
    denied(Ledger(Book(policies=(*ON.policies, renamed)), w=out).ask(purpose="learn"), "opt_out_requested")
    asked = policy(
        regime("opt_in"),
        purposes=(purpose("learn", replaces=["train"]),),
        effective=400 * DAY,
        version="3",
        position=3,
    )
    consenting = workspace(choices=choosing(opt_in(300 * DAY)))
    denied(Ledger(Book(policies=(*ON.policies, asked)), w=consenting).ask(purpose="learn"), "opt_in_missing")


def test_given_an_opt_out_of_a_class_when_the_purpose_is_reworded_out_of_it_then_it_still_counts() -> None:
    reworded = policy(
        regime("opt_out"),
        purposes=(purpose(model_class="other"),),
        effective=400 * DAY,
        version="3",
        position=3,
    )
    selector = Selector(class_=PurposeClass(model_class="non_generative"))
    ledger = Ledger(
        Book(policies=(*ON.policies, reworded)), w=workspace(choices=choosing(opt_out(300 * DAY, selector)))
    )
    denied(ledger.ask(), "opt_out_requested")


@pytest.mark.parametrize(
    "change",
    [
        {"model_class": "generative"},
        {"reach": "workspace"},
        {"recipient": "third_party"},
        {"processing": "share"},
        {"categories": ["messages", "files", "calls"]},
    ],
)
def test_an_opt_in_holds_only_for_the_attributes_that_the_notice_showed(change: dict[str, Any]) -> None:
    other = policy(
        regime("opt_in"), purposes=(purpose(**change),), effective=400 * DAY, version="3", position=3
    )
    ledger = Ledger(
        Book(policies=(*CONSENT.policies, other)), w=workspace(choices=choosing(opt_in(300 * DAY)))
    )
    denied(ledger.ask(), "opt_in_missing", 3)


# -- the end of consent ----------------------------------------------------------------

ENDINGS = {
    "opt_in_withdrawn": {"ended": 500 * DAY, "ended_position": 40},
    "opt_in_refused": {"ended": 300 * DAY, "ended_position": 40, "refused": True},
    "opt_in_expired": {"expires": 500 * DAY},
}


@pytest.mark.parametrize("code", ENDINGS)
@pytest.mark.parametrize("name", ["opt_out", "opt_in", "required"])
def test_a_consent_that_ended_stands_as_opted_out_under_every_later_regime(code: str, name: str) -> None:
    book = Book(policies=(policy(regime(name)),))
    answer = Ledger(book, w=workspace(choices=choosing(opt_in(300 * DAY, **ENDINGS[code])))).ask()
    denied(answer, code)
    assert answer.standing == "opted_out"


@pytest.mark.parametrize("code", ENDINGS)
def test_a_new_opt_in_outdates_the_end_of_an_earlier_one(code: str) -> None:
    choices = choosing(opt_in(300 * DAY, **ENDINGS[code]), opt_in(600 * DAY, position=60))
    assert Ledger(ON, w=workspace(choices=choices)).ask().permit


def test_given_a_withdrawal_after_a_second_opt_in_then_deny_although_the_second_never_ended() -> None:
    first = opt_in(300 * DAY, ended=700 * DAY, ended_position=70)
    choices = choosing(first, opt_in(600 * DAY, position=60))
    denied(Ledger(ON, w=workspace(choices=choices)).ask(), "opt_in_withdrawn", 70)


def test_given_a_renewal_before_expiry_then_permit_after_it() -> None:
    choices = choosing(opt_in(300 * DAY, expires=700 * DAY), opt_in(600 * DAY, position=60))
    assert Ledger(CONSENT, w=workspace(choices=choices)).ask().permit


# -- windows ----------------------------------------------------------------


def test_given_an_opt_in_then_older_data_is_denied_unless_it_says_that_it_covers_it() -> None:
    later = Ledger(CONSENT, w=workspace(choices=choosing(opt_in(300 * DAY))))
    assert later.ask(collected=300 * DAY).permit
    denied(later.ask(collected=300 * DAY - 1), "collected_outside_windows")
    assert codes(later.ask(collected=300 * DAY - 1))[1] == "before_opt_in"
    covering = Ledger(CONSENT, w=workspace(choices=choosing(opt_in(300 * DAY, covers_before=True))))
    assert covering.ask(collected=300 * DAY - 1).permit


def test_given_consent_needed_from_now_on_then_data_from_the_days_of_default_on_needs_it_too() -> None:
    book = Book(
        policies=(*ON.policies, policy(regime("opt_in"), effective=400 * DAY, version="3", position=3))
    )
    ledger = Ledger(book, w=workspace(choices=choosing(opt_in(500 * DAY))))
    assert ledger.ask(collected=500 * DAY).permit
    assert codes(ledger.ask(collected=300 * DAY)) == ["collected_outside_windows", "before_opt_in"]


def test_consent_that_covers_earlier_data_never_reaches_into_a_time_of_objection() -> None:
    choices = choosing(opt_out(250 * DAY, ended=300 * DAY), opt_in(300 * DAY, covers_before=True))
    ledger = Ledger(CONSENT, w=workspace(choices=choices))
    assert ledger.ask(collected=240 * DAY).permit
    denied(ledger.ask(collected=260 * DAY), "collected_outside_windows")


def test_given_an_opt_out_withdrawn_then_data_collected_meanwhile_stays_out() -> None:
    ledger = Ledger(ON, w=workspace(choices=choosing(opt_out(300 * DAY, ended=400 * DAY))))
    answer = ledger.ask()
    assert answer.windows == ((200 * DAY, 300 * DAY), (400 * DAY, None))
    denied(ledger.ask(collected=350 * DAY), "collected_outside_windows")


def test_given_a_looser_policy_then_it_covers_only_data_collected_from_then_on() -> None:
    first = policy(regime("prohibited"), effective=100 * DAY, version="1", position=1)
    book = Book(policies=(first, policy(regime("opt_out"), effective=400 * DAY)))
    answer = Ledger(book, w=workspace()).ask()
    assert answer.permit and answer.windows == ((400 * DAY, None),)


def test_given_a_purpose_that_became_wider_then_data_promised_to_the_narrower_one_stays_out() -> None:
    wider = policy(
        regime("opt_out"),
        purposes=(purpose(model_class="generative"),),
        effective=400 * DAY,
        version="3",
        position=3,
    )
    ledger = Ledger(Book(policies=(*ON.policies, wider)), w=workspace())
    assert ledger.ask().windows == ((400 * DAY, None),)


def test_given_a_purpose_that_was_only_renamed_then_its_windows_go_on() -> None:
    renamed = policy(
        regime("opt_out"),
        purposes=(purpose("learn", replaces=["train"]),),
        effective=400 * DAY,
        version="3",
        position=3,
    )
    ledger = Ledger(Book(policies=(*ON.policies, renamed)), w=workspace())
    assert ledger.ask(purpose="learn").windows == ((200 * DAY, None),)


def test_given_a_downgrade_then_what_the_better_plan_excluded_stays_out() -> None:
    exclusion = Exclusion(selector=ALL, plans=["enterprise"])
    book = Book(policies=(policy(regime("opt_out"), exclusions=[exclusion]),))
    attributes = (
        attributes_from(200 * DAY, plan="enterprise"),
        attributes_from(500 * DAY, position=12, plan="free"),
    )
    answer = Ledger(book, w=workspace(attributes=attributes)).ask()
    assert answer.permit and answer.windows == ((500 * DAY, None),)


def test_given_leaving_an_opted_out_organisation_then_data_collected_in_it_stays_out() -> None:
    acme = {"acme": OrganisationFacts(5, choosing(opt_out(300 * DAY)))}
    attributes = (
        attributes_from(200 * DAY, organisation="acme"),
        attributes_from(500 * DAY, position=12),
    )
    answer = Ledger(ON, acme, w=workspace(attributes=attributes)).ask()
    assert answer.windows == ((500 * DAY, None),)


@pytest.mark.parametrize("between", ["prohibited", "opt_in"])
def test_given_a_stricter_policy_in_between_then_a_looser_one_gives_nothing_back(between: str) -> None:
    versions = (
        policy(regime("opt_out"), effective=100 * DAY, version="1", position=1),
        policy(regime(between), effective=400 * DAY, version="2", position=2),
        policy(regime("opt_out"), effective=600 * DAY, version="3", position=3),
    )
    answer = Ledger(Book(policies=versions), w=workspace()).ask()
    assert answer.windows == ((600 * DAY, None),)


def test_given_a_contract_under_an_opt_out_when_both_ended_then_what_came_before_stays_promised() -> None:
    exclusion = Exclusion(selector=ALL, contracts=["no-training"])
    attributes = (
        attributes_from(200 * DAY),
        attributes_from(300 * DAY, position=12, contract="no-training"),
        attributes_from(500 * DAY, position=14),
    )
    book = Book(policies=(policy(regime("opt_out"), exclusions=[exclusion]),))
    hidden = choosing(opt_out(250 * DAY, ended=600 * DAY))
    answer = Ledger(book, w=workspace(attributes=attributes, choices=hidden)).ask()
    assert answer.windows == ((600 * DAY, None),)


def test_given_a_contract_that_ran_out_then_what_came_before_it_was_promised_too() -> None:
    exclusion = Exclusion(selector=ALL, contracts=["no-training"])
    attributes = (
        attributes_from(200 * DAY),
        attributes_from(300 * DAY, position=12, contract="no-training"),
        attributes_from(500 * DAY, position=14),
    )
    book = Book(policies=(policy(regime("opt_out"), exclusions=[exclusion]),))
    assert Ledger(book, w=workspace(attributes=attributes)).ask().windows == ((500 * DAY, None),)


def test_given_no_collection_time_then_permit_only_if_the_whole_past_qualifies() -> None:
    assert Ledger(ON, w=workspace()).ask(collected=None).permit
    ledger = Ledger(ON, w=workspace(choices=choosing(opt_out(300 * DAY, ended=400 * DAY))))
    answer = ledger.ask(collected=None)
    denied(answer, "collected_unstated")
    assert answer.windows, "the caller is told what to pass"


@pytest.mark.parametrize(
    ("collected", "code"),
    [
        (200 * DAY - 1, "before_enrolment"),
        ((NOW, NOW - 1), "collected_backwards"),
        (NOW + AHEAD_MAX + 1, "collected_in_future"),
        ((0, NOW), "before_enrolment"),
    ],
)
def test_given_a_collection_time_that_cannot_be_then_deny(collected: Any, code: str) -> None:
    denied(Ledger(ON, w=workspace()).ask(collected=collected), code)


def test_given_a_collection_time_past_an_announced_change_then_deny() -> None:
    later = policy(regime("opt_out"), effective=NOW + 10, version="3", position=3)
    ledger = Ledger(Book(policies=(*ON.policies, later)), w=workspace())
    assert ledger.ask(collected=NOW + 9).permit
    denied(ledger.ask(collected=NOW + 10), "collected_beyond_ruling")


def test_given_a_range_then_all_of_it_must_qualify() -> None:
    ledger = Ledger(ON, w=workspace(choices=choosing(opt_out(300 * DAY, ended=400 * DAY))))
    assert ledger.ask(collected=(200 * DAY, 300 * DAY - 1)).permit
    denied(ledger.ask(collected=(200 * DAY, 300 * DAY)), "collected_outside_windows")
    denied(ledger.ask(collected=(299 * DAY, 401 * DAY)), "collected_outside_windows")


def test_given_a_customer_of_tomorrow_then_there_is_no_data_yet() -> None:
    ledger = Ledger(ON, w=workspace(since=NOW + 1))
    denied(ledger.ask(collected=None), "before_enrolment")


# -- categories ----------------------------------------------------------------


def test_all_named_categories_must_be_permitted_and_none_means_all_of_the_purpose() -> None:
    exclusion = Exclusion(selector=ALL, plans=["free"], categories=["files"])
    ledger = Ledger(Book(policies=(policy(regime("opt_out"), exclusions=[exclusion]),)), w=workspace())
    assert ledger.ask(categories=("messages",)).permit
    assert ledger.ask(categories=("messages.direct",)).permit
    denied(ledger.ask(categories=("messages", "files")), "excluded_by_plan")
    denied(ledger.ask(categories=("files.images",)), "excluded_by_plan")
    denied(ledger.ask(), "excluded_by_plan")
    denied(ledger.ask(categories=("calls",)), "category_not_in_purpose")


# -- several workspaces, succession ----------------------------------------------------------------


def test_given_several_workspaces_then_permit_only_if_all_permit() -> None:
    ledger = Ledger(ON, a=workspace(), b=workspace(choices=choosing(opt_out(NOW - DAY))))
    denied(ledger.ask("a", "b"), "opt_out_requested", 20)
    assert ledger.ask("a", "b").reasons[0].workspace == "b"
    denied(ledger.ask("a", "nobody"), "unknown_workspace")
    both = Ledger(ON, a=workspace(), b=workspace(since=300 * DAY)).ask("a", "b")
    assert both.permit and both.windows == ((300 * DAY, None),)


@pytest.mark.parametrize("direction", [("heir", "old"), ("old", "heir")])
def test_given_a_succession_then_for_data_from_before_a_denial_on_either_side_denies(
    direction: tuple[str, str],
) -> None:
    asked, objecting = direction
    objection = choosing(opt_out(250 * DAY))
    links = {
        "heir": Succession("old", True, 500 * DAY, 60),
        "old": Succession("heir", False, 500 * DAY, 61),
    }
    sides = {
        name: workspace(choices=objection if name == objecting else Choices(), successions=(links[name],))
        for name in links
    }
    ledger = Ledger(ON, **sides)
    assert ledger.ask(asked, collected=500 * DAY).permit
    answer = ledger.ask(asked, collected=500 * DAY - 1)
    denied(answer, "collected_outside_windows")
    assert answer.reasons[1] == ("opt_out_requested", 20, objecting)


def test_given_a_merger_then_the_closing_of_the_predecessor_does_not_deny_its_heir() -> None:
    old = workspace(closed=500 * DAY, closed_position=61, closed_by_succession=True)
    heir = workspace(since=400 * DAY, successions=(Succession("old", True, 500 * DAY, 60),))
    ledger = Ledger(ON, heir=heir, old=old)
    assert ledger.ask("heir", collected=450 * DAY).permit
    assert ledger.ask("heir", collected=250 * DAY).permit, "data that came with the predecessor"
    denied(ledger.ask("heir", collected=199 * DAY), "before_enrolment")
    denied(ledger.ask("old"), "workspace_closed")


def test_given_a_chain_and_a_circle_of_successions_then_every_link_counts_once() -> None:
    first = workspace(
        choices=choosing(opt_out(250 * DAY)), successions=(Succession("third", True, 210 * DAY, 62),)
    )
    second = workspace(since=300 * DAY, successions=(Succession("first", True, 300 * DAY, 60),))
    third = workspace(since=400 * DAY, successions=(Succession("second", True, 400 * DAY, 61),))
    ledger = Ledger(ON, first=first, second=second, third=third)
    assert ledger.ask("third").permit
    denied(ledger.ask("third", collected=260 * DAY), "collected_outside_windows")


def test_given_a_predecessor_that_is_missing_then_deny_data_from_before() -> None:
    ledger = Ledger(ON, w=workspace(successions=(Succession("gone", True, 500 * DAY, 60),)))
    assert ledger.ask().permit
    assert codes(ledger.ask(collected=300 * DAY))[1] == "unknown_workspace"


def test_given_a_pending_opt_out_that_still_permits_then_who_came_after_it_has_nothing_to_use() -> None:
    acme = OrganisationFacts(5, choosing(opt_out(300 * DAY, permit_until=NOW + DAY)))
    later = workspace(400 * DAY, attributes=(attributes_from(400 * DAY, organisation="acme"),))
    earlier = workspace(attributes=(attributes_from(200 * DAY, organisation="acme"),))
    ledger = Ledger(ON, {"acme": acme}, earlier=earlier, later=later)
    case = prepare(ON, "train", (), NOW)
    for name, facts in ledger.workspaces.items():
        shared = rule_class(case, acme, facts, NOW)
        member = for_member(shared, facts.position, facts.customer_since)
        assert member == rule(ledger, name, "train", (), NOW)
        assert member.permit is (name == "earlier")
