"""Where the owners of rows stand, in columns: the way from workspace ids to the verdicts on rows.

Needs pyarrow. Cost: a look-up a row and a few kernels a batch, and what the judge needs for each workspace
that was not met before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from threading import Lock
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from consent_gate.verdicts import BEFORE_ENROLMENT, NO_WORKSPACE, Judge, Standing, Step

NAMES_A_ROW = 4
"""Arrow hashes all names on every call. A table of ours is faster once there are so many names a row."""
_NEVER = (1 << 63) - 1
_ID = r"\A[A-Za-z0-9._-]{1,128}\z"
"""What `consent_domain.identifiers.is_id` holds for."""


class LookUp(Protocol):
    """Finds out where owners stand. May be shared by threads, and by all filters of a judge."""

    def verdicts(self, owners: Any, collected: Any) -> Any:
        """The number of the verdict on each owner's share of its row, never null; `owners` are text.

        `collected` are microseconds, or None for all. Raises as `standings` of the judge does.
        """


class Standings:
    """The standings of all workspaces met so far: a `LookUp`."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._steps = Steps(judge)
        self._met = _Met(judge, self._steps)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process meets its own."""
        return Standings, (self.judge,)

    def verdicts(self, owners: Any, collected: Any) -> Any:
        """See `LookUp`."""
        owners, everybody = owners.cast(pa.string()), self.judge.everybody
        if everybody is None or len(owners) * NAMES_A_ROW < len(everybody):
            return self._met.verdicts(owners, collected)
        return self._among(everybody, owners, collected)

    def _among(self, everybody: Any, owners: Any, collected: Any) -> Any:
        """Of so many rows that it is cheaper to look them up among all than to find out who is met."""
        names, *columns = everybody.columns
        places = pc.index_in(owners, value_set=names)
        numbers = Placed(self._steps, *columns).verdicts(places, collected)
        if places.null_count == owners.null_count:
            return numbers
        strange = pc.and_(pc.is_null(places), pc.is_valid(owners))
        times = None if collected is None else collected.filter(strange)
        return pc.replace_with_mask(numbers, strange, self._of_strangers(owners.filter(strange), times))

    def _of_strangers(self, owners: Any, collected: Any) -> Any:
        """Of those whom the ledger does not know: all of them stand alike, and all that is no id."""
        is_id = pc.match_substring_regex(owners, _ID)
        firsts = [owners.filter(kind).slice(0, 1).to_pylist() for kind in (is_id, pc.invert(is_id))]
        standings = self.judge.standings(
            [(first or firsts[not number])[0] for number, first in enumerate(firsts)]
        )
        places = pc.if_else(is_id, pa.scalar(0, pa.int32()), pa.scalar(1, pa.int32()))
        return Placed(self._steps, *_columns(standings)).verdicts(places, collected)


class Placed:
    """Standings in columns. A workspace's place is its index in them; they never change."""

    def __init__(self, steps: Steps, lines: Any, since: Any, unstated: Any) -> None:
        """Arrays of the members of `Standing`."""
        self._steps, self._lines, self._since, self._unstated = steps, lines, since, unstated

    def with_more(self, standings: Sequence[Standing]) -> Placed:
        """These, and others behind them."""
        more = _columns(standings)
        have = self._lines, self._since, self._unstated
        return Placed(self._steps, *map(pa.concat_arrays, zip(have, more, strict=True)))

    def verdicts(self, places: Any, collected: Any) -> Any:
        """The number of the verdict on each place at its time, never null: no place is no workspace."""
        numbers = self._unstated.take(places)
        if collected is not None:
            numbers = pc.if_else(pc.is_valid(collected), self._at_times(places, collected), numbers)
        return pc.fill_null(numbers, NO_WORKSPACE)

    def _at_times(self, places: Any, collected: Any) -> Any:
        """The verdict at each time: the lines' steps are gone through side by side."""
        lines = self._lines.take(places)
        numbers = pa.nulls(len(places), pa.int32())
        for starts, verdicts in self._steps.of_lines(pc.unique(lines.drop_null()).to_pylist()):
            begun = pc.greater_equal(collected, starts.take(lines))
            numbers = pc.if_else(begun, verdicts.take(lines), numbers)
        early = pc.less(collected, self._since.take(places))
        return pc.if_else(early, pa.scalar(BEFORE_ENROLMENT, pa.int32()), numbers)


class Steps:
    """A judge's lines turned round: start and verdict of all first steps, of all second ones, and so on."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._lines = 0
        self._columns: list[tuple[Any, Any]] = []

    def of_lines(self, lines: Sequence[int]) -> list[tuple[Any, Any]]:
        """As many steps as these lines have."""
        known = self._judge.lines
        if len(known) > self._lines:
            count = len(known)
            columns = [
                (_step_column(known[:count], index, "start"), _step_column(known[:count], index, "verdict"))
                for index in range(max(map(len, known[:count])))
            ]
            self._columns, self._lines = columns, count
        return self._columns[: max((len(known[line]) for line in lines), default=0)]


class _Met:
    """Workspaces by name. Only ever grows, so that a place once given stays good."""

    def __init__(self, judge: Judge, steps: Steps) -> None:
        self._judge = judge
        self._lock = Lock()
        self._names: Any = pa.array([], pa.string())
        self._placed = Placed(steps, *_columns([]))
        """Of all names, or of more: it is set before they are, and read after them."""
        self._places: dict[str | None, int] = {}
        """Of the names that a small batch was looked up among; none as long as batches are large."""

    def verdicts(self, owners: Any, collected: Any) -> Any:
        """As `Standings.verdicts`."""
        names = self._names
        places = self._found(owners, names)
        if places.null_count > owners.null_count:
            new = pc.unique(owners.filter(pc.is_null(places)).drop_null())
            places = self._found(owners, self._meet(new, names))
        return self._placed.verdicts(places, collected)

    def _found(self, owners: Any, names: Any) -> Any:
        """The place of each owner, null for one that is null or not among the names."""
        if len(owners) * NAMES_A_ROW >= len(names):
            return pc.index_in(owners, value_set=names)
        known = len(self._places)
        if known < len(names):  # several threads may do this at once: they put in the same
            self._places.update(zip(names[known:].to_pylist(), itertools.count(known), strict=False))
        return pa.array(list(map(self._places.get, owners.to_pylist())), pa.int32())

    def _meet(self, new: Any, names: Any) -> Any:
        """All names, with `new` ones that are not among `names`. Raises as `judge.standings` does."""
        with self._lock:
            if self._names is not names:  # another thread met some of them
                new = new.filter(pc.is_null(pc.index_in(new, value_set=self._names)))
            if len(new):
                self._placed = self._placed.with_more(self._judge.standings(new.to_pylist()))
                self._names = pa.concat_arrays([self._names, new])
            return self._names


def _columns(standings: Sequence[Standing]) -> list[Any]:
    """Their members in columns."""
    lines, since, unstated = zip(*standings, strict=True) if standings else ((), (), ())
    return [pa.array(lines, pa.int32()), pa.array(since, pa.int64()), pa.array(unstated, pa.int32())]


def _step_column(lines: Sequence[Sequence[Step]], index: int, field: str) -> Any:
    """The field of each line's step; a step that a line does not have never begins."""
    absent = _NEVER if field == "start" else NO_WORKSPACE
    values = [getattr(line[index], field) if index < len(line) else absent for line in lines]
    return pa.array(values, pa.int64() if field == "start" else pa.int32())
