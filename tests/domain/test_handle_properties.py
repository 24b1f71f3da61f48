"""What always holds of handling commands, whatever comes in whatever order."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from consent_domain import commands as say
from consent_domain.decide import Collected, decide
from consent_domain.envelope import decode
from consent_domain.errors import Refused
from consent_domain.events import Notice, Scope
from consent_domain.evolve import evolve
from consent_domain.facts import Book
from consent_domain.instants import DAY, micros
from consent_domain.policy import DIRECTIONS, REGIMES, DeadlineRule, Exclusion
from consent_domain.purposes import PurposeClass, Selector
from consent_domain.requests import Request
from consent_domain.state import BookState, fold, fold_book
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scenario import ALL, START, Ledger, at, policy, purpose, rule, rules


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values that are mostly right, so that histories get somewhere, and now and then wrong."""
    return st.integers(0, 15).flatmap(lambda dice: bad if dice == 15 else good)


names = mostly(st.sampled_from(("a", "b")), st.sampled_from(("c", "d", "a b", "")))
keys = mostly(st.sampled_from(("train", "learn", "serve")), st.sampled_from(("nothing", "a b")))
texts = mostly(st.just("because"), st.sampled_from(("", " ", 'a "quoted"\n\\ word', "ü", "x" * 3_000)))
words = mostly(st.sampled_from(("free", "pro")), st.sampled_from(("", "a\nb")))
people = st.sampled_from(("staff-1", "staff-2", ""))
near = st.integers(-5, 8).map(lambda days: at(START + days * DAY))
strange = st.sampled_from(
    (
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))),
        datetime(2026, 1, 1),
        datetime(2024, 10, 4, tzinfo=timezone(timedelta(hours=2))),
    )
)
times = mostly(near, strange)
instants = st.one_of(st.none(), st.none(), times)
applicants = st.builds(
    say.Applicant,
    role=mostly(st.sampled_from(("owner", "member")), st.just("")),
    authority=mostly(st.sampled_from(("verified", "plausible", "unverified")), st.just("certain")),
)
selectors = mostly(
    st.one_of(
        st.just(ALL),
        st.lists(keys, min_size=1, max_size=2).map(lambda named: Selector(keys=named)),
        st.just(Selector(class_=PurposeClass(processing="train"))),
    ),
    st.sampled_from((Selector(), Selector(class_=PurposeClass()))),
)
scopes = st.one_of(
    st.builds(Scope, kind=st.just("workspace"), id=names),
    st.builds(Scope, kind=st.just("workspace"), id=names),
    st.just(Scope(kind="organisation", id="c")),
    st.builds(Scope, kind=mostly(st.just("organisation"), st.just("channel")), id=names),
)
notices = st.builds(Notice, given_at=st.just(at(START)), channel=st.just("email"))


@st.composite
def policy_rules(draw: st.DrawFn) -> Any:
    defined = tuple(
        purpose(
            key,
            processing="serve" if key == "serve" else "train",
            reach=draw(st.sampled_from(("global", "workspace"))),
            replaces=draw(st.sampled_from(([], ["train"]))) if key == "learn" else [],
        )
        for key in draw(st.lists(st.sampled_from(("train", "learn", "serve")), min_size=1, unique=True))
    )
    regimes = st.sampled_from(REGIMES)
    ruled = [rule(draw(regimes), plans=["pro"]), rule(draw(regimes))]
    return rules(
        *ruled,
        purposes=defined,
        exclusions=draw(st.sampled_from(([], [Exclusion(selector=ALL, plans=["pro"])]))),
        deadlines=draw(st.sampled_from(([], [DeadlineRule(id="d", days=3, extension_days=2)]))),
        while_requested=draw(st.sampled_from(("", "permit"))),
        notice_days=draw(st.sampled_from((0, 0, 2))),
    )


policies = {
    "version": mostly(st.sampled_from(("1", "2", "3", "4")), st.just("a b")),
    "title": texts,
    "text_sha256": mostly(st.just("ab" * 32), st.just("ab")),
    "effective_at": times,
    "direction": st.sampled_from(("looser", "looser", *DIRECTIONS)),
    "why": st.just("because"),
    "rules": policy_rules(),
    "notice": st.one_of(st.none(), notices),
}
attributes = {
    "plan": words,
    "region": st.just("eu"),
    "contract": words,
    "organisation": st.sampled_from(("", "", "c")),
}
earlier = st.lists(
    st.builds(
        say.EarlierOptOut,
        selector=selectors,
        received_at=times,
        applicant=applicants,
        processed_at=instants,
    ),
    max_size=2,
)
spoken = {"occurred_at": st.one_of(st.none(), st.none(), instants), "on_behalf_of": words}
REQUEST = st.integers(0, 5).map(str)
"""A number that stands for one of the requests made so far."""

beginning = (
    st.builds(say.OpenLedger),
    st.builds(say.ImportPolicy, published_at=times, **policies),
    st.builds(say.ImportOrganisation, organisation=names, opt_outs=earlier),
    st.builds(say.ImportWorkspace, workspace=names, customer_since=times, opt_outs=earlier, **attributes),
    st.builds(say.RegisterOrganisation, organisation=names),
    st.builds(say.EnrolWorkspace, workspace=names, customer_since=instants, **attributes, **spoken),
)
request_opt_out = st.builds(
    say.RequestOptOut,
    scope=scopes,
    selector=selectors,
    applicant=applicants,
    received_at=instants,
    effective_at=instants,
    **spoken,
)
request_opt_in = st.builds(
    say.RequestOptIn,
    scope=scopes,
    keys=st.lists(keys, max_size=2),
    applicant=applicants,
    received_at=instants,
)
anything = st.one_of(
    st.one_of(*beginning),
    request_opt_out,
    request_opt_out,
    request_opt_out,
    request_opt_in,
    request_opt_in,
    st.builds(say.PublishPolicy, **policies),
    st.builds(
        say.ChangeWorkspace,
        workspace=names,
        effective_at=instants,
        plan=st.one_of(st.none(), words),
        organisation=st.sampled_from((None, "", "c")),
    ),
    st.builds(say.CloseWorkspace, workspace=names, reason=texts, effective_at=instants),
    st.builds(
        say.SucceedWorkspace,
        workspace=names,
        predecessor=names,
        kind=st.sampled_from(("merge", "split", "swallow")),
        effective_at=instants,
    ),
    st.builds(say.AcknowledgeOptOut, request=REQUEST, authority=st.sampled_from(("", "verified", "certain"))),
    st.builds(say.AskForAction, request=REQUEST, action=texts, reason=texts),
    st.builds(say.DelayOptOut, request=REQUEST, reason=texts),
    st.builds(say.ProcessOptOut, request=REQUEST, approved_by=people),
    st.builds(
        say.RejectOptOut,
        request=REQUEST,
        reason=st.sampled_from(("duplicate", "no_authority", "required_by_policy", "unfounded", "x")),
        approved_by=people,
    ),
    st.builds(say.WithdrawOptOut, request=REQUEST, applicant=applicants),
    st.builds(
        say.GrantOptIn,
        opt_in=REQUEST,
        applicant=applicants,
        notice=notices,
        effective_at=instants,
        expires_at=instants,
        covers_collected_before=st.booleans(),
    ),
    st.builds(say.RefuseOptIn, opt_in=REQUEST, applicant=applicants),
    st.builds(say.WithdrawOptIn, opt_in=REQUEST, applicant=applicants),
    st.builds(say.SuspendPurpose, purpose=keys, reason=texts),
    st.builds(say.ResumePurpose, purpose=keys, reason=texts),
)


WHO = (st.sampled_from(("staff-1", "staff-2")), st.sampled_from(("admin", "admin", "owner")))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, str, str]]:
    """Two workspaces, one with an organisation, under some policy, then anything; or anything at once."""
    what = draw(st.lists(st.tuples(anything, *WHO), min_size=draw(st.sampled_from((0, 10, 20))), max_size=30))
    if draw(st.integers(0, 9)) == 9:
        return what
    begun = [
        policy(
            effective=START + DAY // 4 + 1,
            rules=draw(policy_rules()),
            notice=Notice(given_at=at(START - 9 * DAY), channel="email"),
        ),
        say.RegisterOrganisation(organisation="c"),
        say.EnrolWorkspace(workspace="a", plan="free", region="eu"),
        say.EnrolWorkspace(workspace="b", plan=draw(words), region="eu", organisation="c"),
    ]
    return [*((command, "staff-1", "admin") for command in begun), *what]


# -- lives: everything is well formed, so that much of it is accepted ----------------------------------------

_EVERYBODY = [Selector(all=True), Selector(keys=["train"]), Selector(class_=PurposeClass(processing="train"))]
_BY = [say.Applicant(role="x", authority=word) for word in ("verified", "plausible", "unverified")]
_SCOPES = [
    Scope(kind="workspace", id="a"),
    Scope(kind="workspace", id="b"),
    Scope(kind="organisation", id="c"),
]
_NOTICE = Notice(given_at=at(START), channel="email")
_NUMBERS = ("0", "1", "2")
_LATER = at(START + 4 * DAY)


def _versions() -> list[Any]:
    """Versions of all directions; `played` gives each its number and time."""
    serve = purpose("serve", processing="serve")
    wider = (purpose(), purpose("learn", replaces=["train"]), serve)
    return [
        policy("1", direction=direction, rules=rules(*ruled, purposes=defined, **more))
        for direction in ("looser", "stricter")
        for ruled in ([rule("opt_out")], [rule("opt_in", "train"), rule("opt_out")], [rule("prohibited")])
        for defined in ((purpose(), serve), wider)
        for more in (
            {},
            {"while_requested": "permit"},
            {"exclusions": [Exclusion(selector=ALL, plans=["pro"])]},
        )
    ]


POOLS: list[list[Any]] = [
    [
        say.RequestOptOut(scope=scope, selector=selector, applicant=by, received_at=when)
        for scope in _SCOPES
        for selector in _EVERYBODY
        for by in _BY
        for when in (None, at(START))
    ],
    [
        say.RequestOptIn(scope=scope, keys=[key], applicant=_BY[0])
        for scope in _SCOPES
        for key in ("train", "serve")
    ],
    [
        say.GrantOptIn(
            opt_in=one, applicant=_BY[0], notice=_NOTICE, expires_at=end, covers_collected_before=all_
        )
        for one in _NUMBERS
        for end in (None, at(START + 5 * DAY))
        for all_ in (False, True)
    ],
    [say.RefuseOptIn(opt_in=one, applicant=_BY[0]) for one in _NUMBERS],
    [say.WithdrawOptIn(opt_in=one, applicant=_BY[1]) for one in _NUMBERS],
    [say.ProcessOptOut(request=one, approved_by="staff-3") for one in _NUMBERS],
    [say.AcknowledgeOptOut(request=one, authority=word) for one in _NUMBERS for word in ("", "verified")],
    [say.DelayOptOut(request=one, reason="busy") for one in _NUMBERS],
    [
        say.RejectOptOut(request=one, reason=reason, approved_by="staff-3")
        for one in _NUMBERS
        for reason in ("unfounded", "duplicate", "no_authority")
    ],
    [say.WithdrawOptOut(request=one, applicant=_BY[0]) for one in _NUMBERS],
    [
        say.ChangeWorkspace(workspace=name, plan=plan, organisation=organisation, effective_at=when)
        for name in ("a", "b")
        for plan in ("free", "pro")
        for organisation in (None, "", "c")
        for when in (None, None, _LATER, at(START + DAY))
    ],
    [say.SuspendPurpose(purpose="train", reason="stop"), say.ResumePurpose(purpose="train", reason="go")],
    _versions(),
    [
        say.SucceedWorkspace(workspace="a", predecessor="b", kind="clone"),
        say.SucceedWorkspace(workspace="b", predecessor="a", kind="merge"),
        say.CloseWorkspace(workspace="a", reason="left"),
    ],
]


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[Any, str, str]]:
    """Two workspaces, one with an organisation, under a policy; then what may happen to them."""
    begun = [
        draw(st.sampled_from(POOLS[-2][:12])),
        say.RegisterOrganisation(organisation="c"),
        say.EnrolWorkspace(workspace="a", plan="free", region="eu"),
        say.EnrolWorkspace(workspace="b", plan="pro", region="eu", organisation="c"),
    ]
    what = st.tuples(st.sampled_from(POOLS).flatmap(st.sampled_from), *WHO)
    return [*((command, "staff-1", "admin") for command in begun), *draw(st.lists(what, max_size=40))]


def played(history: list[tuple[Any, str, str]], every: Any = None) -> Ledger:
    """The ledger after a history; whatever is refused left nothing behind."""
    ledger = Ledger()
    requests: dict[str, list[str]] = {"request": [], "opt_in": []}
    for number, (command, by, role) in enumerate(history):
        ledger.wait(DAY // 4)
        if any(command is version for version in POOLS[-2]):
            soon = ledger.now + 1 + (number % 3) * DAY
            command = replace(command, version=f"v{number}", effective_at=at(soon))
        for member, known in requests.items():
            named = getattr(command, member, None)
            if named is not None and known:
                command = replace(command, **{member: known[-1 - int(named) % len(known)]})
        length = len(ledger.log)
        try:
            bodies = ledger.when(command, by=by, role=role)
        except Refused as refusal:
            assert refusal.detail
            assert len(ledger.log) == length
            continue
        assert bodies, "what is accepted is recorded"
        if isinstance(command, say.RequestOptOut | say.RequestOptIn):
            requests["request" if isinstance(command, say.RequestOptOut) else "opt_in"].append(
                ledger.request()
            )
        if every is not None:
            every(ledger, command, role)
    return ledger


@settings(max_examples=150, deadline=None)
@given(st.one_of(histories(), lives(), lives()))
def test_whatever_commands_come_nothing_but_refused_is_raised_and_every_event_reads_and_folds(
    history: list[tuple[Any, str, str]],
):
    ledger = played(history)
    everybody, streams = BookState(), {}
    facts: dict[str, Any] = {}
    for stored in ledger.log:
        event = decode(stored)
        home = "book" if event.stream.startswith(("policy/", "purpose/", "log/")) else event.stream
        facts[home] = evolve(facts.get(home), event)
        if home == "book":
            everybody = fold_book(everybody, event)
        else:
            streams[home] = fold(streams.get(home), event)
    assert everybody == ledger.everybody
    assert streams == ledger.streams
    assert everybody.book == facts.get("book", Book())
    assert {name: state.facts for name, state in streams.items()} == {
        name: found for name, found in facts.items() if name != "book"
    }
    assert everybody.position <= len(ledger.log)


def _denies_at_once(ledger: Ledger, command: Any, role: str) -> None:
    proven = role == "owner" or getattr(getattr(command, "applicant", None), "authority", "") == "verified"
    everything = isinstance(command, say.RequestOptOut) and command.selector.all and proven
    lenient = bool(ledger.answer.get("dueAt")) and ledger.answer.get("deniedSince") is None
    if not ((everything and not lenient) or isinstance(command, say.CloseWorkspace)):
        return
    name = command.workspace if isinstance(command, say.CloseWorkspace) else command.scope.id
    if isinstance(command, say.RequestOptOut) and command.scope.kind != "workspace":
        return
    for key in ("train", "learn", "serve"):
        assert not ledger.decide(name, key).permit


@settings(max_examples=300, deadline=None)
@given(lives())
def test_whatever_came_before_a_proven_objection_to_everything_or_a_closing_denies_at_once(
    history: list[tuple[Any, str, str]],
):
    played(history, _denies_at_once)


@settings(max_examples=300, deadline=None)
@given(lives())
def test_whatever_comes_nothing_permits_data_of_before_that_was_denied_but_consent_that_says_so(
    history: list[tuple[Any, str, str]],
):
    """Data of an instant that is denied now and was never permitted before stays denied."""
    denied: dict[tuple[str, str, int], None] = {}

    def stays(ledger: Ledger, command: Any, _: str) -> None:
        if isinstance(command, say.GrantOptIn) and command.covers_collected_before:
            denied.clear()
        if ledger.book.opened == 0:
            return
        for name, key, collected in denied:
            when = Collected(collected, collected)
            decision = decide(ledger, [name], key, (), ledger.now, when)
            assert not decision.permit, (name, key, collected, command)
        for name in ("a", "b"):
            for key in ("train", "serve"):
                if ledger.workspace(name) and not ledger.decide(name, key).permit:
                    denied[name, key, ledger.now] = None

    played(history, stays)


@settings(max_examples=200, deadline=None)
@given(lives())
def test_whatever_comes_a_request_that_ended_stays_ended_and_open_ones_say_so(
    history: list[tuple[Any, str, str]],
):
    ended: dict[str, Request] = {}

    def stays(ledger: Ledger, _: Any, __: str) -> None:
        for state in ledger.streams.values():
            for request in state.requests.values():
                before = ended.get(request.id)
                if before is not None:
                    assert request == before
                elif request.state in ("rejected", "refused", "withdrawn"):
                    assert not request.is_open
                    ended[request.id] = request
                assert request.first_position <= request.last_position <= state.position
                assert request.processed_at is None or request.processed_at <= ledger.now
                assert micros(at(request.received_at)) <= ledger.now

    played(history, stays)
