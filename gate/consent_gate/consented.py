"""Whether all rows of some data may be used, and whose may not: what tests of data sets ask.

    require_consented(gate, table, workspace="workspace_id", collected="sent_at", purpose="train.ranking")

It judges as filters do, as of one moment that knows all that was recorded before, and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.instants import rfc3339
from consent_domain.reasons import DENYING

from consent_gate.engines.where import Place, where
from consent_gate.verdicts import Verdict

if TYPE_CHECKING:
    from consent_gate.gate import Gate

NAMES_SHOWN_MAX = 5
REASONS_SHOWN_MAX = 10


class Denied(NamedTuple):
    """Rows that may not be used: how many and for which reason, and who of their owners denies."""

    rows: int
    reasons: dict[Verdict, int]
    workspaces: dict[Verdict, Counter[str]]
    token: str
    ledger_time: str

    @property
    def denied(self) -> int:
        """The rows that may not be used."""
        return sum(self.reasons.values())


def require_consented(
    gate: Gate,
    data: Any,
    *,
    workspace: Place | Sequence[Place],
    purpose: str | None = None,
    collected: Place | None = None,
    categories: Sequence[str] = (),
    allow_empty: bool = False,
) -> None:
    """Raise AssertionError unless every row of `data` may be used; it says how many, whose, why, what to do.

    Data without rows proves nothing and fails, unless `allow_empty`. What could not be decided raises the
    ConsentError that `Gate.filter` raises. Data that can be read only once is read.
    """
    __tracebackhide__ = True  # pytest shows the line that asserts
    found = denied_rows(gate, data, workspace, purpose, collected, categories)
    asked = purpose or gate.purpose
    if not found.rows and not allow_empty:
        raise AssertionError(
            f"there are no rows, so nothing says that they may be used for {asked}; if that is as it should "
            "be, say allow_empty=True"
        )
    if found.denied:
        raise AssertionError(_in_words(found, asked, collected is not None))


def denied_rows(
    gate: Gate,
    data: Any,
    workspace: Place | Sequence[Place],
    purpose: str | None,
    collected: Place | None,
    categories: Sequence[str],
) -> Denied:
    """The rows of `data` that may not be used now. Raises as `Gate.filter` does."""
    try:
        import pyarrow.compute as pc

        from consent_gate.engines.columns import batches_of
        from consent_gate.filter import Filter
        from consent_gate.formats.kept import Kept
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is not installed: pip install 'consent-gate[arrow]'"
        ) from error
    places, batches = batches_of(data, where(workspace, collected))
    workspaces: dict[Verdict, Counter[str]] = {}
    with gate.job(purpose, categories=categories) as job:
        judge = job.judge()
        rows = Filter(judge, places.columns, places.collected_column)
        for batch in batches:
            denied = pc.invert(rows.mask(batch))
            if denied.true_count:
                left = Kept(batch.schema).filtered(batch, denied)
                for number, name, shares in rows.denying(left):
                    workspaces.setdefault(judge.table[number], Counter())[name] += shares
        counts = rows.counts
        reasons = {verdict: count for verdict, count in counts.items() if not verdict.permit}
        return Denied(sum(counts.values()), reasons, workspaces, str(job.token), rfc3339(job.ledger_time))


def _in_words(found: Denied, purpose: str | None, is_collected_stated: bool) -> str:
    lines = [f"{found.denied:,} of {found.rows:,} rows may not be used for {purpose}:"]
    for verdict, count in list(found.reasons.items())[:REASONS_SHOWN_MAX]:
        lines.append(
            f"  {count:,}  {verdict.code} ({_meaning(verdict)}){_whose(found.workspaces.get(verdict))}"
        )
    if len(found.reasons) > REASONS_SHOWN_MAX:
        lines.append(f"  … and {len(found.reasons) - REASONS_SHOWN_MAX} reasons more")
    lines.append(f"decided as of {found.token}, ledger time {found.ledger_time}")
    if not is_collected_stated and any(one.code == "collected_unstated" for one in found.reasons):
        lines.append("Say by collected= which column holds the time at which each row was collected.")
    lines.append("Filter the data before it is used: Gate.filter, or `consent filter`.")
    return "\n".join(lines)


def _meaning(verdict: Verdict) -> str:
    said = DENYING.get(verdict.code, verdict.code)
    return f"{said}: {DENYING.get(verdict.because, verdict.because)}" if verdict.because else said


def _whose(workspaces: Counter[str] | None) -> str:
    if not workspaces:
        return ""
    names = [repr(name) for name, _ in workspaces.most_common(NAMES_SHOWN_MAX)]
    more = len(workspaces) - len(names)
    return f": {', '.join(names)}" + (f" and {more:,} more" if more else "")
