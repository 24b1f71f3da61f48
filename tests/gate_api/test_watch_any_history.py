"""Whatever happens, who is told of is who a look at everybody would find, and nobody is missed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import some_facts
from any_history import NAMES, changes, happen, populated
from consent_domain.commands import ChangeWorkspace
from consent_domain.decide import Collected, decide
from consent_domain.facts import BOOK_ID, pack
from consent_domain.feed import Row
from consent_domain.instants import DAY, Micros
from consent_gate.boot import boot_nanoseconds
from consent_gate.comparing import Now
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from consent_gate.watched import Watched
from gate_ledger import EPOCH, mark, recorded, replica_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario import ORIGIN, START, Ledger, opt_out, scope

MOMENTS = [START + day * DAY for day in (-400, -1, 0, 1, 5, 20, 60, 200)]


def permitted(ledger: Ledger, name: str, moments: list[Micros | None]) -> set[Micros | None]:
    """The collection times that `decide` permits now."""
    stated = {one: None if one is None else Collected(one, one) for one in moments}
    return {one for one in moments if decide(ledger, [name], "train", (), ledger.now, stated[one]).permit}


def everybody_anew(gate: Gate, watched: Watched) -> set[str]:
    """Who permits less than when it began, each judged by the rules and by nothing else."""
    transaction, view = gate._reader.begin()
    try:
        whole = Watched("train", ())
        whole._used = watched._used
        whole._suspects = dict.fromkeys(watched._used.names)  # type: ignore[union-attr]
        told = whole.look(transaction, view)
        return {one.workspace for one in told}
    finally:
        transaction.abort()


narrowing: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(("acme", "w1", "w2")).map(lambda name: opt_out(scope=scope(name))),
    st.just(opt_out("train", scope=scope("corp", "organisation"))),
    st.sampled_from(("acme", "w2")).map(lambda name: ChangeWorkspace(workspace=name, organisation="corp")),
    st.integers(1, 40),
)
happenings = st.one_of(changes, narrowing, narrowing)


@settings(max_examples=50, deadline=None)
@given(st.lists(changes, max_size=4), st.lists(happenings, min_size=2, max_size=8))
def test_given_any_history_then_whoever_withdraws_is_told_and_nobody_else(first: Any, then: Any) -> None:
    ledger = populated()
    for change in first:
        happen(ledger, change)
    with tempfile.TemporaryDirectory() as folder:
        replica = replica_of(ledger, Path(folder))
        gate = Gate(replica, max_staleness=3_600)
        watching = gate.watch(NAMES, "train")
        told = {one.workspace for one in watching.news()}  # type: ignore[union-attr]
        moments: list[Micros | None] = [None, *(one for one in MOMENTS if one <= ledger.now), ledger.now]
        used = {name: permitted(ledger, name, moments) for name in NAMES}
        assert all(name in told for name in NAMES if not used[name] and not begins_later(gate, name))
        in_use = set(NAMES) - told
        applied = len(ledger.log)
        for change in then:
            happen(ledger, change)
            if len(ledger.log) > applied:
                replica.apply_events(recorded(ledger, applied), mark(ledger))
            else:
                replica.note_watermark(mark(ledger))
            applied = len(ledger.log)
            news = watching.news()
            told |= {one.workspace for one in news}  # type: ignore[union-attr]
            still_told = set(watching._watched._told)
            for name in in_use:
                if used[name] - permitted(ledger, name, moments):
                    assert name in told and name in still_told, (name, change)
            assert still_told & in_use == everybody_anew(gate, watching._watched) & in_use, change
        assert not watching.is_silent


def begins_later(gate: Gate, name: str) -> bool:
    """Whether some time permits that the moments do not hold."""
    return bool(gate.check(name, "train").windows)


@settings(max_examples=100, deadline=None)
@given(
    some_facts.books(),
    some_facts.organisations,
    st.lists(some_facts.workspaces(plain=True), min_size=1, max_size=8),
    some_facts.questions,
    st.integers(1, 120),
)
def test_given_any_workspaces_of_a_class_then_a_first_look_remembers_what_the_rules_permit_each(
    book: Any, organisation: Any, workspaces: Any, asked: Any, now: int
) -> None:
    named = {f"w{number}": facts for number, facts in enumerate(workspaces)}
    with tempfile.TemporaryDirectory() as folder:
        replica = Replica.open(Path(folder))
        build = replica.build(ORIGIN, EPOCH)
        build.add(
            [
                Row("book", BOOK_ID, 1, pack(book)),
                Row("organisation", "acme", 2, pack(organisation)),
                *(Row("workspace", name, 3, pack(facts)) for name, facts in named.items()),
            ]
        )
        build.finish(10, now, Mark(EPOCH, 10, now, boot_nanoseconds()))
        transaction, view = Gate(replica, max_staleness=60)._reader.begin()
        watched = Watched(*asked)
        watched.add(named)
        told = {one.workspace for one in watched.look(transaction, view)}
        rules = Now(transaction, view, *asked)
        used = watched._used
        assert used is not None
        for name in named:
            permitted = rules.side.times(rules.standing(name))
            assert used.times(name) == permitted
            assert permitted.are_none == (name in told)
        transaction.abort()
