"""What a check answers: in the process, and on the wire.

An answer is worked out only as far as somebody looks: whether it permits is known at once,
its reasons, windows and sentence follow by the rules themselves when read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import msgspec
from consent_domain.decide import Collected, Decision
from consent_domain.grounds import Reason
from consent_domain.identifiers import Token
from consent_domain.instants import Micros, moment_of, rfc3339
from consent_domain.purposes import Wire
from consent_domain.reasons import named, sentence
from consent_domain.ruling import Window

from consent_gate.classes import Entry

PERMIT, DENY, UNDECIDED = "permit", "deny", "undecided"
_NANOSECONDS = 1_000_000_000


class Basis(Protocol):
    """On what an answer stands: a view of the replica, or what the ledger said."""

    @property
    def position(self) -> int:
        """The position, 0 for none."""

    @property
    def token(self) -> Token:
        """Origin, epoch and position."""

    @property
    def at(self) -> Micros:
        """The ledger time for which it was decided."""

    @property
    def asked(self) -> int:
        """The boot clock when the request was sent that brought the watermark, in ns; 0 for none."""


class Answer(msgspec.Struct, eq=False, gc=False):
    """The answer to one check. True if and only if the use is permitted.

    `decision` is `permit`, `deny` or `undecided`; whoever must not err treats the last as `deny`,
    and so does the truth value.
    """

    decision: str
    purpose: str
    _whom: object
    _decided: Decision | Entry
    """An entry stands for the decision on the member of its class with `_cell`."""
    _cell: bytes
    _collected: Collected | None
    _view: Basis | None
    _age: int
    _prefix: str
    _number: int | None
    _detail: str = ""
    """What was wrong with the question, and what to do."""

    def __bool__(self) -> bool:
        return self.decision == PERMIT

    def __repr__(self) -> str:
        return f"<Answer {self.decision}: {self.sentence}>"

    @property
    def _details(self) -> Decision:
        decided = self._decided
        if isinstance(decided, Entry):
            assert self._view is not None, "who was looked up was looked up somewhere"
            decided = self._decided = decided.decision_on(self._cell, self._collected, self._view.at)
        return decided

    @property
    def permitted(self) -> bool:
        """The same as the truth value."""
        return self.decision == PERMIT

    @property
    def standing(self) -> str:
        """Where the workspace is on the purpose; `unknown` if undecided."""
        return self._details.standing

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why, most important first; never empty."""
        return self._details.reasons

    @property
    def policy_version(self) -> str:
        """The version of the policy in force, empty for none."""
        return self._details.policy_version

    @property
    def windows(self) -> tuple[Window, ...]:
        """The collection times for which the use is permitted."""
        return self._details.windows

    @property
    def position(self) -> int:
        """The position that the answer stands on, 0 for none."""
        return 0 if self._view is None else self._view.position

    @property
    def token(self) -> str:
        """`origin/epoch/position`, empty for none."""
        return "" if self._view is None else str(self._view.token)

    @property
    def ledger_time(self) -> datetime | None:
        """The ledger's time for which it was decided."""
        return moment_of(self._view.at) if self._view is not None and self._view.asked else None

    @property
    def staleness(self) -> float | None:
        """Seconds since the request was sent that brought the watermark; None for no watermark."""
        return self._age / _NANOSECONDS if self._view is not None and self._view.asked else None

    @property
    def decision_id(self) -> str:
        """Names this answer: random for each gate and process, and counted; or the ledger's name for it."""
        return self._prefix if self._number is None else f"{self._prefix}-{self._number}"

    @property
    def sentence(self) -> str:
        """The answer for a person."""
        whom = self._whom if isinstance(self._whom, (list, tuple)) else (self._whom,)
        return sentence(self._details, named(whom) or "nobody", self.purpose, self._detail)


def undecided(
    code: str,
    basis: Basis | None,
    age: int,
    whom: object,
    purpose: object,
    prefix: str,
    number: int | None,
    detail: str = "",
) -> Answer:
    """The answer that is none. `code` and `detail` say why."""
    decided = Decision(False, "unknown", (Reason(code),), "", ())
    asked = purpose if isinstance(purpose, str) else ""
    return Answer(UNDECIDED, asked, whom, decided, b"", None, basis, age, prefix, number, detail)


# -- on the wire ---------------------------------------------------------------------------------------------


class CollectedRange(Wire, frozen=True, kw_only=True):
    """When data was collected: `at` an instant, or `from` until `to`, both included. Windows leave `to` out
    where they are open, and do not include it where they are not."""

    at: datetime | None = None
    from_: datetime | None = msgspec.field(default=None, name="from")
    to: datetime | None = None


class WireReason(Wire, frozen=True, kw_only=True):
    code: str
    position: str = ""
    workspace: str = ""


class CheckRequest(Wire, frozen=True, kw_only=True):
    """`POST /v1/check`: one `workspace`, or `workspaces` that all own the data."""

    purpose: str
    workspace: str = ""
    workspaces: list[str] = []
    categories: list[str] = []
    collected: CollectedRange | None = None
    max_staleness_ms: int | None = None
    at_least: str = ""
    known_at: str = ""
    as_of: str = ""


class CheckAnswer(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """The answer to a check. `permittedCollected` are the collection times that would be permitted."""

    decision: str
    standing: str
    reasons: list[WireReason]
    policy_version: str
    token: str
    ledger_time: str
    staleness_ms: int | None
    permitted_collected: list[CollectedRange]
    decision_id: str
    sentence: str


class BatchRequest(Wire, frozen=True, kw_only=True):
    """`POST /v1/check/batch`: one question about up to `BATCH_WORKSPACES_MAX` workspaces."""

    purpose: str
    workspaces: list[str]
    categories: list[str] = []
    collected: CollectedRange | None = None
    max_staleness_ms: int | None = None
    at_least: str = ""


class BatchAnswer(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A column each: whether row *i* is permitted, and its first reason as an index into `reasonCodes`.

    What could not be decided is not permitted. The token is the oldest that any row stands on.
    """

    token: str
    ledger_time: str
    staleness_ms: int | None
    policy_version: str
    permitted: list[bool]
    reason_codes: list[str]
    reasons: list[int]


encode = msgspec.json.Encoder().encode
decode_check = msgspec.json.Decoder(CheckRequest).decode
decode_batch = msgspec.json.Decoder(BatchRequest).decode


def wire_answer(answer: Answer) -> CheckAnswer:
    """An answer as it travels."""
    staleness, at = answer.staleness, answer.ledger_time
    return CheckAnswer(
        decision=answer.decision,
        standing=answer.standing,
        reasons=[wire_reason(reason) for reason in answer.reasons],
        policy_version=answer.policy_version,
        token=answer.token,
        ledger_time="" if at is None else wire_time(answer._view.at if answer._view else 0),
        staleness_ms=None if staleness is None else milliseconds(staleness),
        permitted_collected=[wire_window(window) for window in answer.windows],
        decision_id=answer.decision_id,
        sentence=answer.sentence,
    )


def wire_reason(reason: Reason) -> WireReason:
    """A reason with its position as a string; none where no event gives it."""
    return WireReason(
        code=reason.code,
        position=str(reason.position) if reason.position > 0 else "",
        workspace=reason.workspace,
    )


def wire_window(window: Window) -> CollectedRange:
    """A window as a range."""
    return CollectedRange(
        from_=moment_of(window.start), to=None if window.end is None else moment_of(window.end)
    )


def wire_time(instant: Micros) -> str:
    """RFC 3339 with microseconds."""
    return rfc3339(instant)


def milliseconds(seconds: float) -> int:
    """Rounded up, so that nothing looks fresher than it is."""
    return -int(-seconds * 1000 // 1)
