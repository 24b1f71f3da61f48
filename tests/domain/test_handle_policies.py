"""Publishing policies: given what is in force, when a version comes, then events or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.events import DefaultOn, PolicyPublished
from consent_domain.instants import DAY
from consent_domain.policy import DeadlineRule, Exclusion, PolicyRules, Rule
from consent_domain.purposes import PurposeClass, Selector
from msgspec.structs import replace
from scenario import (
    ALL,
    START,
    at,
    enrolled,
    notice,
    opened,
    policy,
    purpose,
    rule,
    rules,
    workspace,
)

WIDER = rules(purposes=(purpose(), purpose("share", recipient="third_party")))


def test_given_nothing_when_a_policy_is_published_then_what_it_turns_on_is_said_with_its_position():
    published, on = opened().when(policy())
    assert isinstance(published, PolicyPublished)
    assert isinstance(on, DefaultOn)
    assert (on.purposes, on.policy_version, on.policy_position) == (["train"], "1", "2")


def test_given_a_ledger_never_opened_when_a_policy_opens_it_then_its_position_is_the_one_behind():
    from scenario import Ledger

    _, _, on = Ledger().when(policy())
    assert on.policy_position == "2"  # type: ignore[attr-defined]


def test_given_a_policy_when_a_wider_one_follows_then_only_what_is_new_is_said_to_be_on():
    ledger = enrolled()
    _, on = ledger.when(policy("2", ledger.now + DAY, rules=WIDER))
    assert on.purposes == ["share"]  # type: ignore[attr-defined]
    assert not ledger.decide(purpose="share").permit
    ledger.wait(2 * DAY)
    assert ledger.decide(purpose="share").permit
    assert not ledger.decide(purpose="share", collected=ledger.now - 2 * DAY).permit


def test_given_a_policy_when_only_words_change_then_an_editorial_version_is_taken():
    ledger = enrolled()
    reworded = rules(purposes=(purpose(justification="to find what you look for"),))
    assert len(ledger.when(policy("2", ledger.now + 9, direction="editorial", rules=reworded))) == 1


def test_given_a_policy_when_an_editorial_version_changes_anything_then_it_is_refused_with_the_difference():
    ledger = enrolled()
    narrower = rules(purposes=(purpose(model_class="generative"),))
    refusal = ledger.refused(
        policy("2", ledger.now + 9, direction="editorial", rules=narrower), "not_editorial"
    )
    assert refusal.extra == {
        "differences": ["purpose train: model_class was non_generative, becomes generative"]
    }
    opened().refused(policy(direction="editorial"), "not_editorial")


def test_given_a_policy_when_a_stricter_version_widens_anything_then_it_is_refused():
    ledger = enrolled()
    refusal = ledger.refused(
        policy("2", ledger.now + 9, direction="stricter", rules=WIDER), "wrong_direction"
    )
    assert refusal.extra == {"widenings": ["purpose share: new and on by default"]}


def test_given_a_policy_when_a_stricter_version_is_backdated_then_it_counts_from_then():
    ledger = enrolled()
    since = ledger.now
    ledger.wait(DAY)
    ledger.when(policy("2", since, direction="stricter", rules=rules(rule("prohibited"))))
    assert not ledger.decide().permit


def test_given_a_policy_when_a_stricter_version_is_announced_then_it_counts_later():
    ledger = enrolled()
    ledger.when(policy("2", ledger.now + DAY, direction="stricter", rules=rules(rule("prohibited"))))
    assert ledger.decide().permit
    ledger.wait(2 * DAY)
    assert not ledger.decide().permit


@pytest.mark.parametrize("direction", ["looser", "editorial"])
def test_given_a_policy_when_a_version_that_is_not_stricter_is_backdated_then_it_is_refused(direction: str):
    ledger = enrolled()
    ledger.refused(policy("2", ledger.now - 1, direction=direction), "backdated")


def test_given_a_policy_when_a_backdated_stricter_version_also_offers_an_opt_in_then_it_is_refused():
    ledger = enrolled(rules=rules(rule("prohibited", "share"), rule("opt_out"), purposes=WIDER_PURPOSES))
    offering = rules(rule("opt_in", "share"), rule("prohibited"), purposes=WIDER_PURPOSES)
    ledger.refused(policy("2", ledger.now - 1, direction="stricter", rules=offering), "backdated")
    assert ledger.when(policy("2", ledger.now + 2, direction="stricter", rules=offering))


WIDER_PURPOSES = (purpose(), purpose("share", recipient="third_party"))


def test_given_policies_when_a_version_is_repeated_or_out_of_order_then_it_is_refused():
    ledger = enrolled()
    ledger.refused(policy("1", ledger.now + DAY), "already_exists")
    ledger.given(policy("2", ledger.now + 9 * DAY))
    ledger.refused(policy("3", ledger.now + DAY), "policy_out_of_order")
    ledger.refused(policy("3", ledger.now + DAY, direction="stricter"), "policy_out_of_order")
    ledger.refused(policy("3", ledger.now + 99 * DAY, policy="terms"), "invalid_value")


# -- notice --------------------------------------------------------------------------------------------------

NOTICED = rules(notice_days=30)


@pytest.mark.parametrize(
    ("given", "effective", "code"),
    [
        (None, START + 40 * DAY, "notice_too_short"),
        (START, START + 30 * DAY - 1, "notice_too_short"),
        (START, START + 30 * DAY, ""),
        (START + DAY, START + 40 * DAY, "postdated"),
    ],
)
def test_given_a_notice_period_when_something_is_turned_on_then_notice_must_have_been_given(
    given: int | None, effective: int, code: str
):
    command = policy("1", effective, rules=NOTICED, notice=None if given is None else notice(given))
    if code:
        opened().refused(command, code)
    else:
        _, on = opened().when(command)
        assert on.notice == notice(START)  # type: ignore[attr-defined]


def test_given_a_notice_period_when_a_wider_version_drops_it_then_the_old_one_still_counts():
    ledger = opened().given(policy("1", START + 30 * DAY, rules=NOTICED, notice=notice(START)))
    refusal = ledger.refused(policy("2", START + 31 * DAY, rules=WIDER), "notice_too_short")
    assert refusal.extra["noticeDays"] == 30


def test_given_a_notice_period_when_nothing_is_turned_on_then_no_notice_is_needed():
    taking_consent = rules(rule("opt_in"), notice_days=30)
    assert len(opened().when(policy(rules=taking_consent))) == 1


# -- rules for machines --------------------------------------------------------------------------------------


def with_purpose(**changes: Any) -> PolicyRules:
    return rules(purposes=(purpose(**changes),))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (rules(purposes=(purpose(), purpose())), "invalid_value"),
        (with_purpose(key="a b"), "invalid_id"),
        (with_purpose(categories=[]), "invalid_value"),
        (with_purpose(categories=["a", "a"]), "invalid_value"),
        (with_purpose(categories=["a b"]), "invalid_id"),
        (with_purpose(processing=""), "invalid_value"),
        (with_purpose(replaces=["train"]), "invalid_value"),
        (rules(rule("opt_in_or_out")), "invalid_value"),
        (rules(Rule(selector=Selector(), regime="opt_out")), "invalid_value"),
        (rules(Rule(selector=Selector(class_=PurposeClass()), regime="opt_out")), "invalid_value"),
        (rules(rule("prohibited", "trian"), rule("opt_out")), "invalid_value"),
        (rules(exclusions=[Exclusion(selector=ALL)]), "invalid_value"),
        (rules(exclusions=[Exclusion(selector=ALL, plans=["a"], contracts=["b"])]), "invalid_value"),
        (rules(deadlines=[DeadlineRule(id="a", days=-1)]), "invalid_value"),
        (rules(deadlines=[DeadlineRule(id="a", days=10**9)]), "invalid_value"),
        (rules(deadlines=[DeadlineRule(id="a", days=1, extension_days=10**9)]), "invalid_value"),
        (rules(deadlines=[DeadlineRule(id="a", days=1), DeadlineRule(id="a", days=2)]), "invalid_value"),
        (rules(rejection_reasons=["a", "a"]), "invalid_value"),
        (rules(notice_days=-1), "invalid_value"),
        (rules(while_requested="maybe"), "invalid_value"),
        (
            rules(
                rule("opt_out", plans=[f"p{n}" for n in range(200)], regions=[f"r{n}" for n in range(200)])
            ),
            "invalid_value",
        ),
    ],
)
def test_given_malformed_rules_when_they_are_published_then_they_are_refused(wrong: PolicyRules, code: str):
    opened().refused(policy(rules=wrong), code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"direction": "sideways"}, "invalid_value"),
        ({"version": ""}, "invalid_id"),
        ({"version": "a/b"}, "invalid_id"),
        ({"policy": "a/b"}, "invalid_id"),
        ({"title": ""}, "invalid_value"),
        ({"why": " "}, "invalid_value"),
        ({"text_sha256": "AB" * 32}, "invalid_value"),
        ({"effective_at": at(START).replace(tzinfo=None)}, "invalid_time"),
        ({"effective_at": at(START).replace(year=9500)}, "invalid_time"),
        ({"effective_at": at(START).replace(year=1900)}, "invalid_time"),
    ],
)
def test_given_a_malformed_version_when_it_is_published_then_it_is_refused(
    changes: dict[str, Any], code: str
):
    opened().refused(replace(policy(), **changes), code)


def test_given_words_unknown_here_when_they_describe_a_purpose_then_they_are_taken():
    words = with_purpose(
        processing="dream", reach="galaxy", model_class="oracle", recipient="oracle", key="a.b.c"
    )
    ledger = opened().given(policy(rules=words))
    ledger.wait(DAY)
    ledger.given(workspace())
    assert ledger.decide(purpose="a.b.c").permit
