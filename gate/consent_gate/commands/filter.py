"""`consent filter`: the rows of a Parquet file that may be used, as another Parquet file."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from consent_domain.errors import ConsentError
from consent_domain.instants import rfc3339
from consent_domain.reasons import DENYING, PERMITTING

from consent_gate.commands.check import add_question
from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.settings import Settings
from consent_gate.commands.terminal import Progress, painted, table
from consent_gate.commands.usage import EXIT_CODES, Subcommands
from consent_gate.gate import Gate
from consent_gate.pin import pinned
from consent_gate.verdicts import Verdict, Verdicts


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "filter", parents=[shared], help="the rows of a Parquet file that may be used", epilog=EXIT_CODES
    )
    command.add_argument("source", metavar="IN.parquet")
    command.add_argument("target", metavar="OUT.parquet", help="there if and only if the exit code is 0")
    command.add_argument(
        "--column", action="append", required=True, metavar="NAME",
        help="of workspace ids, or lists of them; may be repeated: every one must permit",
    )  # fmt: skip
    add_question(command)
    command.add_argument(
        "--collected-column",
        metavar="NAME",
        help="of times at which the row's data was collected, with time zone",
    )
    command.add_argument("--overwrite", action="store_true", help="remove OUT.parquet first if it is there")
    command.set_defaults(run=asking("pipeline", filter_file))


def filter_file(ledger: Ledger, settings: Settings, options: argparse.Namespace) -> int:
    """Filter one file into another, print what became of its rows, return 0.

    Raises ConsentError if it could not be decided, or not be done: no target is there then.
    """
    try:
        from consent_gate import parquet
        from consent_gate.filter import Filter, require_columns
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is not installed: pip install 'consent-gate[filter]'"
        ) from error
    begun = time.monotonic()
    source, target = parquet.Source(Path(options.source)), Path(options.target)
    require_columns(source.schema, options.column, options.collected_column or "")
    _make_way(source.path, target, options.overwrite)
    ledger.require_feed()
    progress = Progress("rows")
    with _gate(settings) as gate, pinned(gate) as pin:
        verdicts = Verdicts(pin.snapshot, pin.at, options.purpose, tuple(options.category))
        rows = Filter(verdicts, options.column, options.collected_column or "")
        try:
            done = source.write(target, rows, progress)
        finally:
            progress.end()
    summary = {
        "in": str(source.path),
        "out": str(target),
        "purpose": options.purpose,
        "categories": options.category,
        "columns": options.column,
        "collectedColumn": options.collected_column or "",
        "token": str(pin.token),
        "ledgerTime": rfc3339(pin.at),
        "policyVersion": verdicts.policy_version,
        "rows": done.rows,
        "kept": done.kept,
        "dropped": done.rows - done.kept,
        "reasons": [_reason(verdict, count) for verdict, count in rows.counts.items()],
        "seconds": round(time.monotonic() - begun, 3),
    }
    print(json.dumps(summary) if options.json else in_words(summary, rows.counts))
    return 0


def _gate(settings: Settings) -> Gate:
    return Gate.connect(
        settings.url,
        settings.token,
        replica_dir=settings.replica or None,
        verifier_key=settings.feed_key or None,
    )


def _make_way(source: Path, target: Path, overwrite: bool) -> None:
    """A target of an earlier job is gone before this one begins: it may hold rows that are denied by now."""
    from consent_gate.parquet import require_absent

    if target.exists() and os.path.samefile(source, target):
        raise ConsentError("invalid_value", "a file cannot be filtered into itself; name another target")
    if not target.parent.is_dir():
        raise ConsentError(
            "invalid_value", f"the folder {target.parent} of the target is not there; make it first"
        )
    if overwrite and target.is_file():
        target.unlink()
    require_absent(target)


def _reason(verdict: Verdict, count: int) -> dict[str, object]:
    return {"permit": verdict.permit, "code": verdict.code, "because": verdict.because, "rows": count}


def in_words(summary: dict[str, object], counts: dict[Verdict, int]) -> str:
    """The summary for people."""
    total, kept, dropped = summary["rows"], summary["kept"], summary["dropped"]
    assert isinstance(total, int), "rows are counted"
    rows = [
        [f"  {'kept' if one.permit else 'dropped'}", f"{count:,}", words(one)]
        for one, count in counts.items()
    ]
    rows.sort(key=lambda row: "dropped" in row[0])  # stable: within each, most rows first
    lines = [
        f"{painted(f'kept {kept:,}', 'permit')} of {total:,} rows, "
        f"{painted(f'dropped {dropped:,}', 'deny')}, for {summary['purpose']}, in {summary['seconds']} s",
        table(rows, right=(1,)) if rows else "  the file has no rows",
        f"  decided as of {summary['token']}, ledger time {summary['ledgerTime']}, "
        f"policy {summary['policyVersion'] or 'none in force'}",
        f"  written to {summary['out']}",
    ]
    return "\n".join(lines)


def words(verdict: Verdict) -> str:
    """A verdict's code, and what it means."""
    said = PERMITTING.get(verdict.code) or DENYING.get(verdict.code) or verdict.code
    if verdict.because:
        said += f": {PERMITTING.get(verdict.because) or DENYING.get(verdict.because) or verdict.because}"
    return f"{verdict.code}  ({said})"
