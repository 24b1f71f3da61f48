"""A policy simulated by classes and shapes: the counts are those of deciding everybody one by one."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from consent_domain.decide import Collected, settle
from consent_domain.errors import ConsentError
from consent_domain.facts import (
    BOOK_ID,
    Attributes,
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    WorkspaceFacts,
    pack,
)
from consent_domain.feed import Row
from consent_domain.policy import Exclusion, PolicyRules
from consent_domain.purposes import Selector
from consent_domain.ruling import Ruling, Snapshot, rule
from consent_gate.commands.changed_list import changed_list
from consent_gate.replica import Replica
from consent_gate.simulation.census import Census, Group
from consent_gate.simulation.changes import (
    NARROWED,
    NEWLY_DENIED,
    NEWLY_PERMITTED,
    UNCHANGED,
    WIDENED,
    Comparison,
    Outcome,
    Outcomes,
)
from consent_gate.simulation.questions import Question, questions
from consent_gate.simulation.report import report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scenario import ALL, ORIGIN, purpose
from scenario import rule as policy_rule
from scenario import rules as policy_rules
from some_facts import NOW, books, organisations, published, workspaces

_NAMES = ("acme", "other", "w0", "w1", "w2", "w3", "w4", "w5")


class Facts:
    """A snapshot of made-up facts, under one of two books."""

    def __init__(
        self,
        book: Book,
        named: Mapping[str, WorkspaceFacts],
        organisations: Mapping[str, OrganisationFacts],
    ) -> None:
        self.book = book
        self.named = named
        self.organisations = organisations

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return self.named.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        return self.organisations.get(name)


def with_policy(book: Book, one: Published) -> Book:
    """The book with a version more, in force last."""
    ordered = sorted((*book.policies, one), key=lambda policy: (policy.effective, policy.position))
    return replace(book, policies=tuple(ordered))


def one_by_one(before: Snapshot, after: Snapshot, name: str, question: Question, at: int) -> Outcome:
    """The outcome by what is decided for each collection time, asked for each."""
    was, becomes = (rule(facts, name, question.purpose, question.categories, at) for facts in (before, after))
    permitted, then = (
        {instant for instant in range(at + 1) if settle(ruling, Collected(instant, instant), at).permit}
        for ruling in (was, becomes)
    )
    if then - permitted:
        change = WIDENED if permitted else NEWLY_PERMITTED
    elif permitted - then:
        change = NARROWED if then else NEWLY_DENIED
    else:
        change = UNCHANGED
    return Outcome(change, bool(permitted), bool(then), code(was, permitted, at), code(becomes, then, at))


def code(ruling: Ruling, permitted: set[int], at: int) -> str:
    """Why something is permitted, or why what is collected now is not."""
    if permitted or not ruling.permit:
        return ruling.reasons[0].code
    decision = settle(ruling, Collected(at, at), at)
    return decision.reasons[-1].code


@st.composite
def simulations(draw: st.DrawFn) -> tuple[Facts, Book, int]:
    """Facts under a book, the book with one version more, and when to judge."""
    book = draw(books())
    candidate = draw(published())
    if draw(st.booleans()):
        exclusion = Exclusion(selector=ALL, plans=["free"], categories=["messages"])
        candidate = replace(candidate, rules=replace(candidate.rules, exclusions=[exclusion]))
    named = {
        name: draw(workspaces(plain=draw(st.booleans()))) for name in draw(st.sets(st.sampled_from(_NAMES)))
    }
    # Some are customers from a later time on only.
    for name, facts in named.items():
        if facts.is_plain and draw(st.integers(0, 4)) == 0:
            since = draw(st.integers(NOW - 2, NOW + 10))
            one = replace(facts.attributes[0], since=since)
            named[name] = replace(facts, customer_since=since, attributes=(one,))
    known = {"acme": draw(organisations)} if draw(st.booleans()) else {}
    return Facts(book, named, known), with_policy(book, replace(candidate, position=99)), NOW


@given(simulations())
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_given_any_facts_when_a_policy_is_compared_then_it_is_as_deciding_one_by_one(
    simulation: tuple[Facts, Book, int],
) -> None:
    facts, book, at = simulation
    after = Facts(book, facts.named, facts.organisations)
    asked = questions(facts.book, book, at)
    comparison = Comparison(facts, book, at, asked)
    for name, own in facts.named.items():
        expected = tuple(one_by_one(facts, after, name, question, at) for question in asked)
        assert comparison.of_workspace(name, own) == expected
        # What was remembered of its like is no other.
        assert comparison.of_workspace(name, own) == expected
        if own.is_plain and own.customer_since <= at:
            assert comparison.of_class(own).at(own.customer_since) == expected


@given(simulations())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_given_any_facts_when_everybody_is_counted_in_a_replica_then_nobody_is_missed_or_misjudged(
    tmp_path_factory: pytest.TempPathFactory, simulation: tuple[Facts, Book, int]
) -> None:
    facts, book, at = simulation
    replica = filled(tmp_path_factory.mktemp("replica"), facts)
    asked = questions(facts.book, book, at)
    told: dict[str, Outcomes] = {}
    with replica.snapshot() as snapshot:
        census = Census(Comparison(snapshot, book, at, asked))
        groups = census.count(snapshot, lambda name, outcomes: told.update({name: outcomes}))
    after = Facts(book, facts.named, facts.organisations)
    expected = {
        name: tuple(one_by_one(facts, after, name, question, at) for question in asked)
        for name in facts.named
    }
    assert census.workspaces == len(facts.named)
    assert {group.outcomes: group.members.total() for group in groups} == Counter(expected.values())
    changed = {
        name: outcomes
        for name, outcomes in expected.items()
        if any(one.change != UNCHANGED for one in outcomes)
    }
    assert told == changed
    assert {name for group in groups for name in group.samples} == set(changed)
    _check_report(groups, asked, expected)


def _check_report(groups: list[Group], asked: list[Question], expected: Mapping[str, Outcomes]) -> None:
    found = report(groups, asked, ("plan", "class"), samples_max=3)
    for one in found.answered:
        outcomes = {name: each[asked.index(one.question)] for name, each in expected.items()}
        changes = Counter(outcome.change for outcome in outcomes.values())
        del changes[UNCHANGED]
        assert one.changes == changes
        assert one.before == sum(outcome.permitted_before for outcome in outcomes.values())
        assert one.after == sum(outcome.permitted_after for outcome in outcomes.values())
        assert one.before + changes[NEWLY_PERMITTED] - changes[NEWLY_DENIED] == one.after
        assert one.reasons.total() == changes.total()
        for name in ("plan", "class"):
            assert sum((counts for counts in one.by[name].values()), Counter()) == changes
        for change, names in one.samples.items():
            assert names == sorted(name for name, each in outcomes.items() if each.change == change)[:3]
    widening = [
        name
        for name, each in expected.items()
        if any(outcome.change in (NEWLY_PERMITTED, WIDENED) for outcome in each)
    ]
    assert found.widens == bool(widening)


def filled(folder: Path, facts: Facts) -> Replica:
    """A replica of made-up facts."""
    replica = Replica.open(folder)
    build = replica.build(ORIGIN, 1)
    build.add([Row("workspace", name, one.position, pack(one)) for name, one in facts.named.items()])
    build.add([Row("organisation", name, 3, pack(one)) for name, one in facts.organisations.items()])
    build.add([Row("book", BOOK_ID, 1, pack(facts.book))])
    build.finish(100, NOW)
    return replica


# -- what must not be missed ---------------------------------------------------------------------------------


def widened(before: PolicyRules, after: PolicyRules) -> set[tuple[Question, str]]:
    """The changes for one customer when the second version replaces the first at 50."""
    book = Book((Published("1", 1, 0, "looser", before),), opened=2)
    customer = WorkspaceFacts("production", 10, 5, (Attributes(5, 10, "pro", "eu", "", ""),))
    facts = Facts(book, {"w": customer}, {})
    later = with_policy(book, Published("2", 20, 50, "looser", after))
    asked = questions(book, later, 100)
    outcomes = Comparison(facts, later, 100, asked).of_workspace("w", customer)
    return {(question, one.change) for question, one in zip(asked, outcomes, strict=True)}


def test_given_a_purpose_that_takes_more_data_when_compared_then_the_new_category_is_newly_permitted() -> (
    None
):
    narrow, wide = purpose(categories=["messages"]), purpose(categories=["messages", "files"])
    found = widened(policy_rules(purposes=(narrow,)), policy_rules(purposes=(wide,)))
    assert (Question("train", "files"), NEWLY_PERMITTED) in found
    assert (Question("train", "messages"), UNCHANGED) in found
    # Of both kinds of data together only what is collected from then on may be used.
    assert (Question("train"), NARROWED) in found


def test_given_an_exclusion_of_a_part_that_goes_when_compared_then_that_part_is_newly_permitted() -> None:
    excluded = [Exclusion(selector=ALL, plans=["pro"], categories=["messages.direct"])]
    found = widened(policy_rules(exclusions=excluded), policy_rules())
    assert (Question("train", "messages.direct"), NEWLY_PERMITTED) in found


def test_given_a_purpose_that_takes_over_another_when_compared_then_it_is_newly_permitted() -> None:
    found = widened(
        policy_rules(purposes=(purpose("old"),)),
        policy_rules(purposes=(purpose("old"), purpose("train", replaces=["old"]))),
    )
    assert {(Question("train"), NEWLY_PERMITTED), (Question("old"), UNCHANGED)} == found


def test_given_a_prohibition_when_compared_then_it_is_newly_denied() -> None:
    assert widened(policy_rules(), policy_rules(policy_rule("prohibited"))) == {
        (Question("train"), NEWLY_DENIED)
    }


# -- what is alike -------------------------------------------------------------------------------------------


def told_apart(book: Book, some: WorkspaceFacts, other: WorkspaceFacts, **groups: OrganisationFacts) -> bool:
    """Whether one that was judged before is not taken for the other, which fares otherwise."""
    facts = Facts(book, {"w0": some, "w1": other}, groups)
    asked = questions(book, book, NOW)
    comparison = Comparison(facts, book, NOW, asked)
    outcomes = [comparison.of_workspace(name, own) for name, own in facts.named.items()]
    assert outcomes == [
        tuple(one_by_one(facts, facts, name, question, NOW) for question in asked) for name in facts.named
    ]
    return outcomes[0] != outcomes[1]


def test_given_a_grant_before_or_after_a_withdrawal_then_they_are_not_alike() -> None:
    book = Book((Published("1", 1, 0, "looser", policy_rules(policy_rule("opt_in"))),), opened=2)

    def customer(granted_again: int) -> WorkspaceFacts:
        shown = (purpose(),)
        ended = OptIn("a", shown, ("train",), 20, 12, ended=30, ended_position=15)
        again = OptIn("b", shown, ("train",), 40, granted_again)
        one = Attributes(5, 10, "pro", "eu", "", "")
        return WorkspaceFacts("production", 10, 5, (one,), Choices((), (ended, again)))

    assert told_apart(book, customer(13), customer(16))


def test_given_customers_since_before_or_after_what_their_organisation_said_then_they_are_not_alike() -> None:
    book = Book((Published("1", 1, 0, "looser", policy_rules()),), opened=2)
    # Use goes on while it is pending; what was collected meanwhile stays out.
    pending = OptOut("r", ALL, 50, 20, 2, permit_until=NOW + 5)

    def customer(since: int) -> WorkspaceFacts:
        over = OptOut("o", Selector(keys=["serve"]), 0, 11, 2, ended=1)
        one = Attributes(since, 10, "pro", "eu", "", "acme")
        return WorkspaceFacts("production", 10, since, (one,), Choices((over,)))

    assert told_apart(book, customer(40), customer(55), acme=OrganisationFacts(3, Choices((pending,))))


# -- the list ------------------------------------------------------------------------------------------------

_CHANGED = (
    Outcome(NEWLY_DENIED, True, False, "defaulted_on", "opt_in_missing"),
    Outcome(NEWLY_DENIED, True, False, "defaulted_on", "opt_in_missing"),
    Outcome(WIDENED, True, True, "defaulted_on", "defaulted_on"),
    Outcome(UNCHANGED, True, True, "defaulted_on", "defaulted_on"),
)
_ASKED = [Question("train"), Question("train", "files"), Question("train", "messages"), Question("serve")]


def test_given_changes_when_listed_then_a_row_a_use_and_no_part_that_fares_as_the_whole(
    tmp_path: Path,
) -> None:
    expected = [
        ("-w", "train", "", NEWLY_DENIED, "defaulted_on", "opt_in_missing"),
        ("-w", "train", "messages", WIDENED, "defaulted_on", "defaulted_on"),
    ]
    for name in ("changed.csv", "changed.jsonl"):
        with changed_list(str(tmp_path / name), _ASKED) as write:
            assert write is not None
            write("-w", _CHANGED)
    with (tmp_path / "changed.csv").open(newline="") as file:
        assert list(map(tuple, csv.reader(file)))[1:] == expected
    lines = (tmp_path / "changed.jsonl").read_text().splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == expected


def test_given_a_list_that_fails_when_written_then_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), changed_list(str(tmp_path / "changed.csv"), _ASKED) as write:
        assert write is not None
        write("w", _CHANGED)
        raise RuntimeError("the replica is broken")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["changed.parquet", "changed", "there.csv", "nowhere/changed.csv"])
def test_given_a_list_that_cannot_be_when_simulated_then_it_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.csv").write_text("of an earlier simulation")
    with pytest.raises(ConsentError), changed_list(str(tmp_path / name), _ASKED):
        raise AssertionError("nothing is to be written")
    assert (tmp_path / "there.csv").read_text() == "of an earlier simulation"
