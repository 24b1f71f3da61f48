"""What a job can say of itself: what it stood on, what it kept and dropped and why, and what came after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from consent_domain.instants import Micros, rfc3339

from consent_gate.verdicts import Verdict

if TYPE_CHECKING:
    from consent_gate.offline import OfflineSnapshot

NAMES_SHOWN_MAX = 100
_NAMES_A_BLOCK = 1 << 16


class Overtaken(NamedTuple):
    """What the ledger has said since the job began, as of `token`.

    `withdrawn` workspaces of the job's set permit less by now; `names` are the first of them.
    """

    token: str
    withdrawn: int
    names: tuple[str, ...]


class Report(NamedTuple):
    """A job so far. A whole manifest will be made of it.

    `rows_in`, `rows_out` and `reasons` are None where an engine counts later or not at all, and lower
    bounds until `ended`. `set_digest` is that of `set_size` workspaces that permit the purpose: those met
    in the data (`set_scope` is `met`), or all of the ledger where the whole set went out (`all`).
    `overtaken` is None if what came after could not be found out: treat it as if it were a withdrawal.
    `offline` is the snapshot that was asked, and how old it was when the job began, None for none.
    """

    purpose: str
    categories: tuple[str, ...]
    token: str
    ledger_time: Micros
    policy_version: str
    rows_in: int | None
    rows_out: int | None
    reasons: dict[Verdict, int] | None
    ended: bool
    set_scope: str
    set_size: int
    set_digest: str
    overtaken: Overtaken | None
    offline: OfflineSnapshot | None = None

    @property
    def rows_dropped(self) -> int | None:
        """The rows that may not be used, None if they were not counted."""
        return None if self.rows_in is None or self.rows_out is None else self.rows_in - self.rows_out

    @property
    def spans_withdrawal(self) -> bool:
        """Whether anything that the job was permitted is denied by now, or may be for all we know."""
        return self.overtaken is None or self.overtaken.withdrawn > 0

    @property
    def advice(self) -> str:
        """What would have kept more rows, for a person; empty if nothing that a caller can do."""
        dropped = sum(rows for one, rows in (self.reasons or {}).items() if one.code == "collected_unstated")
        if not dropped:
            return ""
        return (
            f"{dropped:,} rows were dropped because nobody stated when they were collected, and not all of "
            "the past qualifies: name their column of collection times (timestamps with a time zone) as "
            "collected='…', and see that it holds no nulls."
        )

    def as_json(self) -> dict[str, object]:
        """The members, for `json.dumps`."""
        reasons = None if self.reasons is None else [_reason(*one) for one in self.reasons.items()]
        overtaken = self.overtaken and {
            "token": self.overtaken.token,
            "withdrawn": self.overtaken.withdrawn,
            "workspaces": list(self.overtaken.names),
        }
        return {
            "purpose": self.purpose,
            "categories": list(self.categories),
            "token": self.token,
            "ledgerTime": rfc3339(self.ledger_time),
            "policyVersion": self.policy_version,
            "rows": self.rows_in,
            "kept": self.rows_out,
            "dropped": self.rows_dropped,
            "reasons": reasons,
            "ended": self.ended,
            "set": {"scope": self.set_scope, "size": self.set_size, "sha256": self.set_digest},
            "overtaken": overtaken,
            "offline": self.offline and self.offline.as_json(),
        }


def _reason(verdict: Verdict, rows: int) -> dict[str, object]:
    return {"permit": verdict.permit, "code": verdict.code, "because": verdict.because, "rows": rows}


def set_digest(names: Iterable[str]) -> str:
    """SHA-256, hex, of ids in the order of their bytes, each followed by a line feed."""
    digest, block = hashlib.sha256(), []
    for name in names:
        block.append(name)
        if len(block) == _NAMES_A_BLOCK:
            digest.update("\n".join([*block, ""]).encode())
            block.clear()
    digest.update("\n".join([*block, ""]).encode())
    return digest.hexdigest()
