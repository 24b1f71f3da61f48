"""A gate answers what `decide` says of the same log, whatever happened and however it is asked."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import some_facts
from any_history import KEYS, NAMES, changes, happen, populated
from consent_domain.commands import (
    RegisterOrganisation,
)
from consent_domain.decide import Collected, decide
from consent_domain.facts import (
    BOOK_ID,
    Attributes,
    Book,
    Choices,
    OptIn,
    OrganisationFacts,
    Published,
    WorkspaceFacts,
    pack,
)
from consent_domain.feed import Row
from consent_domain.instants import DAY
from consent_gate.answers import encode, wire_answer
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.rendering import Renderer
from consent_gate.replica import Replica
from gate_ledger import EPOCH, mark, recorded, replica_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario import (
    ORIGIN,
    START,
    Ledger,
    enrolled,
    opt_out,
    purpose,
    rule,
    rules,
    scope,
    workspace,
)

RENDERER = Renderer()

questions = st.tuples(
    st.sampled_from((*NAMES, "nobody", "no/id", "")),
    st.sampled_from((*KEYS, "unknown")),
    st.sampled_from(((), ("messages",), ("files",), ("messages", "files"))),
    st.none() | st.tuples(st.integers(-500, 40), st.integers(0, 3)),
)


def assert_equal(gate: Gate, ledger: Ledger, question: Any) -> None:
    name, key, categories, days = question
    collected = None if days is None else Collected(START + days[0] * DAY, START + (days[0] + days[1]) * DAY)
    expected = decide(ledger, [name], key, categories, ledger.now, collected)
    answer = gate.check(name, key, categories=categories, collected=collected)
    assert bool(answer) is expected.permit
    assert answer.decision == ("permit" if expected.permit else "deny")
    assert (answer.standing, answer.reasons, answer.policy_version, answer.windows) == expected[1:]
    assert RENDERER.render(answer) == encode(wire_answer(answer))
    batch = gate.check_many([name], key, categories=categories, collected=collected)
    assert batch.permitted == [expected.permit]
    assert batch.reason_codes[batch.reasons[0]] == expected.reasons[0].code


@settings(max_examples=30, deadline=None)
@given(
    st.lists(changes, max_size=12),
    st.lists(changes, max_size=4),
    st.lists(questions, min_size=6, max_size=12),
)
def test_given_any_history_then_a_gate_answers_as_decide_does(first: Any, then: Any, asked: Any) -> None:
    ledger = populated()
    for change in first:
        happen(ledger, change)
    with tempfile.TemporaryDirectory() as folder:
        replica = replica_of(ledger, Path(folder))
        gate = Gate(replica, max_staleness=60)
        for question in asked:
            assert_equal(gate, ledger, question)
        position = len(ledger.log)
        for change in then:
            happen(ledger, change)
        ledger.wait(1)
        replica.apply_events(recorded(ledger, position), mark(ledger))
        for question in asked:
            assert_equal(gate, ledger, question)


class Facts:
    """A snapshot, and the rows that make it."""

    def __init__(self, book: Book, acme: OrganisationFacts, workspaces: list[WorkspaceFacts]) -> None:
        self.book, self.acme = book, acme
        self.workspaces = {f"w{number}": facts for number, facts in enumerate(workspaces)}

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return self.workspaces.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        return self.acme if name == "acme" else None

    def rows(self) -> list[Row]:
        return [
            Row("book", BOOK_ID, 1, pack(self.book)),
            Row("organisation", "acme", 2, pack(self.acme)),
            *(Row("workspace", name, 3, pack(facts)) for name, facts in self.workspaces.items()),
        ]


snapshots = st.builds(
    Facts,
    some_facts.books(),
    some_facts.organisations,
    st.lists(some_facts.workspaces(plain=True) | some_facts.workspaces(), min_size=1, max_size=6),
)
collection_times = st.none() | st.tuples(st.integers(-5, 115), st.integers(-1, 40)).map(
    lambda pair: Collected(pair[0], pair[0] + pair[1])
)


def assert_facts(gate: Gate, facts: Facts, now: int, asked: Any) -> None:
    (key, categories), when = asked
    names = [*facts.workspaces, "other"]
    batch = gate.check_many(names, key, categories=categories, collected=when)
    for row, name in enumerate(names):
        expected = decide(facts, [name], key, categories, now, when)
        answer = gate.check(name, key, categories=categories, collected=when)
        assert bool(answer) is expected.permit
        assert (answer.standing, answer.reasons, answer.policy_version, answer.windows) == expected[1:]
        assert batch.permitted[row] is expected.permit
        assert batch.reason_codes[batch.reasons[row]] == expected.reasons[0].code
    both = decide(facts, names[:2], key, categories, now, when)
    assert bool(gate.check(names[:2], key, categories=categories, collected=when)) is both.permit


@settings(max_examples=60, deadline=None)
@given(
    snapshots,
    snapshots,
    st.lists(st.tuples(some_facts.questions, collection_times), min_size=3, max_size=5),
    st.lists(st.integers(1, 120), min_size=1, max_size=3, unique=True).map(sorted),
)
def test_given_any_facts_at_any_later_time_then_a_gate_answers_as_decide_does(
    facts: Facts, later: Facts, questions: Any, times: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        replica = Replica.open(Path(folder))
        build = replica.build(ORIGIN, EPOCH)
        build.add(facts.rows())
        build.finish(10)
        gate = Gate(replica, max_staleness=60)
        for now in times:
            replica.note_watermark(Mark(EPOCH, 10, now, boot_nanoseconds()))
            for asked in questions:
                assert_facts(gate, facts, now, asked)
        replica.apply_rows(later.rows(), 20, now)
        later.workspaces = facts.workspaces | later.workspaces
        for asked in questions:
            assert_facts(gate, later, now, asked)


def test_given_an_organisation_registered_late_then_its_workspaces_are_decided_anew(tmp_path: Path) -> None:
    ledger = enrolled()
    ledger.given(RegisterOrganisation(organisation="late"), workspace("w1", organisation="late"))
    replica = replica_of(ledger, tmp_path)
    gate = Gate(replica, purpose="train")
    assert gate.check("w1")
    position = len(ledger.log)
    ledger.given(opt_out(scope=scope("late", "organisation")))
    replica.apply_events(recorded(ledger, position))
    assert not gate.check("w1")
    assert gate.check("acme")


def test_given_an_opt_in_of_the_organisation_when_it_expires_then_the_class_is_denied(tmp_path: Path) -> None:
    opt_in = OptIn("i", (purpose(),), ("train",), 1, 5, expires=50)
    book = Book((Published("1", 1, 0, "looser", rules(rule("opt_in"))),))
    plain = WorkspaceFacts("production", 10, 3, (Attributes(3, 10, "free", "eu", "", "acme"),))
    facts = Facts(book, OrganisationFacts(2, Choices((), (opt_in,))), [plain])
    replica = Replica.open(tmp_path)
    build = replica.build(ORIGIN, EPOCH)
    build.add(facts.rows())
    build.finish(10)
    gate = Gate(replica, purpose="train")
    for now, permitted in ((40, True), (49, True), (50, False), (51, False)):
        replica.note_watermark(Mark(EPOCH, 10, now, boot_nanoseconds()))
        assert bool(gate.check("w0")) is permitted, now
