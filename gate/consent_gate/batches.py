"""One question about many workspaces, answered in columns, a read transaction a slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from consent_domain.decide import Collected
from consent_domain.instants import Micros

from consent_gate.boot import boot_nanoseconds
from consent_gate.cells import PLAIN, PREFIX_BYTES, SINCE_END
from consent_gate.checks import Checks
from consent_gate.classes import Entry, Table
from consent_gate.questions import When, cell_of, code_of, collected_of, is_within, table_of
from consent_gate.reader import View, snapshot_of

SLICE_ROWS = 1_000


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
        rows = len(self._permitted)
        try:
            problem = self._take(workspaces)
        except Exception as error:
            problem = code_of(error)
        if problem:
            # Nothing of this slice was decided.
            del self._permitted[rows:], self._reasons[rows:]
            for _ in workspaces:
                self._add(False, problem)

    def _take(self, workspaces: Sequence[str]) -> str:
        checks = self._checks
        collected = None if self._collected is None else collected_of(self._collected)
        age_max = checks.age_max(self._staleness)
        needed = self._at_least
        transaction, view = checks.reader.begin()
        try:
            table = view.tables.find(self._question) or table_of(transaction, view, *self._question)
            entries, at_bytes, floors = table.entries, view.at_bytes, checks.floors
            for workspace in workspaces:
                cell = cell_of(transaction, workspace)
                entry = entries.get(cell[:PREFIX_BYTES])
                if entry is None and cell[:1] == PLAIN:
                    entry = table.entry_of(cell, snapshot_of(transaction, view), view.at)
                found = None
                if entry is not None and cell[PREFIX_BYTES:SINCE_END] <= at_bytes:
                    found = _first_reason(entry, cell, collected, view.at)
                    if floors is not None and floors.highest > view.position:
                        needed = max(needed, checks.floor_of_member(table, workspace, entry))
                if found is None:
                    found, at_least = self._by_the_rules(transaction, view, table, workspace, collected)
                    needed = max(needed, at_least)
                self._add(*found)
        finally:
            transaction.abort()
        age = boot_nanoseconds() - view.asked
        if self._oldest is None or view.asked < self._oldest.asked:
            self._oldest = view
            self._policy_version = table.case.policies[-1].version if table.case.policies else ""
        return checks.problem_of(view) or checks.staleness_of(view, age, age_max, needed)

    def _by_the_rules(
        self, transaction: Any, view: View, table: Table, workspace: object, collected: Collected | None
    ) -> tuple[tuple[bool, str], int]:
        try:
            decision, floor = self._checks.by_the_rules(transaction, view, table, workspace, collected)
        except Exception as error:
            return (False, code_of(error)), 0
        return (decision.permit, decision.reasons[0].code), floor

    def _add(self, permitted: bool, code: str) -> None:
        self._permitted.append(permitted)
        self._reasons.append(self._codes.setdefault(code, len(self._codes)))

    def answers(self) -> Answers:
        """What was answered so far."""
        view = self._oldest
        fresh = view is not None and view.asked > 0
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
    entry: Entry, cell: bytes, collected: Collected | None, at: Micros
) -> tuple[bool, str] | None:
    """Whether a plain workspace is permitted, and its first reason; None if only the rules can say."""
    if collected is None:
        since = cell[PREFIX_BYTES:SINCE_END]
        if since >= entry.permit_from:
            return entry.permitting
        return entry.nothing if since >= entry.nothing_from else entry.unstated
    if is_within(entry, cell, collected, at):
        return entry.permitting
    return None if entry.ruling.permit else entry.nothing
