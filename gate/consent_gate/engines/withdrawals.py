"""Whom a later state of the ledger permits less than a job was permitted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from consent_domain.decide import AHEAD_MAX
from consent_domain.instants import Micros

from consent_gate.verdicts import Judge, Standing

_LAST = (1 << 63) - 1


class Withdrawals:
    """Compares standings then with standings now."""

    def __init__(self, then: Judge, at: Micros, now: Judge) -> None:
        """The job was as of ledger time `at`."""
        self._then, self._now = then, now
        self._end = at + AHEAD_MAX + 1
        self._known: dict[tuple[Standing, Standing], bool] = {}

    def among(self, names: Sequence[str], then: Sequence[Standing], now: Sequence[Standing]) -> Iterator[str]:
        """Those of `names` that permit less than they did."""
        for name, before, after in zip(names, then, now, strict=True):
            pair = before, after
            narrower = self._known.get(pair)
            if narrower is None:
                narrower = self._known[pair] = self._is_narrower(before, after)
            if narrower:
                yield name

    def _is_narrower(self, before: Standing, after: Standing) -> bool:
        if self._then.table[before.unstated].permit and not self._now.table[after.unstated].permit:
            return True
        still = permitted_times(self._now, after)
        return any(
            not any(start <= first and min(last, self._end) <= end for start, end in still)
            for first, last in permitted_times(self._then, before)
        )


def permitted_times(
    judge: Judge, standing: Standing, besides: Collection[str] = ()
) -> list[tuple[Micros, Micros]]:
    """The half-open ranges of collection times that a standing permits, apart from each other.

    Denials with a code of `besides` count as if they permitted.
    """
    steps = judge.lines[standing.line]
    ends = [*(step.start for step in steps[1:]), _LAST]
    found: list[tuple[Micros, Micros]] = []
    for step, end in zip(steps, ends, strict=True):
        start = max(step.start, standing.since)
        verdict = judge.table[step.verdict]
        if start >= end or not (verdict.permit or verdict.code in besides):
            continue
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found


def permits_ever(judge: Judge, standing: Standing) -> bool:
    """Whether any row of the workspace could stay."""
    return judge.table[standing.unstated].permit or bool(permitted_times(judge, standing))
