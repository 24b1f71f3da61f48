"""What became of the rows: for programs, and for people."""

from __future__ import annotations

import argparse
from typing import Any

from consent_domain.reasons import DENYING, PERMITTING

from consent_gate.commands.terminal import painted, plain, table
from consent_gate.engines.report import Report

Summary = dict[str, Any]


def summary(report: Report, options: argparse.Namespace, digest: str, seconds: float) -> Summary:
    """What `--json` prints and `--report` writes."""
    told = report.as_json()
    del told["ended"]
    return {
        "in": options.source,
        "out": options.target,
        "outDigest": digest,
        "columns": options.column,
        "collectedColumn": options.collected_column,
        **told,
        "seconds": round(seconds, 3),
    }


def in_words(told: Summary) -> str:
    """The summary for people."""
    rows = [
        [
            f"  {'kept' if one['permit'] else 'dropped'}",
            f"{one['rows']:,}",
            words(one["code"], one["because"]),
        ]
        for one in told["reasons"]
    ]
    rows.sort(key=lambda row: "dropped" in row[0])  # stable: within each, most rows first
    kept = painted(f"kept {told['kept']:,}", "permit")
    dropped = painted(f"dropped {told['dropped']:,}", "deny")
    lines = [
        f"{kept} of {told['rows']:,} rows, {dropped}, for {told['purpose']}, in {told['seconds']} s",
        table(rows, right=(1,)) if rows else "  the file has no rows",
        *_unstated(told),
        f"  decided as of {told['token']}, ledger time {told['ledgerTime']}, "
        f"policy {told['policyVersion'] or 'none in force'}",
    ]
    if told["out"] != "-":
        lines.append(f"  written to {plain(told['out'])}")
    if told["offline"] is not None:
        snapshot, age = told["offline"]["snapshotSha256"], told["offline"]["ageSeconds"]
        lines.append(f"  offline, on snapshot {snapshot} that was {age:.0f} s old; nothing later was known")
        return "\n".join(lines)
    return "\n".join([*lines, *_overtaken(told["overtaken"])])


def _unstated(told: Summary) -> list[str]:
    """What to do about rows that were dropped because nobody said when they were collected."""
    if told["collectedColumn"] or all(one["code"] != "collected_unstated" for one in told["reasons"]):
        return []
    return ["  name the column of collection times by --collected-column, and each row is judged by its own"]


def _overtaken(overtaken: dict[str, Any] | None) -> list[str]:
    if overtaken is None:
        return [
            "  whether somebody withdrew meanwhile could not be found out: filter again before you use it"
        ]
    if not overtaken["withdrawn"]:
        return []
    some = ", ".join(overtaken["workspaces"][:3])
    return [
        f"  {overtaken['withdrawn']:,} withdrew meanwhile ({plain(some)}, …): filter again before you use it"
    ]


def words(code: str, because: str) -> str:
    """A verdict's code, and what it means."""
    said = PERMITTING.get(code) or DENYING.get(code) or code
    if because:
        said += f": {PERMITTING.get(because) or DENYING.get(because) or because}"
    return f"{code}  ({said})"
