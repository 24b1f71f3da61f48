"""What is watched: whose data a run uses, for which collection times, and who permits less of it by now.

Each look compares with what was permitted when the run began, never with the last look, so nothing is
lost between two of them. It costs nothing while the replica stands still; when it moves, only those are
judged again on whom something changed: the workspace, its organisation, one that it took data over from,
or ledger time. When a policy or everything was replaced, all are judged, plain ones by their class.

Cost: 10 µs a look; 0.3 ms when somebody is concerned. Where it is all, one to two microseconds for a plain
one and 0.15 ms for one with a history: two seconds for a million. Other threads run meanwhile.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from consent_domain.decide import AHEAD_MAX, Decision
from consent_domain.grounds import Reason
from consent_domain.instants import Micros, moment_of
from consent_domain.reasons import named, sentence, windows_in_words
from consent_domain.ruling import Ruling, Window

from consent_gate.cells import PLAIN, SINCE_END, SINCE_OFFSET, opening_of
from consent_gate.comparing import LAST, Members, Now, Side, Times
from consent_gate.in_use import InUse
from consent_gate.reader import View
from consent_gate.verdicts import Judge, Standing

NEWS_MAX = 1_000
"""Withdrawals told at a time; what is left comes with the next look."""
_NOTHING = b"", 0


class Withdrawal(NamedTuple):
    """A workspace permits less of its data than when the run began.

    `code` and `position` are the reason and the event that gives it. `windows` are the collection times that
    are still permitted of what was; `partial` says that there are some. `token`, `ledger_time`: as of when.
    """

    workspace: str
    code: str
    position: int
    partial: bool
    windows: tuple[Window, ...]
    token: str
    ledger_time: datetime
    sentence: str


class _Stand(NamedTuple):
    """The environment and position that was looked at last, and until when what is permitted must be."""

    environment: Any
    transaction_id: int
    until: Micros | None


class _Place:
    """Where those of a class stand who became customers in one stretch of time, as a look has it."""

    __slots__ = ("is_nothing", "join", "kind", "lost", "standing")

    def __init__(self, standing: Standing, join: Callable[[str], None] | None) -> None:
        self.standing = standing
        self.join = join
        """To be called with who depends on the organisation, if there is one."""
        self.kind = -1
        """What they permit, in the numbers of those in use; -1 as long as nobody began here."""
        self.is_nothing = False
        """Whether that is nothing at all."""
        self.lost: dict[int, bool] = {}
        """By the kind of what was permitted: whether any of it is permitted no longer."""


class Watched:
    """The workspaces of one run, what each permitted, and who was told of. For one thread at a time."""

    def __init__(self, purpose: str, categories: tuple[str, ...]) -> None:
        self._purpose = purpose
        self._categories = categories
        self._used: InUse | None = None
        self._own: dict[str, Times] = {}
        """What those began to permit later who permitted nothing at first."""
        self._unjudged: list[str] = []
        self._judged = 0
        """How many of those in use were judged; the others were met since the last look."""
        self._suspects: dict[str, None] = {}
        self._told: dict[str, tuple[str, int, Times]] = {}
        self._untold: list[Withdrawal] = []
        """Kept until a look returns: one that breaks off has told nothing."""
        self._stand: _Stand | None = None
        self._position = 0
        self._forget()

    def _forget(self) -> None:
        self._dependants: dict[tuple[str, str], set[str]] = {}
        self._due: list[tuple[Micros, str]] = []
        self._all_due: Micros | None = None

    # -- whom ------------------------------------------------------------------------------------------------

    def add(self, names: Iterable[str]) -> None:
        """Watch these: what they permit at the first look is what the run uses."""
        self._unjudged += names

    def add_used(self, names: Sequence[str], then: Judge, at: Micros) -> None:
        """Watch those of `names` who permitted anything when `then` judged, at ledger time `at`.

        Later names of the same run come with the same judge.
        """
        if self._used is None:
            self._used = InUse(Side(then, at + AHEAD_MAX + 1, ()))
        used = self._used
        stand = dict(zip(names, then.standings(names), strict=True))
        kinds = {name: used.kind_of(standing) for name, standing in stand.items() if name not in used}
        new = [name for name, kind in kinds.items() if not used.whole[kind].are_none]
        used.add(new, [kinds[name] for name in new], [stand[name].since for name in new])

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self, transaction: Any, view: View) -> list[Withdrawal]:
        """Who permits less, and was not told of yet; at most `NEWS_MAX`. Raises as the replica does."""
        stand = _Stand(view.store.environment, view.transaction_id, view.tables.until)
        if stand == self._stand and not (self._suspects or self._unjudged or self._has_new):
            return []
        if self._used is None and not self._unjudged:
            return []  # a job that met nobody yet
        now = Now(transaction, view, self._purpose, self._categories)
        if self._used is None:
            self._used = InUse(now.side)
        if not self._find_suspects(self._used, now, view):
            self._stand = None  # should this break off, all are judged again
            self._forget()
            self._judge(self._used, 0, now)
            self._suspects.update(dict.fromkeys((*self._told, *self._own)))
        elif self._has_new:
            self._judge(self._used, self._judged, now)
        self._begin(self._used, now)
        self._judged = len(self._used.names)
        self._stand, self._position = stand, view.position
        self._tell(now, view)
        told, self._untold = self._untold, []
        return told

    @property
    def _has_new(self) -> bool:
        return self._used is not None and len(self._used.names) > self._judged

    def _find_suspects(self, used: InUse, now: Now, view: View) -> bool:
        """Suspect whom something changed for since the last look. False if that may be anybody."""
        if self._stand is None or self._stand.environment is not view.store.environment:
            return False
        by = view.at if view.tables.until is None else view.tables.until
        if self._all_due is not None and by >= self._all_due:
            return False
        changes = now.snapshot.changes_after(self._position)
        if changes is None or any(kind == "book" for kind, _ in changes):
            return False
        for kind, name in changes:
            if kind == "workspace" and name in used:
                self._suspects[name] = None
            self._suspects.update(dict.fromkeys(self._dependants.get((kind, name), ())))
        while self._due and self._due[0][0] <= by:
            self._suspects[heapq.heappop(self._due)[1]] = None
        return True

    def _judge(self, used: InUse, start: int, now: Now) -> None:
        """Suspect those who permit less than they did; remember on what each depends."""
        names, kinds, sinces = used.after(start)
        rows = zip(names, kinds, sinces, self._placed(names, now), strict=True)
        for name, kind, since, (place, since_now) in rows:
            if place is None:
                standing = now.standing(name)
                self._depend(name, now)
                lost = _is_lost(used.whole[kind], now.side.whole(standing))
            else:
                if place.join is not None:
                    place.join(name)
                known = place.lost.get(kind)
                if known is None:
                    known = _is_lost(used.whole[kind], now.side.whole(place.standing))
                    place.lost[kind] = known
                # Who has all of a line has what lies behind a point of it, unless that point has moved on.
                lost = known or since < since_now
            if lost:
                self._suspects[name] = None

    def _begin(self, used: InUse, now: Now) -> None:
        """Judge those who were added: what they permit now is what the run uses."""
        names = self._unjudged
        if used.names:
            names = [name for name in names if name not in used]
        kinds, sinces = array("q"), array("q")
        for name, (place, since) in zip(names, self._placed(names, now), strict=True):
            if place is None:
                standing = now.standing(name)
                self._depend(name, now)
                kind, since = used.kind_of(standing), standing.since
                is_nothing = used.whole[kind].are_none
            else:
                if place.join is not None:
                    place.join(name)
                if place.kind < 0:
                    place.kind = used.kind_of(place.standing)
                    place.is_nothing = used.whole[place.kind].are_none
                kind, is_nothing = place.kind, place.is_nothing
            kinds.append(kind)
            sinces.append(since)
            # Nobody is a member of a class that permits nothing of what lies behind his beginning.
            if is_nothing:
                self._suspects[name] = None
        used.add(names, kinds, sinces)
        self._unjudged = []

    def _placed(self, names: Sequence[str], now: Now) -> Iterator[tuple[_Place | None, Micros]]:
        """Of each: where it stands, and since when it is a customer; no place if only the rules can say."""
        classes: dict[bytes, tuple[list[Micros], list[_Place | None]]] = {}
        for cell in now.cells(names):
            prefix, number = opening_of(cell) if len(cell) > SINCE_END else _NOTHING
            found = classes.get(prefix)
            if found is None:
                if prefix[:1] != PLAIN:
                    yield None, 0
                    continue
                found = classes[prefix] = self._class(now.members(cell))
            starts, places = found
            since = (number >> 8) - SINCE_OFFSET
            yield places[bisect_right(starts, since) - 1], since

    def _class(self, members: Members) -> tuple[list[Micros], list[_Place | None]]:
        """The starts and places of a class. When it changes by time alone is remembered at once."""
        if members.until is not None:
            self._all_due = members.until if self._all_due is None else min(self._all_due, members.until)
        organisation = "organisation", members.organisation
        join = self._dependants.setdefault(organisation, set()).add if members.organisation else None
        return members.starts, [one and _Place(one, join) for one in members.standings]

    def _depend(self, name: str, now: Now) -> None:
        """Remember on what the standing asked for last depends."""
        for other in now.depends_on:
            self._dependants.setdefault(other, set()).add(name)
        if now.until is not None:
            heapq.heappush(self._due, (now.until, name))

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self, now: Now, view: View) -> None:
        """Each suspect judged by the rules. Who turns out not to permit less is suspected no more."""
        for name in list(islice(self._suspects, NEWS_MAX)):
            ruling = now.ruling(name)
            self._depend(name, now)
            times = now.side.times(now.verdicts.of_ruling(ruling))
            del self._suspects[name]
            then = self._times_used(name)
            if then.are_none and not times.are_none:
                # Nothing was permitted, so nothing was used: what is permitted now is where it begins.
                self._own[name] = then = times
            if not then.are_none and not then.exceed(times):
                self._told.pop(name, None)
                continue
            told = self._withdrawal(name, ruling, then, view)
            same = told.code, told.position, times
            if self._told.get(name) != same:
                self._told[name] = same
                self._untold.append(told)

    def _times_used(self, name: str) -> Times:
        own = self._own.get(name)
        if own is not None:
            return own
        assert self._used is not None, "whoever is watched was judged"
        return self._used.times(name)

    def _withdrawal(self, name: str, ruling: Ruling, then: Times, view: View) -> Withdrawal:
        windows = tuple(_cut(ruling.windows, then.ranges)) if ruling.permit else ()
        reason = ruling.reasons[0] if not ruling.permit else _denial_within(ruling, then.ranges)
        denied = Decision(False, ruling.standing, (reason,), ruling.policy_version, windows)
        still = f"still permitted is what was collected {windows_in_words(windows)}" if windows else ""
        said = sentence(denied, named((name,)), self._purpose, still)
        return Withdrawal(
            name,
            reason.code,
            reason.position,
            bool(windows),
            windows,
            str(view.token),
            moment_of(view.at),
            f"Part of the d{said[1:]}" if windows else said,
        )


def _is_lost(then: Times, now: Times) -> bool:
    """Whether less is permitted than was. Who permitted nothing is judged by the rules each time."""
    return then.are_none or then.exceed(now)


def _cut(windows: Iterable[Window], ranges: Iterable[tuple[Micros, Micros]]) -> Iterator[Window]:
    """What lies in both."""
    ranges = list(ranges)
    for window in windows:
        for first, last in ranges:
            start, end = max(window.start, first), last if window.end is None else min(window.end, last)
            if start < end:
                yield Window(start, None if end == LAST else end)


def _denial_within(ruling: Ruling, ranges: Iterable[tuple[Micros, Micros]]) -> Reason:
    """Why data of some of these times is denied, although other data is permitted."""
    ranges = list(ranges)
    ends = [*(segment.start for segment in ruling.timeline[1:]), None]
    for segment, until in zip(ruling.timeline, ends, strict=True):
        if segment.denied is not None and any(
            segment.start < last and (until is None or first < until) for first, last in ranges
        ):
            return segment.denied
    if ranges and ruling.timeline and ranges[0][0] < ruling.timeline[0].start:
        return Reason("before_enrolment")
    return Reason("collected_unstated")
