"""Given any history, when asked what it ever permitted, then it is what `decide` says at every instant."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.commands import (
    CloseWorkspace,
    GrantOptIn,
    ResumePurpose,
    SuspendPurpose,
    WithdrawOptIn,
    WithdrawOptOut,
)
from consent_domain.decide import Collected, decide
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError
from consent_domain.events import Notice
from consent_domain.ever import CHANGES_MAX, Ever, Evidence, ever, evidence_of, is_default_of, sentence
from consent_domain.facts import Book, Choices, OptIn, OrganisationFacts, WorkspaceFacts
from consent_domain.instants import DAY, SECOND, rfc3339
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario import OWNER, Ledger, at, enrolled, opt_in, opt_out, policy, rule, rules
from some_facts import KEYS, NOW, books, organisations, workspaces


class Facts:
    def __init__(self, book: Book, w: WorkspaceFacts, other: WorkspaceFacts | None, acme: OrganisationFacts):
        self.book, self.sides, self.acme = book, {"w": w, "other": other}, acme

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return self.sides.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        return self.acme if name == "acme" else None


some_facts = st.builds(Facts, books(), workspaces(), st.none() | workspaces(), organisations)


def decided(facts: Any, purpose: str, instant: int) -> tuple[bool, str, tuple[object, ...]]:
    found = decide(facts, ("w",), purpose, (), instant, Collected(instant, instant))
    return found.permit, found.standing, found.reasons


@settings(max_examples=200, deadline=None)
@given(some_facts, st.sampled_from((*KEYS, "nobody")), st.integers(0, NOW))
def test_the_periods_are_exactly_what_is_decided_at_every_instant(
    facts: Facts, purpose: str, now: int
) -> None:
    found = ever(facts, "w", purpose, now)
    for instant in range(now + 1):
        within = [
            one
            for one in found.periods
            if one.since <= instant and (one.until is None or instant < one.until)
        ]
        permit, standing, reasons = decided(facts, purpose, instant)
        assert [(one.standing, one.reasons) for one in within] == ([(standing, reasons)] if permit else [])


@settings(max_examples=200, deadline=None)
@given(some_facts, st.sampled_from(KEYS), st.integers(0, NOW))
def test_what_ended_a_period_is_what_is_decided_right_after_it(facts: Facts, purpose: str, now: int) -> None:
    found = ever(facts, "w", purpose, now)
    for one in found.periods:
        assert (one.until is None) == (one.followed_by == ())
        if one.until is not None:
            assert one.since < one.until <= now
            assert decided(facts, purpose, one.until)[2] == one.followed_by
    assert found.opted_in <= bool(found.consents)


# -- stories -------------------------------------------------------------------------------------------------

SHOWN = Notice(given_at=at(0), channel="console", text_sha256="cd" * 32)


def asked(ledger: Ledger) -> tuple[Ever, dict[int, Evidence]]:
    found = ever(ledger, "acme", "train", ledger.now)
    return found, {position: evidence_of(decode(ledger.log[position - 1])) for position in found.positions}


def opted_in() -> Ledger:
    """Acme opted in under a policy that asks, withdrew a day later, and another day passed."""
    ledger = enrolled(rules=rules(rule("opt_in")))
    ledger.given(opt_in())
    given_ = ledger.request()
    ledger.given(GrantOptIn(opt_in=given_, applicant=OWNER, notice=SHOWN))
    ledger.wait(DAY)
    ledger.given(WithdrawOptIn(opt_in=given_, applicant=OWNER))
    ledger.wait(DAY)
    return ledger


def test_given_an_opt_in_that_was_withdrawn_then_it_says_by_whom_under_which_words_and_what_ended_it() -> (
    None
):
    ledger = opted_in()
    found, evidence = asked(ledger)
    (period,) = found.periods
    grant, end = period.reasons[0].position, period.followed_by[0].position
    assert (found.opted_in, found.defaulted_on, period.standing) == (True, False, "opted_in")
    assert (evidence[grant].type, evidence[end].type) == ("opt-in-granted.v1", "opt-in-withdrawn.v1")
    assert (evidence[grant].role, evidence[grant].authority) == ("owner", "verified")
    assert evidence[grant].principal == "staff-1" and evidence[grant].text_sha256 == "cd" * 32
    (consent,) = found.consents
    assert (consent.position, consent.ended_position) == (grant, end)
    said = sentence(found, "acme", "train", evidence)
    assert said.startswith(f"Yes: acme was opted in to train from {rfc3339(period.since)[:19]}Z to ")
    assert f"by owner (verified; event {grant}), under the notice cdcdcdcdcdcd…" in said


def test_given_a_default_when_told_then_it_is_never_called_an_opt_in() -> None:
    ledger = enrolled()
    ledger.wait(DAY)
    found, evidence = asked(ledger)
    (period,) = found.periods
    assert (found.opted_in, found.defaulted_on, found.consents) == (False, True, ())
    assert evidence[period.reasons[0].position].policy_version == "1"
    assert any(is_default_of(decode(stored), "train") for stored in ledger.log)
    said = sentence(found, "acme", "train", evidence)
    assert said.startswith("No: acme was never opted in to train; it was on by default from ")
    assert "until now under version 1: nobody was asked." in said


def test_given_an_opt_out_that_was_taken_back_then_there_are_two_periods_and_what_lay_between() -> None:
    ledger = enrolled()
    ledger.wait(DAY)
    ledger.given(opt_out())
    request = ledger.request()
    ledger.wait(DAY)
    ledger.given(WithdrawOptOut(request=request, applicant=OWNER))
    ledger.wait(DAY)
    found, evidence = asked(ledger)
    first, second = found.periods
    assert first.until is not None and first.until < second.since and second.until is None
    assert evidence[first.followed_by[0].position].type == "opt-out-requested.v1"
    assert "2 times" in sentence(found, "acme", "train", evidence)


def test_given_a_consent_under_a_stop_for_everybody_then_it_is_told_and_was_never_what_permitted() -> None:
    ledger = enrolled(rules=rules(rule("opt_in")))
    ledger.given(SuspendPurpose(purpose="train", reason="regulator"), opt_in())
    given_ = ledger.request()
    ledger.given(GrantOptIn(opt_in=given_, applicant=OWNER, notice=SHOWN))
    ledger.wait(DAY)
    ledger.given(WithdrawOptIn(opt_in=given_, applicant=OWNER))
    ledger.when(ResumePurpose(purpose="train", reason="over"), by="staff-1")
    ledger.when(ResumePurpose(purpose="train", reason="over"), by="staff-2")
    ledger.wait(DAY)
    found, evidence = asked(ledger)
    assert (found.periods, found.opted_in, len(found.consents)) == ((), False, 1)
    said = sentence(found, "acme", "train", evidence)
    assert said.startswith("No: an opt-in of acme to train was granted") and "nothing was ever" in said


def test_given_a_second_version_then_each_period_names_the_words_it_was_under() -> None:
    ledger = enrolled()
    ledger.wait(DAY)
    ledger.given(policy("2", ledger.now + SECOND, direction="editorial", why="clearer"))
    ledger.wait(DAY)
    ledger.given(CloseWorkspace(workspace="acme", reason="left"))
    found, evidence = asked(ledger)
    assert [one.policy_version for one in found.periods] == ["1", "2"]
    assert [evidence[one.reasons[0].position].policy_version for one in found.periods] == ["1", "2"]
    assert found.periods[1].followed_by[0].code == "workspace_closed"


@pytest.mark.parametrize("name", ["nobody", "", "a b"])
def test_given_a_workspace_that_is_not_there_then_nothing_was_ever_permitted(name: str) -> None:
    ledger = enrolled()
    found = ever(ledger, name, "train", ledger.now)
    assert found.periods == () and found.consents == () and found.positions == set()


def test_given_more_choices_than_can_be_looked_through_when_asked_then_it_is_refused_at_once() -> None:
    choices = Choices(opt_ins=tuple(OptIn(str(n), (), (), n, n) for n in range(CHANGES_MAX + 1)))
    facts = Facts(Book(), WorkspaceFacts("production", 1, 0, (), choices=choices), None, OrganisationFacts(1))
    with pytest.raises(ConsentError, match="asOf") as refused:
        ever(facts, "w", "train.global", NOW)
    assert refused.value.code == "too_large"
