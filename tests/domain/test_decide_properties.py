"""What always holds of deciding, whatever the facts are."""

from __future__ import annotations

from typing import Any

from consent_domain.decide import Collected, decide, settle
from consent_domain.facts import (
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    WorkspaceFacts,
    pack,
    unpack_book,
    unpack_workspace,
)
from consent_domain.grounds import prepare
from consent_domain.purposes import Selector
from consent_domain.ruling import for_member, rule, rule_class
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from some_facts import NOW, books, choices, published, questions, selectors, workspaces


class Ledger:
    def __init__(self, book: Book, w: WorkspaceFacts, other: WorkspaceFacts | None, acme: OrganisationFacts):
        self.book, self.sides, self.acme = book, {"w": w, "other": other}, acme

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return self.sides.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        return self.acme if name == "acme" else None


ledgers = st.builds(
    Ledger,
    books(),
    workspaces(),
    st.none() | workspaces(),
    choices().map(lambda chosen: OrganisationFacts(3, chosen)),
)


def permitted(ledger: Any, question: tuple[str, tuple[str, ...]], at: int = NOW) -> set[int]:
    """The collection times, instant by instant, for which the use is permitted."""
    ruling = rule(ledger, "w", *question, at)
    return {when for when in range(at + 1) if settle(ruling, Collected(when, when), at).permit}


@settings(max_examples=150, deadline=None)
@given(ledgers, questions)
def test_the_windows_of_an_answer_are_exactly_what_is_permitted(
    ledger: Ledger, question: tuple[str, tuple[str, ...]]
) -> None:
    ruling = rule(ledger, "w", *question, NOW)
    within = {
        when
        for window in ruling.windows
        for when in range(max(window.start, 0), NOW + 1 if window.end is None else min(window.end, NOW + 1))
    }
    assert permitted(ledger, question) == (within if ruling.permit else set())


@settings(max_examples=150, deadline=None)
@given(ledgers, questions, selectors, st.integers(0, NOW), st.sampled_from((0, 1, 2)))
def test_an_objection_never_permits_anything_that_was_denied(
    ledger: Ledger,
    question: tuple[str, tuple[str, ...]],
    selector: Selector,
    since: int,
    breadth: int,
) -> None:
    before = permitted(ledger, question)
    facts = ledger.sides["w"]
    assert facts is not None
    objecting = replace(
        facts.choices, opt_outs=(*facts.choices.opt_outs, OptOut("n", selector, since, 91, breadth))
    )
    ledger.sides["w"] = replace(facts, choices=objecting)
    after = permitted(ledger, question)
    assert after <= before
    if breadth == 2 and (selector.all or question[0] in selector.keys):
        assert after == set()


@settings(max_examples=150, deadline=None)
@given(ledgers, questions, published())
def test_a_new_policy_never_permits_data_from_before_it_that_was_denied(
    ledger: Ledger, question: tuple[str, tuple[str, ...]], new: Published
) -> None:
    covering = any(one.covers_before for one in _all_opt_ins(ledger))
    new = replace(new, effective=NOW - 10, position=92)
    earlier = tuple(policy for policy in ledger.book.policies if policy.effective < NOW - 10)
    ledger.book = replace(ledger.book, policies=earlier)
    before = permitted(ledger, question, NOW - 11)
    ledger.book = replace(ledger.book, policies=(*earlier, new))
    after = {when for when in permitted(ledger, question) if when < NOW - 10}
    # What ran out or was withdrawn meanwhile can only shrink it further; consent may cover earlier data,
    # and an end that was known before may pass.
    if not covering and not _ends_pass(ledger):
        assert after <= before


def _all_opt_ins(ledger: Ledger) -> list[OptIn]:
    sides = [side.choices for side in ledger.sides.values() if side is not None]
    return [one for chosen in (*sides, ledger.acme.choices) for one in chosen.opt_ins]


def _ends_pass(ledger: Ledger) -> bool:
    sides = [side.choices for side in ledger.sides.values() if side is not None]
    ends = [one.ended for chosen in (*sides, ledger.acme.choices) for one in chosen.opt_outs]
    ends += [stop.ended for stop in ledger.book.suspensions]
    grants = [one.since for one in _all_opt_ins(ledger)]
    moves = [one.since for side in ledger.sides.values() if side is not None for one in side.attributes]
    return any(at is not None and at > NOW - 12 for at in (*ends, *grants, *moves))


@settings(max_examples=150, deadline=None)
@given(books(), workspaces(plain=True), choices(), questions)
def test_a_plain_workspace_decides_as_its_class_does(
    book: Book, facts: WorkspaceFacts, chosen: Choices, question: tuple[str, tuple[str, ...]]
) -> None:
    acme = OrganisationFacts(3, chosen)
    facts = replace(facts, attributes=(replace(facts.attributes[0], position=facts.position),))
    ledger = Ledger(book, facts, None, acme)
    case = prepare(book, *question, NOW)
    organisation = acme if facts.attributes[0].organisation else None
    shared = rule_class(case, organisation, facts, NOW)
    assert for_member(shared, facts.position, facts.customer_since) == rule(ledger, "w", *question, NOW)


@settings(max_examples=150, deadline=None)
@given(ledgers, questions, st.integers(0, NOW))
def test_a_ruling_holds_until_it_says(ledger: Ledger, question: tuple[str, tuple[str, ...]], at: int) -> None:
    ruling = rule(ledger, "w", *question, at)
    last = NOW if ruling.valid_until is None else ruling.valid_until - 1
    later = rule(ledger, "w", *question, max(at, last))
    assert later == ruling


@settings(max_examples=150, deadline=None)
@given(books(), workspaces())
def test_packed_facts_are_the_same_facts(book: Book, facts: WorkspaceFacts) -> None:
    assert unpack_book(pack(book)) == book
    assert unpack_workspace(pack(facts)) == facts
    assert pack(unpack_workspace(pack(facts))) == pack(facts)


@settings(max_examples=150, deadline=None)
@given(ledgers, questions, st.lists(st.sampled_from(("w", "other", "nobody", "", "a b")), max_size=4))
def test_several_workspaces_permit_only_if_each_permits(
    ledger: Ledger, question: tuple[str, tuple[str, ...]], names: list[str]
) -> None:
    collected = Collected(NOW, NOW)
    together = decide(ledger, names, *question, NOW, collected)
    each = [decide(ledger, [name], *question, NOW, collected).permit for name in names]
    assert together.permit == (bool(each) and all(each))
