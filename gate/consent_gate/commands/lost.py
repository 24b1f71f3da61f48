"""`consent filter --lost-since`: which rows would be lost today. It only reads."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import Micros, parse_rfc3339, rfc3339

from consent_gate.answers import CheckAnswer, CheckRequest
from consent_gate.commands.filter import asked, opened, require_known_purpose
from consent_gate.commands.filtered import words
from consent_gate.commands.ledger import Ledger
from consent_gate.commands.richly import progress
from consent_gate.commands.settings import Settings
from consent_gate.commands.terminal import painted, table
from consent_gate.commands.usage import DENY, PERMIT
from consent_gate.formats.format import STANDARD, formats
from consent_gate.verdicts import Verdict

NAMES_SHOWN_MAX = 20
_SHOWN_IN_WORDS = 3
_ANYBODY = "anybody"


class Moment(NamedTuple):
    """What the ledger is asked about: what it knew, and at what time."""

    known_at: str
    at: Micros


def count_lost(ledger: Ledger, settings: Settings, options: argparse.Namespace) -> int:
    """Count the rows that were permitted then and are not now; 1 if there are any, else 0.

    Raises ConsentError if it could not be decided about each row, at both moments.
    """
    from consent_gate.formats.reading import Source
    from consent_gate.formats.writing import make_way

    _require_no_output(options)
    begun = time.monotonic()
    read_as, _ = formats(options.source, STANDARD, options.read_as, None)
    with Source(options.source, read_as) as source:
        columns, reader = opened(source, options)
        if options.report:
            make_way(source, options.report, options.overwrite)
        with asked(ledger, settings, options) as job:
            asking = _Past(ledger, options.purpose, options.category)
            moment = asking.moment(options.lost_since, job.token)
            lost, then = asking.counting(moment, job.judge(), columns)
            with progress("comparing", reader.done()[2]) as show:
                for block in reader.blocks():
                    _count(lost, block.columns, source)
                    require_known_purpose(options.purpose, lost.filter.counts)
                    show(*reader.done()[:2])
            told = {
                "in": options.source,
                "purpose": options.purpose,
                "categories": options.category,
                "columns": options.column,
                "collectedColumn": options.collected_column,
                "since": {"knownAt": moment.known_at, "ledgerTime": rfc3339(moment.at)},
                "now": {"token": str(job.token), "ledgerTime": rfc3339(job.ledger_time)},
                "rows": sum(lost.filter.counts.values()),
                "kept": sum(rows for verdict, rows in lost.filter.counts.items() if verdict.permit),
                "lost": sum(lost.rows.values()),
                "reasons": [_reason(one, rows, lost.workspaces.get(one)) for one, rows in lost.rows.items()],
                "asked": then.asked,
                "seconds": round(time.monotonic() - begun, 3),
            }
    if options.report:
        from consent_gate.formats.writing import write_whole

        write_whole(Path(options.report), json.dumps(told, indent=1).encode() + b"\n")
    print(json.dumps(told) if options.json else _in_words(told))
    return DENY if told["lost"] else PERMIT


def _count(lost: Any, batch: Any, source: Any) -> None:
    import pyarrow as pa

    try:
        lost.count(batch)
    except pa.ArrowException as error:
        raise source.unreadable(error) from error


class _Past:
    """The ledger's answers as of another moment."""

    def __init__(self, ledger: Ledger, purpose: str, categories: list[str]) -> None:
        self._ledger = ledger
        self._purpose = purpose
        self._categories = categories

    def counting(self, moment: Moment, now: Any, columns: Any) -> tuple[Any, Any]:
        """What counts lost rows, and what knows where workspaces stood."""
        from consent_gate.lost import Lost, Then

        then = Then(lambda name: self._ask(name, moment.known_at, rfc3339(moment.at)), moment.at)
        return Lost(now, then, columns.owners, columns.collected), then

    def moment(self, text: str, now: Token) -> Moment:
        """The moment that a token, a position or a time names. A position's is when it was recorded.

        Raises ConsentError `invalid_token` or `invalid_time`.
        """
        if not text.isdecimal() and "/" not in text:
            return Moment(text, parse_rfc3339(text))
        token = now._replace(position=int(text)) if text.isdecimal() else parse_token(text)
        if not 1 <= token.position:
            raise ConsentError("invalid_token", "positions begin with 1")
        newest = self._ask(_ANYBODY, str(token), "")
        return Moment(str(token), self._recorded(token.position, parse_rfc3339(newest.ledger_time)))

    def _recorded(self, position: int, now: Micros) -> Micros:
        """When a position was recorded: the first instant at which the ledger knew it. Fifty questions."""
        before, after = 0, now
        while after - before > 1:
            between = (before + after) // 2
            told = self._ask(_ANYBODY, rfc3339(between), "")
            if parse_token(told.token).position >= position:
                after = between
            else:
                before = between
        return after

    def _ask(self, name: str, known_at: str, as_of: str) -> CheckAnswer:
        answer = self._ledger.check(
            CheckRequest(
                workspaces=[name],
                purpose=self._purpose,
                categories=self._categories,
                known_at=known_at,
                as_of=as_of,
            )
        )
        if answer.decision not in ("permit", "deny"):
            raise ConsentError("unavailable", f"the ledger does not decide about the past: {answer.sentence}")
        return answer


def _require_no_output(options: argparse.Namespace) -> None:
    if options.target is not None or options.manifest or options.written_as:
        raise ConsentError(
            "invalid_value",
            "--lost-since writes no rows: leave out OUT, --to and --manifest, and filter again",
        )
    if options.report == STANDARD:
        raise ConsentError("invalid_value", "--report names a file; with --json it is printed")


def _reason(verdict: Verdict, rows: int, workspaces: Counter[str] | None) -> dict[str, Any]:
    found = workspaces or Counter()
    shown = [{"workspace": name, "rows": count} for name, count in found.most_common(NAMES_SHOWN_MAX)]
    return {
        "code": verdict.code,
        "because": verdict.because,
        "rows": rows,
        "workspaces": {"count": len(found), "first": shown},
    }


def _in_words(told: dict[str, Any]) -> str:
    """The same for people."""
    word = painted(f"{told['lost']:,}", "deny" if told["lost"] else "permit")
    rows = []
    for one in told["reasons"]:
        names = [named["workspace"] for named in one["workspaces"]["first"][:_SHOWN_IN_WORDS]]
        more = one["workspaces"]["count"] - len(names)
        whose = ", ".join(names) + (f" and {more:,} more" if more else "")
        rows.append([f"  {one['rows']:,}", f"{words(one['code'], one['because'])}: {whose}"])
    lines = [
        f"{word} of {told['rows']:,} rows were permitted for {told['purpose']} and are not now; "
        f"{told['kept']:,} are",
        *([table(rows, right=(0,))] if rows else []),
        f"  then: {told['since']['knownAt']}, ledger time {told['since']['ledgerTime']}",
        f"  now: {told['now']['token']}, ledger time {told['now']['ledgerTime']}",
    ]
    return "\n".join(lines)
