"""Deciding: may data of a workspace, collected then, be used for a purpose now?

Pure, and the only place where it is decided: command handlers, views, gates, time travel and
tests all call it. `at` is ledger time, never a host's clock. The answer comes in two steps:
`ruling.rule` says for which collection times a use is permitted now, `settle` compares that with
what the caller says of its data.

Cost: O(changes of the workspace and of the policy), about 30 µs for a workspace with a history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consent_domain.grounds import Reason, prepare
from consent_domain.instants import SECOND, Micros
from consent_domain.ruling import Ruling, Snapshot, Window, rule_case

AHEAD_MAX: Micros = 300 * SECOND
"""How far a collection time may lie ahead of ledger time: collectors' clocks differ, answers lag."""


class Collected(NamedTuple):
    """When data was collected: both ends belong to it; one instant has `start == end`."""

    start: Micros
    end: Micros


class Decision(NamedTuple):
    """The answer. `windows` are the collection times that would be permitted."""

    permit: bool
    standing: str
    reasons: tuple[Reason, ...]
    policy_version: str
    windows: tuple[Window, ...]


def decide(
    snapshot: Snapshot,
    workspaces: Sequence[str],
    purpose: str,
    categories: tuple[str, ...],
    at: Micros,
    collected: Collected | None,
) -> Decision:
    """Whether data of all `workspaces` together may be used for `purpose`. Never raises for any names.

    No category means all that the purpose takes; no workspace is a denial.
    """
    case = prepare(snapshot.book, purpose, categories, at)
    return combine(
        [(name, settle(rule_case(case, snapshot, name, at), collected, at)) for name in workspaces]
    )


def settle(ruling: Ruling, collected: Collected | None, at: Micros) -> Decision:
    """The decision on data collected then; None: the caller does not know, so all the past counts."""
    if not ruling.permit:
        return Decision(False, ruling.standing, ruling.reasons, ruling.policy_version, ())
    against = _against(ruling, collected, at)
    return Decision(
        not against, ruling.standing, against or ruling.reasons, ruling.policy_version, ruling.windows
    )


def _against(ruling: Ruling, collected: Collected | None, at: Micros) -> tuple[Reason, ...]:
    timeline = ruling.timeline
    if timeline[0].start > at:
        return (Reason("before_enrolment"),)
    if collected is None:
        first = next((one.denied for one in timeline if one.denied is not None), None)
        return (Reason("collected_unstated"), first) if first else ()
    start, end = collected
    if start > end:
        return (Reason("collected_backwards"),)
    if end > at + AHEAD_MAX:
        return (Reason("collected_in_future"),)
    if ruling.valid_until is not None and end >= ruling.valid_until:
        return (Reason("collected_beyond_ruling"),)
    if start < timeline[0].start:
        return (Reason("before_enrolment"),)
    ends = [*(segment.start for segment in timeline[1:]), None]
    for segment, until in zip(timeline, ends, strict=True):
        overlaps = segment.start <= end and (until is None or start < until)
        if overlaps and segment.denied is not None:
            return (Reason("collected_outside_windows"), segment.denied)
    return ()


def combine(decisions: Sequence[tuple[str, Decision]]) -> Decision:
    """One decision for data that belongs to several workspaces: permit only if all permit."""
    if not decisions:
        return Decision(False, "unknown", (Reason("no_workspace"),), "", ())
    if len(decisions) == 1:
        return decisions[0][1]
    denying = [decision for _, decision in decisions if not decision.permit]
    speaking = denying or [decision for _, decision in decisions]
    windows: Iterable[Window] = decisions[0][1].windows
    for _, decision in decisions[1:]:
        windows = _both(windows, decision.windows)
    reasons = tuple(
        reason._replace(workspace=reason.workspace or name)
        for name, decision in decisions
        if decision.permit == speaking[0].permit
        for reason in decision.reasons
    )
    first = speaking[0]
    return Decision(not denying, first.standing, reasons, first.policy_version, tuple(windows))


def _both(some: Iterable[Window], others: Sequence[Window]) -> list[Window]:
    found = []
    for one in some:
        for other in others:
            start = max(one.start, other.start)
            ends = [end for end in (one.end, other.end) if end is not None]
            end = min(ends) if ends else None
            if end is None or start < end:
                found.append(Window(start, end))
    return found
