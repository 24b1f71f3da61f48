"""One question about many workspaces, answered in columns, a read transaction a slice."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from consent_domain.decide import Collected
from consent_domain.instants import Micros

from consent_gate.boot import boot_nanoseconds
from consent_gate.cells import PLAIN, SINCE_END, head_of
from consent_gate.checks import Checks
from consent_gate.classes import Entry, Table
from consent_gate.questions import When, cells_of, collected_of, is_within, table_of
from consent_gate.reader import View, snapshot_of

SLICE_ROWS = 1_000
Found = tuple[bool, str]
"""Whether a workspace is permitted, and the first reason."""
_NO_HEAD = b"", b""
_permitted_of, _code_of = itemgetter(0), itemgetter(1)


class Answers(NamedTuple):
    """A row a workspace; what is undecided is not permitted. `reasons` are indices into `reason_codes`.

    Token, time and staleness are the oldest that a row stands on; empty and None for no replica.
    """

    permitted: list[bool]
    reason_codes: list[str]
    reasons: list[int]
    policy_version: str
    token: str
    ledger_time: Micros | None
    staleness: float | None


class Batch:
    """A question that is handed its workspaces slice by slice, so that others are answered in between."""

    def __init__(
        self,
        checks: Checks,
        purpose: str | None,
        categories: tuple[str, ...],
        collected: When,
        staleness_seconds_max: float | None,
        at_least: int,
    ) -> None:
        self._checks = checks
        self._question = (purpose, categories)
        self._collected = collected
        self._staleness = staleness_seconds_max
        self._at_least = at_least
        self._codes: dict[str, int] = {}
        self._permitted: list[bool] = []
        self._reasons: list[int] = []
        self._oldest: View | None = None
        self._policy_version = ""

    def take(self, workspaces: Sequence[str]) -> None:
        """Answer for these, as of one position. Never raises but for what stops the process."""
        try:
            found, problem = self._take(workspaces)
        except Exception as error:
            found, problem = [], self._checks.code_of(error)
        if problem:
            found = [(False, problem)] * len(workspaces)  # nothing of this slice was decided
        codes = self._codes
        for code in dict.fromkeys(map(_code_of, found)):
            codes.setdefault(code, len(codes))
        self._permitted += map(_permitted_of, found)
        self._reasons += map(codes.__getitem__, map(_code_of, found))

    def _take(self, workspaces: Sequence[str]) -> tuple[list[Found], str]:
        """What each is answered, and the reason code why none is.

        It is long for speed, calling little: a slice is answered in a millisecond.
        """
        checks = self._checks
        collected = None if self._collected is None else collected_of(self._collected)
        age_max = checks.age_max(self._staleness)
        needed = self._at_least
        found: list[Found] = []
        transaction, view = checks.reader.begin()
        try:
            table = view.tables.find(self._question) or table_of(transaction, view, *self._question)
            entries, at_bytes = table.entries, view.at_bytes
            is_behind = checks.floors is not None and checks.floors.highest > view.position
            for workspace, cell in zip(workspaces, cells_of(transaction, workspaces), strict=True):
                prefix, since = head_of(cell) if len(cell) >= SINCE_END else _NO_HEAD
                entry = entries.get(prefix)
                if entry is None and cell[:1] == PLAIN:
                    entry = table.entry_of(cell, snapshot_of(transaction, view), view.at)
                answer = None
                if entry is not None and since <= at_bytes:
                    if collected is None and since >= entry.permit_from:
                        answer = entry.permitting
                    else:
                        answer = _first_reason(entry, since, cell, collected, view.at)
                    if is_behind:
                        needed = max(needed, checks.floor_of_member(table, workspace, entry))
                if answer is None:
                    answer, at_least = self._by_the_rules(transaction, view, table, workspace, collected)
                    needed = max(needed, at_least)
                found.append(answer)
        finally:
            transaction.abort()
        age = boot_nanoseconds() - view.asked
        if self._oldest is None or view.asked < self._oldest.asked:
            self._oldest = view
            self._policy_version = table.case.policies[-1].version if table.case.policies else ""
        return found, checks.problem_of(view) or checks.staleness_of(view, age, age_max, needed)

    def _by_the_rules(
        self, transaction: Any, view: View, table: Table, workspace: object, collected: Collected | None
    ) -> tuple[Found, int]:
        try:
            decision, floor = self._checks.by_the_rules(transaction, view, table, workspace, collected)
        except Exception as error:
            return (False, self._checks.code_of(error)), 0
        return (decision.permit, decision.reasons[0].code), floor

    def answers(self) -> Answers:
        """What was answered so far."""
        view = self._oldest
        fresh = view is not None and view.asked != 0
        return Answers(
            self._permitted,
            list(self._codes),
            self._reasons,
            self._policy_version,
            "" if view is None else str(view.token),
            view.at if view is not None and fresh else None,
            (boot_nanoseconds() - view.asked) / 1e9 if view is not None and fresh else None,
        )


def _first_reason(
    entry: Entry, since: bytes, cell: bytes, collected: Collected | None, at: Micros
) -> Found | None:
    """What a plain workspace is answered; None if only the rules can say."""
    if collected is None:
        if since >= entry.permit_from:
            return entry.permitting
        return entry.nothing if since >= entry.nothing_from else entry.unstated
    if is_within(entry, cell, collected, at):
        return entry.permitting
    return None if entry.ruling.permit else entry.nothing
