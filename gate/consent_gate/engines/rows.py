"""Verdicts on one row at a time, for data in no columns; the same as `consent_gate.filter` gives batches."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from consent_domain.errors import ConsentError
from consent_domain.instants import Micros, micros

from consent_gate.verdicts import BEFORE_ENROLMENT, NO_WORKSPACE, Judge, Standing, Verdict

_PLAIN = {str, type(None)}
"""What owners' values are in most data. Equal to one of these is only one of these."""


class Owners:
    """The owners met so far, by name. May be shared by all rows of a judge, and by threads."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.standings: dict[str, Standing] = {}
        self.unstated = _Unstated(self)
        self._starts: dict[int, list[Micros]] = {}

    def verdict(self, owner: str, when: Micros | None) -> int:
        """The number of the verdict on an owner's data of that time. Raises as `judge.standings` does."""
        standing = self.standings.get(owner)
        if standing is None:
            standing = self.standings[owner] = self.judge.standings([owner])[0]
        if when is None:
            return standing.unstated
        if when < standing.since:
            return BEFORE_ENROLMENT
        starts = self._starts.get(standing.line)
        steps = self.judge.lines[standing.line]
        if starts is None:
            starts = self._starts[standing.line] = [step.start for step in steps]
        place = bisect_right(starts, when) - 1
        return steps[place].verdict if place >= 0 else NO_WORKSPACE


class _Unstated(dict[str | None, int]):
    """The number of the verdict on each owner's data of no stated time; that of one not met yet is found."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    def __missing__(self, owner: str | None) -> int:
        number = NO_WORKSPACE if owner is None else self._owners.verdict(owner, None)
        self[owner] = number
        return number


class Rows:
    """Judges rows and counts them. Cost: about a microsecond each, a fifth for blocks of plain ones."""

    def __init__(self, judge: Judge, owners: Owners | None = None) -> None:
        """`owners` are those that other rows of `judge` met."""
        self._judge = judge
        self._owners = owners or Owners(judge)
        self._rows: Counter[int] = Counter()

    @property
    def counts(self) -> dict[Verdict, int]:
        """Rows met so far, by verdict, most rows first."""
        return {self._judge.table[number]: rows for number, rows in self._rows.most_common()}

    def permit(self, owners: Sequence[list[Any]], collected: list[Any] | None) -> list[bool]:
        """As `permits`, for a block of rows: `owners` has a list of values for each place."""
        if collected is None and len(owners) == 1 and set(map(type, owners[0])) <= _PLAIN:
            numbers = list(map(self._owners.unstated.__getitem__, owners[0]))
            for number in set(numbers):
                self._rows[number] += numbers.count(number)
            permit = [verdict.permit for verdict in self._judge.table]
            return list(map(permit.__getitem__, numbers))
        times = [None] * len(owners[0]) if collected is None else collected
        return [self.permits(row, when) for *row, when in zip(*owners, times, strict=True)]

    def permits(self, owners: Sequence[Any], collected: object) -> bool:
        """Whether a row stays: `owners` has the text, or collection of texts, of each place.

        Raises ConsentError `invalid_value` for owners or times that are something else.
        """
        if collected is None and len(owners) == 1 and type(owners[0]) is str:
            number = self._owners.unstated[
                owners[0]
            ]  # as below, in one step: most rows of most data are like this
            self._rows[number] += 1
            return self._judge.table[number].permit
        when = _instant(collected)
        number = NO_WORKSPACE
        for index, value in enumerate(owners):
            found = self._of_place(value, when)
            if index == 0 or not self._judge.table[found].permit:
                number = found
            if not self._judge.table[found].permit:
                break
        self._rows[number] += 1
        return self._judge.table[number].permit

    def _of_place(self, value: object, when: Micros | None) -> int:
        if type(value) is str:
            return self._owners.verdict(value, when)
        if is_missing(value):
            return NO_WORKSPACE
        if isinstance(value, str):
            return self._owners.verdict(str.__str__(value), when)  # whatever it calls itself
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise ConsentError(
                "invalid_value", f"{value!r:.80} is no workspace id; they are text, or lists of text"
            )
        numbers = [
            self._of_place(one, when) if isinstance(one, str) or is_missing(one) else _refuse(one)
            for one in value
        ]
        denials = (number for number in numbers if not self._judge.table[number].permit)
        return next(denials, numbers[0] if numbers else NO_WORKSPACE)


def is_missing(value: object) -> bool:
    """Whether it stands for no value: None, or what is not even itself, as NaN and NaT are."""
    return value is None or (not isinstance(value, (str, list, tuple, set, frozenset)) and value != value)


def _refuse(value: object) -> int:
    raise ConsentError("invalid_value", f"{value!r:.80} is no workspace id; they are text")


def _instant(collected: object) -> Micros | None:
    if is_missing(collected):
        return None
    if not isinstance(collected, datetime) or collected.tzinfo is None:
        raise ConsentError(
            "invalid_value",
            f"{collected!r:.80} is no collection time; it is a datetime with a time zone: "
            "without one it names no instant",
        )
    return micros(collected)
