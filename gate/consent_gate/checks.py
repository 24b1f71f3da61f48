"""The check itself: one short read transaction, one lookup, one comparison; the rules themselves otherwise.

Never a wrong yes: whatever goes wrong on the way is an answer that says `undecided`, and what
cannot be said of fresh, complete facts is not said at all. The age is taken after the facts were
read, so a process that was stopped in between does not answer from before.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from os import getpid
from typing import Any, Protocol
from zlib import crc32

import lmdb
from consent_domain.decide import Collected, Decision, combine, settle
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.ruling import rule_case

from consent_gate.answers import DENY, PERMIT, Answer, undecided
from consent_gate.boot import boot_nanoseconds
from consent_gate.cells import PLAIN, PREFIX_BYTES, SINCE_END, SOUND, damaged
from consent_gate.classes import Entry, Table
from consent_gate.questions import When, code_of, collected_of, detail_of, is_within, owners_of, table_of
from consent_gate.reader import Reader, View, snapshot_of
from consent_gate.store import Snapshot


class Floors(Protocol):
    """How far a replica must be to answer, from what this process recorded itself."""

    @property
    def highest(self) -> int:
        """No floor is higher: a replica that has reached it may answer anything."""

    def floor_of(self, workspace: str, organisations: Iterable[str], purpose: str) -> int:
        """The position that a replica must have reached to answer for these; 0 if any will do."""


Halted = Callable[[], bool]
"""Whether nothing may be decided now, whatever the replica says. Asked for every answer: microseconds, and
it never raises."""

_LOOK_AGAIN_NANOSECONDS = 250_000_000
_NANOSECONDS = 1_000_000_000


class Checks:
    """Answers questions from a replica. May be shared by threads, and survives a fork."""

    def __init__(
        self,
        reader: Reader,
        staleness_seconds_max: float,
        floors: Floors | None = None,
        halted: Halted | None = None,
    ) -> None:
        self.reader = reader
        self.floors = floors
        self.halted = halted
        self._age_max = int(staleness_seconds_max * _NANOSECONDS)
        self._looked_again = 0
        self._name_answers()

    def _name_answers(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._number = count(1).__next__
        self._named_by = getpid()

    def check(
        self,
        workspace: str | Sequence[str],
        purpose: str | None,
        categories: tuple[str, ...],
        collected: When,
        staleness_seconds_max: float | None,
        at_least: int,
    ) -> Answer:
        """The answer to one question. Never raises but for what stops the process.

        It is long for speed, calling little: it may be asked for every row of data.
        """
        view: View | None = None
        age = 0
        try:
            when = None if collected is None else collected_of(collected)
            reader = self.reader
            view = reader.view
            if view is None or view.pid != getpid():
                transaction, view = reader.begin()
            else:
                transaction = view.begin()
                if transaction.id() != view.transaction_id:
                    transaction, view = reader.look(transaction, view)
            try:
                table = view.tables.find((purpose, categories))
                if table is None:
                    table = table_of(transaction, view, purpose, categories)
                try:
                    key = workspace.encode()  # type: ignore[union-attr]
                    cell = transaction.get(key, b"")
                except (AttributeError, lmdb.BadValsizeError, UnicodeEncodeError):
                    key = cell = b""  # several workspaces, or what cannot be an id
                since = cell[PREFIX_BYTES:SINCE_END]
                entry = table.entries.get(cell[:PREFIX_BYTES])
                if entry is None and cell[:1] == PLAIN:
                    entry = table.entry_of(cell, snapshot_of(transaction, view), view.at)
                decided: Decision | Entry
                if entry is None or since > view.at_bytes:
                    decided, floor = self.by_the_rules(transaction, view, table, workspace, when)
                    permit, at_least = decided.permit, max(at_least, floor)
                else:
                    if crc32(cell, crc32(key)) != SOUND:
                        raise damaged(key)
                    if when is None:
                        decided, permit = entry, since >= entry.permit_from
                    elif is_within(entry, cell, when, view.at):
                        decided, permit = entry, True
                    else:
                        decided = entry.decision_on(cell, when, view.at)
                        permit = decided.permit
                    floors = self.floors
                    if floors is not None and floors.highest > view.position:
                        at_least = max(at_least, self.floor_of_member(table, workspace, entry))
            finally:
                transaction.abort()
            if view.pid != self._named_by:
                self._name_answers()
            age = boot_nanoseconds() - view.asked
            age_max = self._age_max if staleness_seconds_max is None else self.age_max(staleness_seconds_max)
            stopped = view.problem if self.halted is None else self.problem_of(view)
            if stopped or not 0 <= age <= age_max or view.position < at_least:
                problem = stopped or self.staleness_of(view, age, age_max, at_least)
                return self._undecided(problem, view, age, workspace, purpose)
            return Answer(
                PERMIT if permit else DENY,
                purpose or "",
                workspace,
                decided,
                cell,
                when,
                view,
                age,
                self._prefix,
                self._number(),
            )
        except Exception as error:
            return self._undecided(self.code_of(error), view, age, workspace, purpose, detail_of(error))

    # -- what batches need too -------------------------------------------------------------------------------

    def age_max(self, staleness_seconds_max: float | None) -> int:
        """The age in nanoseconds that a caller allows: never more than the gate does."""
        if staleness_seconds_max is None:
            return self._age_max
        return min(self._age_max, int(staleness_seconds_max * _NANOSECONDS))

    def code_of(self, error: Exception) -> str:
        """The reason code for what went wrong. Damage is reported to whoever follows."""
        self.reader.complain(error)
        return code_of(error)

    def problem_of(self, view: View) -> str:
        """Why nothing can be decided on `view` however fresh it is: `halted`, `catching_up`, or nothing."""
        return "halted" if self.halted is not None and self.halted() else view.problem

    def staleness_of(self, view: View, age: int, age_max: int, at_least: int) -> str:
        """`stale` for facts that are too old, or from before a position; else nothing.

        An age below zero comes from another clock, and says nothing.
        """
        if 0 <= age <= age_max and view.position >= at_least:
            return ""
        now = boot_nanoseconds()
        if now - self._looked_again > _LOOK_AGAIN_NANOSECONDS:
            self._looked_again = now
            self.reader.open_again()
        return "stale"

    def by_the_rules(
        self,
        transaction: Any,
        view: View,
        table: Table,
        workspace: object,
        collected: Collected | None,
    ) -> tuple[Decision, int]:
        """The decision by the rules, and the position that the replica must have reached for it."""
        asked = owners_of(workspace)
        facts = Seen(snapshot_of(transaction, view))
        decision = combine(
            [
                (name, settle(rule_case(table.case, facts, name, view.at), collected, view.at))
                for name in asked
            ]
        )
        if self.floors is None or self.floors.highest <= view.position:
            return decision, 0
        return decision, self._floor_of(table, (*asked, *facts.workspaces), facts.organisations)

    def floor_of_member(self, table: Table, workspace: object, entry: Entry) -> int:
        """The position that an answer about a plain workspace must stand on."""
        return self._floor_of(table, (workspace,), (entry.shared.organisation,))

    def _floor_of(self, table: Table, workspaces: Iterable[Any], organisations: Iterable[str]) -> int:
        # Earlier keys of the purpose count too: a stop of one stops its successor.
        floors, purposes = self.floors, table.case.keys
        if floors is None:
            return 0
        return max(
            (floors.floor_of(name, organisations, key) for name in workspaces for key in purposes), default=0
        )

    def _undecided(
        self, code: str, view: View | None, age: int, whom: object, purpose: object, detail: str = ""
    ) -> Answer:
        if self._named_by != getpid():
            self._name_answers()
        return undecided(code, view, age, whom, purpose, self._prefix, self._number(), detail)


class Seen:
    """A snapshot that remembers on whose facts a decision came to depend."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.workspaces: set[str] = set()
        self.organisations: set[str] = set()

    @property
    def book(self) -> Book:
        return self._snapshot.book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        self.workspaces.add(name)
        return self._snapshot.workspace(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        self.organisations.add(name)
        return self._snapshot.organisation(name)
