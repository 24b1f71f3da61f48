"""Verdicts on one row at a time, for data in no columns; the same as `consent_gate.filter` gives batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.instants import Micros, micros, moment_of

from consent_gate.verdicts import BEFORE_ENROLMENT, NO_WORKSPACE, Judge, Standing, Verdict

_SPANS_MAX = 1 << 17
_EARLIEST, _LATEST = (micros(moment.replace(tzinfo=UTC)) for moment in (datetime.min, datetime.max))
_NEVER = datetime.max.replace(tzinfo=UTC)


class Span(NamedTuple):
    """The verdict, by number, on one owner's data collected from `first` to before `end`."""

    first: datetime
    end: datetime
    number: int


_NO_SPAN = Span(_NEVER, _NEVER, NO_WORKSPACE)


class Owners:
    """The owners met so far, by name. May be shared by all rows of a judge, and by threads."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.standings: dict[str, Standing] = {}
        self._spans: dict[str, Span] = {}
        self._starts: dict[int, list[Micros]] = {}

    def verdict(self, owner: str, when: Micros | None) -> int:
        """The number of the verdict on an owner's data of that time. Raises as `judge.standings` does."""
        standing = self._standing(owner)
        return standing.unstated if when is None else self._stretch(standing, when)[2]

    def verdict_at(self, owner: str, when: datetime) -> int:
        """The same for a moment with a zone. Most data of one owner is of one time between two changes."""
        span = self._spans.get(owner, _NO_SPAN)
        if span.first <= when < span.end:
            return span.number
        first, end, number = self._stretch(self._standing(owner), micros(when))
        if len(self._spans) >= _SPANS_MAX:
            self._spans.clear()
        self._spans[owner] = Span(moment_of(max(first, _EARLIEST)), moment_of(min(end, _LATEST)), number)
        return number

    def _standing(self, owner: str) -> Standing:
        standing = self.standings.get(owner)
        if standing is None:
            standing = self.standings[owner] = self.judge.standings([owner])[0]
        return standing

    def _stretch(self, standing: Standing, when: Micros) -> tuple[Micros, Micros, int]:
        """From when to before when the verdict holds that is the one on data collected then, and which."""
        if when < standing.since:
            return _EARLIEST, standing.since, BEFORE_ENROLMENT
        starts = self._starts.get(standing.line)
        steps = self.judge.lines[standing.line]
        if starts is None:
            starts = self._starts[standing.line] = [step.start for step in steps]
        place = bisect_right(starts, when)
        end = starts[place] if place < len(starts) else _LATEST
        if place == 0:
            return standing.since, end, NO_WORKSPACE
        return max(starts[place - 1], standing.since), end, steps[place - 1].verdict


class Tally:
    """The rows of one verdict, and whether it permits."""

    __slots__ = ("permit", "rows")

    def __init__(self, permit: bool) -> None:
        self.permit = permit
        self.rows = 0


class _Tallies(dict[int, Tally]):
    """By the verdict's number."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def __missing__(self, number: int) -> Tally:
        tally = self[number] = Tally(self._judge.table[number].permit)
        return tally


class _Unstated(dict[str, Tally]):
    """Where each owner's data of no stated time is counted; of one not met yet it is found out."""

    def __init__(self, owners: Owners, tallies: _Tallies) -> None:
        self._owners, self._tallies = owners, tallies

    def __missing__(self, owner: str) -> Tally:
        tally = self[owner] = self._tallies[self._owners.verdict(owner, None)]
        return tally


class Rows:
    """Judges rows and counts them. Cost: a few dictionary look-ups each."""

    def __init__(self, judge: Judge, owners: Owners | None = None) -> None:
        """`owners` are those that other rows of `judge` met."""
        self._judge = judge
        self.owners = owners or Owners(judge)
        self.tallies = _Tallies(judge)
        self.unstated = _Unstated(self.owners, self.tallies)

    @property
    def counts(self) -> dict[Verdict, int]:
        """Rows met so far, by verdict, most rows first."""
        met = sorted(self.tallies.items(), key=lambda one: -one[1].rows)
        return {self._judge.table[number]: tally.rows for number, tally in met if tally.rows}

    @property
    def met(self) -> int:
        """Rows met so far."""
        return sum(tally.rows for tally in self.tallies.values())

    def permits(self, owners: Sequence[Any], collected: object) -> bool:
        """Whether a row stays: `owners` has the text, or collection of texts, of each place.

        Raises ConsentError `invalid_value` for owners or times that are something else.
        """
        when = None if collected is None else _instant(collected)
        first = None
        for value in owners:
            is_plain = when is None and type(value) is str
            tally = self.unstated[value] if is_plain else self.tallies[self._of_place(value, when)]
            first = first or tally
            if not tally.permit:
                break
        else:
            tally = first or self.tallies[NO_WORKSPACE]
        tally.rows += 1
        return tally.permit

    def _of_place(self, value: object, when: Micros | None) -> int:
        if type(value) is str:
            return self.owners.verdict(value, when)
        if is_missing(value):
            return NO_WORKSPACE
        if isinstance(value, str):
            return self.owners.verdict(str.__str__(value), when)  # whatever it calls itself
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
