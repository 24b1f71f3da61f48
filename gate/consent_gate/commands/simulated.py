"""What `consent simulate` found, for programs and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from consent_domain.commands import PublishPolicy
from consent_domain.instants import Micros, micros, rfc3339

from consent_gate.commands.terminal import painted, plain, table
from consent_gate.simulation.changes import CHANGES, WIDENING
from consent_gate.simulation.questions import Question
from consent_gate.simulation.report import Answered, Report

VALUES_SHOWN = 10
"""How many plans, organisations, … people are shown of each; programs get all."""
_WORDS = {
    "newly_permitted": "newly permitted",
    "widened": "for more data",
    "narrowed": "for less data",
    "newly_denied": "newly denied",
}


class Simulated(NamedTuple):
    """What was simulated, and what came of it."""

    policy: PublishPolicy
    token: str
    ledger_time: Micros
    judged_at: Micros
    in_force: str
    differences: list[str]
    workspaces: int
    report: Report


def for_programs(simulated: Simulated, by: Sequence[str]) -> dict[str, Any]:
    """All of it as JSON values."""
    found = simulated.report
    return {
        "policy": simulated.policy.policy,
        "version": simulated.policy.version,
        "direction": simulated.policy.direction,
        "effectiveAt": rfc3339(micros(simulated.policy.effective_at)),
        "comparedWith": simulated.in_force,
        "judgedAt": rfc3339(simulated.judged_at),
        "token": simulated.token,
        "ledgerTime": rfc3339(simulated.ledger_time),
        "workspaces": simulated.workspaces,
        "widens": found.widens,
        "concerned": {_camel(change): count for change, count in found.workspaces.items()},
        "differences": simulated.differences,
        "purposes": [_answered(one, by) for one in found.answered],
    }


def _answered(one: Answered, by: Sequence[str]) -> dict[str, Any]:
    return {
        "purpose": one.question.purpose,
        "category": one.question.category,
        "before": one.before,
        "after": one.after,
        **_counted(one.changes),
        "reasons": [
            {"change": _camel(why.change), "before": why.before, "after": why.after, "workspaces": count}
            for why, count in one.reasons.most_common()
        ],
        "by": {
            name: [{"value": value, **_counted(counts)} for value, counts in _sorted(one.by[name])]
            for name in by
        },
        "samples": {_camel(change): names for change, names in one.samples.items()},
    }


def _counted(counts: Counter[str]) -> dict[str, int]:
    return {_camel(change): counts[change] for change in CHANGES}


def _camel(change: str) -> str:
    first, *rest = change.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _sorted(values: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return sorted(values.items(), key=lambda item: (-item[1].total(), item[0]))


def in_words(simulated: Simulated, by: Sequence[str]) -> str:
    """All of it for people, what widens first."""
    policy, found = simulated.policy, simulated.report
    rows = [
        [plain(_name(one.question)), *(f"{number:,}" for number in (one.before, one.after)),
         *(f"{one.changes[change]:,}" for change in CHANGES)]
        for one in found.answered
    ]  # fmt: skip
    head = ["purpose", "permitted", "would be", *(_WORDS[change] for change in CHANGES)]
    parts = [
        f"Version {policy.version} ({policy.direction}) instead of {simulated.in_force or 'none'}, judged at "
        f"{rfc3339(simulated.judged_at)}, for {simulated.workspaces:,} workspaces as of {simulated.token}. "
        "Nothing was published.",
        _verdict(found),
        table([head, *rows], right=range(1, len(head))),
        *(detail for change in CHANGES for detail in _details(found, change, by)),
    ]
    return "\n\n".join(parts)


def _verdict(found: Report) -> str:
    wider = [change for change in WIDENING if found.workspaces[change]]
    if wider:
        said = ", ".join(f"{_WORDS[change]} {found.workspaces[change]:,}" for change in wider)
        return painted(
            f"IT WIDENS USE. Workspaces of which data could be used that cannot be used now: {said}.", "deny"
        )
    return painted("It widens nothing: no data could be used that cannot be used now.", "permit")


def _name(question: Question) -> str:
    return f"{question.purpose} [{question.category}]" if question.category else question.purpose


def _details(found: Report, change: str, by: Sequence[str]) -> list[str]:
    """Who is concerned and why; uses that fare alike are told together."""
    alike: dict[str, list[str]] = {}
    for one in found.answered:
        if one.changes[change]:
            alike.setdefault(_detail(one, change, by), []).append(plain(_name(one.question)))
    colour = "deny" if change in WIDENING else "bold"
    heads = {detail: f"{_WORDS[change]}: {', '.join(names)}" for detail, names in alike.items()}
    return [f"{painted(head, colour)}\n{detail}" for detail, head in heads.items()]


def _detail(one: Answered, change: str, by: Sequence[str]) -> str:
    lines = [
        f"  {count:,}  {why.before} → {why.after}"
        for why, count in one.reasons.most_common()
        if why.change == change
    ]
    for name in by:
        values = [(value, counts[change]) for value, counts in _sorted(one.by[name]) if counts[change]]
        told = [f"{plain(value) or 'none'} {count:,}" for value, count in values[:VALUES_SHOWN]]
        more = [f"{len(values) - VALUES_SHOWN:,} more"] if len(values) > VALUES_SHOWN else []
        lines.append(f"  by {name}: {', '.join(told + more)}")
    if one.samples.get(change):
        lines.append(f"  such as {', '.join(one.samples[change])}")
    return "\n".join(lines)
