"""What always holds of deciding, whatever the facts are."""

from __future__ import annotations

from typing import Any

from consent_domain.decide import Collected, decide, settle
from consent_domain.facts import (
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
    pack,
    unpack_book,
    unpack_workspace,
)
from consent_domain.grounds import prepare
from consent_domain.policy import REGIMES, Exclusion, PolicyRules, Rule
from consent_domain.purposes import Purpose, PurposeClass, Selector
from consent_domain.ruling import for_member, rule, rule_class
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

NOW = 100
KEYS = ("train", "learn", "serve")
PLANS = ("free", "pro")

instants = st.integers(0, NOW + 10)
positions = st.integers(1, 90)
selectors = st.one_of(
    st.just(Selector(all=True)),
    st.sampled_from(KEYS).map(lambda key: Selector(keys=[key])),
    st.sampled_from(("train", "serve")).map(lambda what: Selector(class_=PurposeClass(processing=what))),
)


@st.composite
def purposes(draw: st.DrawFn) -> list[Purpose]:
    return [
        Purpose(
            key=key,
            processing=draw(st.sampled_from(("train", "serve"))),
            reach=draw(st.sampled_from(("global", "workspace"))),
            model_class=draw(st.sampled_from(("generative", "non_generative"))),
            recipient="first_party",
            categories=draw(st.sampled_from((["messages"], ["messages", "files"]))),
            legal_basis="legitimate_interest",
            justification="because",
            replaces=draw(st.sampled_from(([], ["train"]))) if key == "learn" else [],
        )
        for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    ]


@st.composite
def published(draw: st.DrawFn) -> Published:
    rules = [
        Rule(
            selector=draw(selectors),
            regime=draw(st.sampled_from(REGIMES)),
            plans=draw(st.sampled_from(([], ["pro"]))),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    exclusions = [Exclusion(selector=Selector(all=True), plans=["pro"], categories=["files"])]
    return Published(
        "v",
        draw(positions),
        draw(instants),
        "looser",
        PolicyRules(
            purposes=draw(purposes()), rules=rules, exclusions=exclusions if draw(st.booleans()) else []
        ),
    )


@st.composite
def books(draw: st.DrawFn) -> Book:
    policies = sorted(draw(st.lists(published(), max_size=3)), key=lambda one: (one.effective, one.position))
    stops = [
        Suspension(draw(st.sampled_from(KEYS)), since, draw(positions), draw(st.none() | st.just(since + 5)))
        for since in draw(st.lists(instants, max_size=1))
    ]
    return Book(tuple(policies), tuple(stops))


@st.composite
def choices(draw: st.DrawFn) -> Choices:
    opt_outs = [
        OptOut(
            "r",
            draw(selectors),
            since,
            draw(positions),
            draw(st.integers(0, 2)),
            draw(st.booleans()),
            draw(st.none() | st.just(since + 7)),
            False,
            draw(st.none() | st.just(since + 9)),
        )
        for since in draw(st.lists(instants, max_size=2))
    ]
    opt_ins = [_opt_in(draw, since) for since in draw(st.lists(instants, max_size=2))]
    return Choices(tuple(opt_outs), tuple(opt_ins))


def _opt_in(draw: st.DrawFn, since: int) -> OptIn:
    shown = tuple(draw(purposes()))
    ended = draw(st.none() | st.just(since + 4))
    return OptIn(
        "i",
        shown,
        tuple(one.key for one in shown),
        since,
        draw(positions),
        draw(st.none() | st.just(since + 8)),
        draw(st.booleans()),
        ended,
        0 if ended is None else draw(positions),
        False,
    )


@st.composite
def workspaces(draw: st.DrawFn, plain: bool = False) -> WorkspaceFacts:
    since = draw(st.integers(0, NOW))
    attributes = [
        Attributes(
            at, draw(positions), draw(st.sampled_from(PLANS)), "eu", "", draw(st.sampled_from(("", "acme")))
        )
        for at in sorted([since, *([] if plain else draw(st.lists(st.integers(since, NOW + 5), max_size=2)))])
    ]
    kind = draw(st.sampled_from(("production", "sandbox")))
    if plain:
        return WorkspaceFacts(kind, 10, since, tuple(attributes))
    links = [Succession("other", draw(st.booleans()), at, 5) for at in draw(st.lists(instants, max_size=1))]
    return WorkspaceFacts(
        kind,
        10,
        since,
        tuple(attributes),
        draw(choices()),
        draw(st.none() | instants),
        successions=tuple(links),
    )


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
questions = st.tuples(
    st.sampled_from((*KEYS, "nobody")), st.sampled_from(((), ("messages",), ("files",), ("calls",)))
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
