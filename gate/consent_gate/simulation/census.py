"""Everybody counted once, by what a policy would change for them.

Plain workspaces are counted by class: what becomes of one is looked up by the first bytes of its cell
and, where it matters, by since when it has been a customer. All others are judged one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from consent_domain.facts import WorkspaceFacts
from consent_domain.instants import Micros
from consent_domain.ruling import Snapshot

from consent_gate.cells import (
    PLAIN,
    PREFIX_BYTES,
    SINCE_END,
    WorkspaceClass,
    encode_instant,
)
from consent_gate.simulation.changes import UNCHANGED, Comparison, Outcomes

PROGRESS_EVERY = 20_000
SAMPLES = 5

Changed = Callable[[str, Outcomes], None]
"""Told of each workspace for which something would change."""
Progress = Callable[[int], None]
"""Told how many were counted so far."""


class Cells(Snapshot, Protocol):
    """Facts that can be gone through whole (`consent_gate.store.Snapshot`)."""

    def cells(self) -> Iterable[tuple[bytes, bytes]]:
        """(id, cell) of every workspace, in the order of ids."""

    def workspace_of(self, value: bytes) -> WorkspaceFacts:
        """The facts in a cell."""


class Group:
    """All workspaces with the same outcomes."""

    def __init__(self, outcomes: Outcomes, samples_max: int) -> None:
        self.outcomes = outcomes
        self.is_changed = any(one.change != UNCHANGED for one in outcomes)
        self.members: Counter[WorkspaceClass] = Counter()
        """How many, by what they are."""
        self.samples: list[str] = []
        """The first ones by id, of a group for which something changes."""
        self._samples_max = samples_max

    @property
    def wants_more(self) -> bool:
        """Whether more of them are to be named."""
        return len(self.samples) < self._samples_max

    def note(self, name: str) -> None:
        """One of them, for whom something changes."""
        if self.wants_more:
            self.samples.append(name)


class _Place:
    """The members of one class who became customers in one stretch of time."""

    __slots__ = ("count", "group")

    def __init__(self, group: Group) -> None:
        self.count = 0
        self.group = group


class _Class:
    """A class of plain workspaces: its places, by the bytes of the instants that begin them."""

    __slots__ = ("breaks", "places", "shared")

    def __init__(self, shared: WorkspaceClass, starts: list[Micros], places: list[_Place]) -> None:
        self.shared = shared
        self.breaks = [_bytes_of(start) for start in starts[1:]]
        self.places = places

    def place_of(self, cell: bytes) -> _Place:
        """Where a member belongs."""
        return self.places[bisect_right(self.breaks, cell[PREFIX_BYTES:SINCE_END])]


class Census:
    """Counts everybody in a snapshot into groups of the same outcomes. For one count only."""

    def __init__(self, comparison: Comparison, samples_max: int = SAMPLES) -> None:
        self.workspaces = 0
        self._comparison = comparison
        self._samples_max = samples_max
        self._groups: dict[Outcomes, Group] = {}
        self._classes: dict[bytes, _Class] = {}
        self._settled: dict[bytes, _Place] = {}
        """Classes with one place, of which no more names are wanted: their members are only counted."""

    def count(
        self, snapshot: Cells, changed: Changed | None = None, progress: Progress = lambda done: None
    ) -> list[Group]:
        """Go through everybody once. Raises as the snapshot and `changed` do."""
        settled, now = self._settled.get, _bytes_of(self._comparison.at)
        prefix, since = slice(PREFIX_BYTES), slice(PREFIX_BYTES, SINCE_END)
        done = 0
        for done, (key, cell) in enumerate(snapshot.cells(), start=1):
            place = settled(cell[prefix])
            if place is not None and cell[since] <= now:
                place.count += 1
            else:
                self._count_one(snapshot, key, cell, cell[since] <= now, changed)
            if not done % PROGRESS_EVERY:
                progress(done)
        self.workspaces = done
        progress(done)
        for one in self._classes.values():
            for place in one.places:
                if place.count:
                    place.group.members[one.shared] += place.count
        return [group for group in self._groups.values() if group.members]

    def _count_one(
        self, snapshot: Cells, key: bytes, cell: bytes, is_customer: bool, changed: Changed | None
    ) -> None:
        if cell[:1] == PLAIN and is_customer:
            prefix = cell[:PREFIX_BYTES]
            known = self._classes.get(prefix) or self._class_of(snapshot, cell)
            place = known.place_of(cell)
            place.count += 1
            group = place.group
            if group.is_changed:
                self._tell(key, group, changed)
            if len(known.places) == 1 and not (group.is_changed and (changed or group.wants_more)):
                self._settled[prefix] = place
            return
        facts = snapshot.workspace_of(cell)
        group = self._group(self._comparison.of_workspace(key.decode(), facts))
        group.members[_profile(facts, self._comparison.at)] += 1
        if group.is_changed:
            self._tell(key, group, changed)

    def _tell(self, key: bytes, group: Group, changed: Changed | None) -> None:
        name = key.decode()
        group.note(name)
        if changed is not None:
            changed(name, group.outcomes)

    def _class_of(self, snapshot: Cells, cell: bytes) -> _Class:
        """The class of a plain cell that is the first of it."""
        facts = snapshot.workspace_of(cell)
        line = self._comparison.of_class(facts)
        places = [_Place(self._group(outcomes)) for outcomes in line.outcomes]
        made = self._classes[cell[:PREFIX_BYTES]] = _Class(
            _profile(facts, self._comparison.at), line.starts, places
        )
        return made

    def _group(self, outcomes: Outcomes) -> Group:
        group = self._groups.get(outcomes)
        if group is None:
            group = self._groups[outcomes] = Group(outcomes, self._samples_max)
        return group


def _profile(facts: WorkspaceFacts, at: Micros) -> WorkspaceClass:
    """What a workspace is at `at`; nothing is known of one that cannot be read."""
    if not facts.attributes:
        return WorkspaceClass(facts.kind, "", "", "", "")
    one = facts.attributes[0]
    for attributes in facts.attributes:
        if attributes.since <= at:
            one = attributes
    return WorkspaceClass(facts.kind, one.plan, one.region, one.contract, one.organisation)


def _bytes_of(start: Micros) -> bytes:
    try:
        return encode_instant(start)
    except OverflowError:
        # Before anything that a cell can hold, or after all of it.
        return b"" if start < 0 else b"\xff" * (SINCE_END - PREFIX_BYTES)
