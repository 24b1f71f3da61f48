"""What a census found, by purpose: how many, for which reasons, who they are, and some by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from consent_gate.cells import WorkspaceClass
from consent_gate.simulation.census import Group
from consent_gate.simulation.changes import CHANGES, UNCHANGED, WIDENING
from consent_gate.simulation.questions import Question

FIELDS = ("kind", "plan", "region", "contract", "organisation", "class")
"""By what workspaces can be told apart; a class is all the others together."""


class Why(NamedTuple):
    """A change, and the reason codes of the decisions before and after it."""

    change: str
    before: str
    after: str


@dataclass(slots=True)
class Answered:
    """What becomes of one question. `before` and `after` count who is permitted anything."""

    question: Question
    before: int = 0
    after: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[Why] = field(default_factory=Counter)
    by: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """Field → value → how many of each change."""
    samples: dict[str, list[str]] = field(default_factory=dict)
    """Change → the first workspaces by id."""

    @property
    def is_changed(self) -> bool:
        """Whether anything changes for anybody."""
        return bool(self.changes)

    def says_more_than(self, whole: Answered) -> bool:
        """Whether this part of a purpose fares otherwise than the whole of it."""
        return (self.before, self.after, self.changes) != (whole.before, whole.after, whole.changes)


class Report(NamedTuple):
    """Everything, and over all questions how many workspaces each change concerns."""

    answered: list[Answered]
    workspaces: dict[str, int]

    @property
    def widens(self) -> bool:
        """Whether any data of anybody could be used that could not be used before."""
        return any(self.workspaces[change] for change in WIDENING)


def report(
    groups: Sequence[Group], questions: Sequence[Question], by: Sequence[str], samples_max: int
) -> Report:
    """The report. Parts of a purpose are told where they fare otherwise than the whole of it."""
    answered = [
        _answered(question, number, groups, by, samples_max) for number, question in enumerate(questions)
    ]
    wholes = {one.question.purpose: one for one in answered if not one.question.category}
    told = [
        one
        for one in answered
        if not one.question.category or one.says_more_than(wholes[one.question.purpose])
    ]
    concerned = {
        change: sum(
            group.members.total()
            for group in groups
            if any(outcome.change == change for outcome in group.outcomes)
        )
        for change in CHANGES
    }
    return Report(told, concerned)


def _answered(
    question: Question, number: int, groups: Iterable[Group], by: Sequence[str], samples_max: int
) -> Answered:
    found = Answered(question, by={name: {} for name in by})
    names: dict[str, list[str]] = {}
    for group in groups:
        outcome, count = group.outcomes[number], group.members.total()
        found.before += count * outcome.permitted_before
        found.after += count * outcome.permitted_after
        if outcome.change == UNCHANGED:
            continue
        found.changes[outcome.change] += count
        found.reasons[Why(outcome.change, outcome.code_before, outcome.code_after)] += count
        names.setdefault(outcome.change, []).extend(group.samples)
        for name in by:
            for profile, members in group.members.items():
                value = _value(profile, name)
                found.by[name].setdefault(value, Counter())[outcome.change] += members
    found.samples = {change: sorted(some)[:samples_max] for change, some in names.items()}
    return found


def _value(profile: WorkspaceClass, name: str) -> str:
    if name != "class":
        return str(getattr(profile, name))
    return ", ".join(f"{one} {getattr(profile, one)}" for one in FIELDS[:-1] if getattr(profile, one))
