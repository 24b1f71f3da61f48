"""`consent replay`: the history folded again, from its first event, and nothing folded that is not proven.

Entries come from a `VerifiedTree`, so that a changed one stops the replay before it is folded. One whose
order or origin is wrong stops it, too. One that cannot be read, or that no handler could have written,
quarantines what it is about, as in the ledger itself, and is told at the end.

With a workspace asked for, everything is verified and only that is folded on which the answer depends: the
workspace, all organisations, policies, purposes and the log, and other workspaces once a succession
names them; their earlier events are then read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from consent_domain.decide import Collected, Decision, decide
from consent_domain.errors import ConsentError
from consent_domain.events import Body, PolicyPublished, WorkspaceSucceeded
from consent_domain.evolve import evolve, quarantine
from consent_domain.facts import Book, Facts, OrganisationFacts, WorkspaceFacts, home_of
from consent_domain.instants import Micros, micros

from consent_gate.audit.rules import Read, Rules, with_body
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.verify import Progress

_OWN = ("workspace/", "organisation/")


class Asked(NamedTuple):
    """`last` is the last position to fold; `until` (None: no bound) the time after which nothing is folded;
    `workspace` and `purpose`, where they are not empty, are all that is told of."""

    last: int
    until: datetime | None = None
    workspace: str = ""
    purpose: str = ""


class Change(NamedTuple):
    """What the decision on a workspace's purpose became, for data collected at that very time."""

    workspace: str
    purpose: str
    before: Decision
    after: Decision


class Step(NamedTuple):
    """An event and what it changed. `passed` is what had changed before it, because time had passed."""

    read: Read
    entry: bytes
    passed: Sequence[Change]
    changes: Sequence[Change]


class Wrong(NamedTuple):
    """An event that could not be read or made no sense: its stream is quarantined from there on."""

    position: int
    stream: str
    why: str


class Folded:
    """The facts so far. Use as a `consent_domain.ruling.Snapshot`."""

    def __init__(self) -> None:
        self._book = Book()
        self._facts: dict[str, Facts | None] = {}
        self.wrong: list[Wrong] = []

    @property
    def book(self) -> Book:
        """What holds for everybody."""
        return self._book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """The facts of a workspace."""
        facts = self._facts.get(f"workspace/{name}")
        return facts if isinstance(facts, WorkspaceFacts) else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        """The facts of an organisation."""
        facts = self._facts.get(f"organisation/{name}")
        return facts if isinstance(facts, OrganisationFacts) else None

    def count(self, kind: type[Facts]) -> int:
        """How many workspaces or organisations there are."""
        return sum(isinstance(facts, kind) for facts in self._facts.values())

    def fold(self, read: Read) -> None:
        """Fold one event; quarantine its stream if it cannot be."""
        stream = read.envelope.subject
        is_own = stream.startswith(_OWN)
        known = self._facts.get(stream) if is_own else self._book
        try:
            facts = self._quarantined(known, read, read.wrong) if read.wrong else evolve(known, read.event)
        except AssertionError as error:
            facts = self._quarantined(known, read, f"{read.envelope.type} cannot have happened: {error}")
        if is_own:
            self._facts[stream] = facts
        elif isinstance(facts, Book):
            self._book = facts

    def _quarantined(self, known: Facts | None, read: Read, why: str) -> Facts | None:
        stream = read.envelope.subject
        self.wrong.append(Wrong(read.position, stream, why))
        return quarantine(known, stream, read.position)


class Replay:
    """One replay of a tree. Run `steps` or `whole`, once; then read what it found."""

    def __init__(self, tree: VerifiedTree, asked: Asked, progress: Progress) -> None:
        self._tree = tree
        self._asked = asked
        self._progress = progress
        self._rules = Rules(tree.checkpoint.name)
        self._wanted = {f"workspace/{asked.workspace}"}
        self._told: dict[tuple[str, str], Decision] = {}
        self._stopped = False
        self.folded = Folded()
        self.position = 0
        """The last event that was verified and, if it was asked for, folded."""
        self.time: datetime | None = None
        """When it was recorded."""
        self.types: Counter[str] = Counter()
        """How many events of each type were folded."""

    def whole(self) -> None:
        """Fold without telling of single events. Raises as `steps` does. About 8 µs an event."""
        for read in self._reads():
            if read is not None:
                self.folded.fold(read)

    def steps(self) -> Iterator[Step]:
        """Fold, event by event.

        Raises ProofInvalid and Unreadable where an event is not in the tree, out of order, or no event
        at all; what the source raises where an event cannot be had.
        """
        for read in self._reads():
            if read is not None and (step := self._step(read)) is not None:
                yield step

    def decisions(self) -> list[tuple[str, Decision]]:
        """What was decided on the workspace that was asked for, per purpose, when the replay ended.

        That is when its last event was recorded; or at `until`, if the log is known to have gone on.
        """
        end = self._asked.until if self._stopped else self.time
        if end is None or not self._asked.workspace:
            return []
        at = micros(end)
        return [(purpose, self._decide(self._asked.workspace, purpose, at)) for purpose in self._purposes()]

    def _reads(self) -> Iterator[Read | None]:
        """Every event that is asked for; None for one that was verified only."""
        until, filtered, types = self._asked.until, bool(self._asked.workspace), self.types
        last = self._asked.last
        for begin, entries in self._tree.bundles(1, last) if last else ():
            for position, entry in enumerate(entries, begin):
                read: Read | None
                if filtered:
                    envelope = self._rules.envelope(position, entry)
                    wanted = self._is_wanted(envelope.subject)
                    read = with_body(position, envelope, entry) if wanted else None
                else:
                    read = self._rules.read(position, entry)
                    envelope = read.envelope
                if until is not None and envelope.time > until:
                    self._stopped = True
                    return
                self._entry = entry
                self.position, self.time = position, envelope.time
                if read is not None:
                    types[envelope.type] += 1
                    if filtered:
                        self._catch_up(read)
                yield read
            self._progress(self.position, last)

    def _is_wanted(self, stream: str) -> bool:
        return stream in self._wanted or not stream.startswith(("workspace/", "run/", "recipient/"))

    def _catch_up(self, read: Read) -> None:
        """Fold the earlier events of a workspace that a succession has just named."""
        body = read.body
        if not isinstance(body, WorkspaceSucceeded):
            return
        for name in (body.predecessor, body.successor):
            stream = f"workspace/{name}"
            if stream in self._wanted:
                continue
            self._wanted.add(stream)
            rules = Rules(self._tree.checkpoint.name)
            for position, entry in self._tree.entries(1, read.position - 1) if read.position > 1 else ():
                envelope = rules.envelope(position, entry)
                if envelope.subject == stream:
                    earlier = with_body(position, envelope, entry)
                    self._catch_up(earlier)
                    self.folded.fold(earlier)

    def _step(self, read: Read) -> Step | None:
        """Fold one event; the step, or None if it is of no workspace that was asked for."""
        names, at = self._concerned(read), micros(read.envelope.time)
        pairs = [(name, purpose) for name in names for purpose in self._purposes(read.body)]
        before = {pair: self._decide(*pair, at) for pair in pairs}
        self.folded.fold(read)
        if self._asked.workspace and not (names or read.envelope.subject in self._wanted):
            return None
        passed, changes = [], []
        for pair, was in before.items():
            workspace, purpose = pair
            after = self._decide(workspace, purpose, at)
            known = self._told.get(pair)
            if self._asked.workspace and known is not None and in_short(known) != in_short(was):
                passed.append(Change(workspace, purpose, known, was))
            if in_short(was) != in_short(after):
                changes.append(Change(workspace, purpose, was, after))
            if self._asked.workspace:
                self._told[pair] = after
        return Step(read, self._entry, passed, changes)

    def _concerned(self, read: Read) -> list[str]:
        """The workspaces of which an event is told what it changed.

        What concerns everybody is told for the workspace that was asked for: not for millions.
        """
        asked, stream = self._asked.workspace, read.envelope.subject
        kind, _, name = stream.partition("/")
        if not asked:
            return [name] if kind == "workspace" else []
        if kind == "organisation":
            facts = self.folded.workspace(asked)
            belongs = facts is not None and any(one.organisation == name for one in facts.attributes)
            return [asked] if belongs else []
        return [asked] if stream in self._wanted or home_of(stream) is not None else []

    def _purposes(self, coming: Body | None = None) -> list[str]:
        """The purposes that are told of: all that any policy has defined, the one that is coming included."""
        if self._asked.purpose:
            return [self._asked.purpose]
        rules = [policy.rules for policy in self.folded.book.policies]
        if isinstance(coming, PolicyPublished):
            rules.append(coming.rules)
        return sorted({purpose.key for one in rules for purpose in one.purposes})

    def _decide(self, workspace: str, purpose: str, at: Micros) -> Decision:
        return decide(self.folded, [workspace], purpose, (), at, Collected(at, at))


def in_short(decision: Decision) -> tuple[object, ...]:
    """What of a decision makes it another one: the verdict, the standing, the first reason."""
    return decision.permit, decision.standing, decision.reasons[:1]


def last_position(tree: VerifiedTree, first: int, last: int, until: int | None) -> int:
    """The last position to fold of events `first` to `last`; raises ConsentError if that cannot be."""
    if first > 1:
        raise ConsentError(
            "invalid_value",
            f"the export begins at event {first}: what was before it is unknown, so nothing can be folded; "
            "export from 1",
        )
    if until is None:
        return last
    tree.require_position(until)
    if until > last:
        raise ConsentError("not_found", f"event {until} is not in the export: it ends at {last}")
    return until
