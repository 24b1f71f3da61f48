"""Random facts: books, choices, organisations and workspaces, at instants that a test can count through."""

from __future__ import annotations

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
)
from consent_domain.policy import REGIMES, Exclusion, PolicyRules, Rule
from consent_domain.purposes import Purpose, PurposeClass, Selector
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
        return WorkspaceFacts(kind, 10, since, (replace(attributes[0], position=10),))
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


organisations = choices().map(lambda chosen: OrganisationFacts(3, chosen))
questions = st.tuples(
    st.sampled_from((*KEYS, "nobody")), st.sampled_from(((), ("messages",), ("files",), ("calls",)))
)
