"""Rows that were permitted at an earlier moment and are not now.

What the ledger knew then, it says itself (`knownAt`, `asOf`): asked is only about workspaces that own a row
which is denied now, each once. Its answer says for which collection times it was permitted, so that rows
compare numbers again. What was collected after that moment was not there to be permitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.identifiers import is_id
from consent_domain.instants import Micros, micros
from consent_domain.ruling import BEGINNING

from consent_gate.answers import CheckAnswer
from consent_gate.filter import Filter
from consent_gate.verdicts import NO_WORKSPACE, Judge, Standing, Step, Verdict

Ask = Callable[[str], CheckAnswer]
"""What the ledger says of one workspace, as of that moment, of data of no stated collection time."""

DENIED, PERMITTED = NO_WORKSPACE, 2


class Then:
    """Where workspaces stood: a `Judge` that says whether, and not why."""

    def __init__(self, ask: Ask, at: Micros) -> None:
        """`at` is the ledger time of that moment."""
        self.table = [
            Verdict(False, "no_workspace"),
            Verdict(False, "before_enrolment"),
            Verdict(True, "permitted"),
        ]
        self.lines: list[tuple[Step, ...]] = [(Step(BEGINNING, DENIED),)]
        self._ask = ask
        self._at = at

    @property
    def everybody(self) -> None:
        """Only those are judged that are asked for."""
        return None

    @property
    def asked(self) -> int:
        """How many workspaces the ledger was asked about."""
        return len(self.lines) - 1

    def standings(self, names: Sequence[str]) -> list[Standing]:
        """Where each workspace stood. Raises as `Ask` does."""
        return list(map(self._standing, names))

    def _standing(self, name: str) -> Standing:
        if not is_id(name):
            return Standing(0, BEGINNING, DENIED)
        answer = self._ask(name)
        steps = {BEGINNING: DENIED}
        for window in answer.permitted_collected:
            assert window.from_ is not None, "every window has a beginning"
            end = self._at + 1 if window.to is None else min(micros(window.to), self._at + 1)
            if micros(window.from_) < end:
                steps[micros(window.from_)] = PERMITTED
                steps[end] = DENIED
        unstated = PERMITTED if answer.decision == "permit" else DENIED
        self.lines.append(tuple(Step(start, verdict) for start, verdict in sorted(steps.items())))
        return Standing(len(self.lines) - 1, BEGINNING, unstated)


class Lost:
    """Counts the rows that were permitted then and are not now."""

    def __init__(self, now: Judge, then: Then, columns: Sequence[str], collected_column: str) -> None:
        self.filter = Filter(now, columns, collected_column)
        """Whose counts are of all rows now."""
        self._now = now
        self._then = Filter(then, columns, collected_column)
        self._rows: Counter[int] = Counter()
        self._workspaces: dict[int, Counter[str]] = {}

    def count(self, batch: pa.RecordBatch) -> None:
        """Raises as `Filter.mask` and the judges do."""
        numbers = self.filter.verdicts(batch)
        permits = pa.array([verdict.permit for verdict in self._now.table], pa.bool_())
        denied = pc.invert(permits.take(numbers))
        rows, numbers = batch.filter(denied), numbers.filter(denied)
        if not len(rows):
            return
        lost = self._then.mask(rows)
        rows, numbers = rows.filter(lost), numbers.filter(lost)
        for one in pc.value_counts(numbers):
            self._rows[one["values"].as_py()] += one["counts"].as_py()
        for number, workspace, count in self.filter.denying(rows):
            self._workspaces.setdefault(number, Counter())[workspace] += count

    @property
    def rows(self) -> dict[Verdict, int]:
        """Lost rows by the verdict now, most rows first."""
        return {self._now.table[number]: rows for number, rows in self._rows.most_common()}

    @property
    def workspaces(self) -> dict[Verdict, Counter[str]]:
        """By the same verdicts: who denies how many of the lost rows now. A row may have several owners."""
        return {self._now.table[number]: found for number, found in self._workspaces.items()}
