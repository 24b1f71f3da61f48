"""What workspaces permit at one moment, so that two moments can be compared: collection times, and on what
they depend."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from consent_domain.instants import Micros
from consent_domain.ruling import BEGINNING, Ruling

from consent_gate.cells import decode_plain, plain_facts
from consent_gate.checks import Seen
from consent_gate.engines.withdrawals import permitted_times
from consent_gate.questions import cells_of
from consent_gate.reader import View, snapshot_of
from consent_gate.store import Snapshot
from consent_gate.verdicts import Judge, Standing, Verdicts

LAST: Micros = (1 << 63) - 1
"""Behind all collection times."""
SLICE_ROWS = 1_000
NOT_YET = ("collected_in_future", "collected_beyond_ruling")
"""Denials of times that have not come. When they come, they are judged again."""


class Times(NamedTuple):
    """What was permitted: data whose collection time nobody stated, and half-open ranges of times."""

    unstated: bool
    ranges: tuple[tuple[Micros, Micros], ...]

    @property
    def are_none(self) -> bool:
        """Whether nothing was."""
        return not self.unstated and not self.ranges

    def exceed(self, now: Times) -> bool:
        """Whether anything of this is permitted no longer."""
        if self.unstated and not now.unstated:
            return True
        return any(
            not any(start <= first and last <= end for start, end in now.ranges)
            for first, last in self.ranges
        )


class Side:
    """One side of the comparison: the times that a judge's standings permit."""

    def __init__(self, judge: Judge, end: Micros, besides: Collection[str]) -> None:
        """Times from `end` on do not count. Denials with a code of `besides` count as if they permitted."""
        self._judge = judge
        self._end = end
        self._besides = besides
        self._whole: dict[tuple[int, int], Times] = {}

    def times(self, standing: Standing) -> Times:
        """What is permitted to somebody."""
        ranges = permitted_times(self._judge, standing, self._besides)
        if self._besides and not permitted_times(self._judge, standing):
            ranges = []  # what has not come is no permit by itself
        cut = ((start, min(last, self._end)) for start, last in ranges)
        unstated = self._judge.table[standing.unstated].permit
        return Times(unstated, tuple(one for one in cut if one[0] < one[1]))

    def whole(self, standing: Standing) -> Times:
        """What would be permitted to somebody who has been there for ever."""
        key = standing.line, standing.unstated
        known = self._whole.get(key)
        if known is None:
            known = self._whole[key] = self.times(standing._replace(since=BEGINNING))
        return known


class Members(NamedTuple):
    """Plain workspaces of one class: where they stand depends on nothing but since when they are customers.

    Who has been one since an instant of `starts`, or later but not since the next of them, stands as the
    member of `standings` at its place; None if only the rules can say. Nobody is before the first start.
    """

    starts: list[Micros]
    standings: list[Standing | None]
    organisation: str
    until: Micros | None
    """When it may change for all of them, by time alone."""


class Now:
    """Standings as of one transaction, and on what the one asked for last depends."""

    def __init__(self, transaction: Any, view: View, purpose: str, categories: tuple[str, ...]) -> None:
        self.snapshot: Snapshot = snapshot_of(transaction, view)
        self._transaction = transaction
        self._seen = Seen(self.snapshot)
        self.verdicts = Verdicts(self._seen, view.at, purpose, categories, view.tables.until)
        self.side = Side(self.verdicts, LAST, NOT_YET)
        self.depends_on: Sequence[tuple[str, str]] = ()
        """(kind, id) of others whose facts it depends on."""
        self.until: Micros | None = None
        """When it may change by time alone."""

    def cells(self, names: Sequence[str]) -> Iterator[bytes]:
        """What lies under each name. Raises as `cells_of` does."""
        starts = range(0, len(names), SLICE_ROWS)
        slices = (cells_of(self._transaction, names[start : start + SLICE_ROWS]) for start in starts)
        return chain.from_iterable(slices)

    def members(self, cell: bytes) -> Members:
        """The class of the workspace with a plain cell. Some 0.2 ms: once for each class."""
        shared = self.snapshot.class_of(decode_plain(cell)[0])
        found = self.verdicts.class_of(plain_facts(cell, shared))
        starts = sorted({BEGINNING, *found.starts, found.reach, self.verdicts.at + 1})
        standings = [self.verdicts.member(found, start) for start in starts]
        return Members(starts, standings, shared.organisation, found.until)

    def standing(self, name: str) -> Standing:
        """Where a workspace stands, by the rules: some 0.15 ms."""
        return self.verdicts.of_ruling(self.ruling(name))

    def ruling(self, name: str) -> Ruling:
        """The whole ruling on a workspace."""
        self._seen.workspaces.clear()
        self._seen.organisations.clear()
        ruling = self.verdicts.ruling(name)
        self.depends_on = [
            *(("workspace", other) for other in self._seen.workspaces if other != name),
            *(("organisation", other) for other in self._seen.organisations),
        ]
        self.until = ruling.valid_until
        return ruling
