"""What a ledger said, made sure of, and as the answer that a gate gives.

Pure: bytes in, an answer out, or `Undecided`. A permit is one only if everything about it fits: its
reasons permit, its collection times hold the one asked about, the token is of the log pinned, and all of
it is young enough, counted from when the request was sent.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from consent_domain.decide import Collected, Decision
from consent_domain.errors import ConsentError
from consent_domain.grounds import Reason
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import Micros, micros, parse_rfc3339
from consent_domain.reasons import DENYING, PERMITTING
from consent_domain.ruling import Window

from consent_gate.answers import DENY, PERMIT, UNDECIDED, Answer, BatchAnswer, CheckAnswer, CollectedRange

_MILLISECOND = 1_000_000
_decode_check = msgspec.json.Decoder(CheckAnswer).decode
_decode_batch = msgspec.json.Decoder(BatchAnswer).decode


class Undecided(Exception):
    """Nothing was decided. `code` is a reason of `consent_domain.reasons.DENYING`, `detail` says more."""

    def __init__(self, code: str, detail: str = "") -> None:
        assert code in DENYING, f"{code} is no reason"
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Told(NamedTuple):
    """On what the ledger's answer stands: `consent_gate.answers.Basis`. `asked` is as old as the ledger's."""

    position: int
    token: Token
    at: Micros
    asked: int


class Question(NamedTuple):
    """What was asked. `age_max` is in ns; `origin` is the log pinned, None for any, `epoch` its newest."""

    workspace: object
    purpose: str
    collected: Collected | None
    age_max: int
    at_least: int
    origin: str | None
    epoch: int = 0


def answer_of(question: Question, body: bytes, asked: int, now: int) -> Answer:
    """The answer in `body` to a request sent at `asked`; `now` is when it was there (boot clock, ns).

    Raises Undecided: `unavailable` for what no ledger says, `stale` or `halted` for what counts no more, and
    whatever the ledger could not decide for.
    """
    try:
        told = _decode_check(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _strange(f"the answer cannot be read: {error}") from error
    reasons = tuple(_reason(one.code, one.position, one.workspace) for one in told.reasons)
    if told.decision not in (PERMIT, DENY, UNDECIDED) or not reasons:
        raise _strange("it is neither permit, deny nor undecided, or says no reason")
    if told.decision == UNDECIDED:
        code = reasons[0].code
        raise Undecided(code if code in DENYING else "undecided")
    basis = basis_of(told.token, told.ledger_time, told.staleness_ms, asked)
    require_counts(question, basis, now)
    windows = tuple(_window(one) for one in told.permitted_collected)
    if told.decision == PERMIT:
        if any(reason.code not in PERMITTING for reason in reasons):
            raise _strange("it permits for reasons that do not")
        if not _holds(windows, question.collected):
            raise _strange("it permits data of another time than was asked about")
    decided = Decision(told.decision == PERMIT, told.standing, reasons, told.policy_version, windows)
    return Answer(
        told.decision,
        question.purpose,
        question.workspace,
        decided,
        b"",
        None,
        basis,
        now - basis.asked,
        told.decision_id,
        None,
    )


class Rows(NamedTuple):
    """The answers to one request about many workspaces: whether each is permitted, and its first reason."""

    permitted: list[bool]
    codes: list[str]
    policy_version: str
    basis: Told


def rows_of(question: Question, count: int, body: bytes, asked: int, now: int) -> Rows:
    """The answers about `count` workspaces. Raises as `answer_of` does, for all of them."""
    try:
        told = _decode_batch(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _strange(f"the answer cannot be read: {error}") from error
    if not len(told.permitted) == len(told.reasons) == count:
        raise _strange(f"it answers {len(told.permitted)} of {count} questions")
    if any(not 0 <= index < len(told.reason_codes) for index in told.reasons):
        raise _strange("it names a reason that it does not have")
    codes = [told.reason_codes[index] for index in told.reasons]
    if not any(told.permitted) and not told.token:
        # Nothing was decided, so there is nothing that it stands on.
        raise Undecided(codes[0] if codes[0] in DENYING else "undecided")
    basis = basis_of(told.token, told.ledger_time, told.staleness_ms, asked)
    require_counts(question, basis, now)
    if any(permit and code not in PERMITTING for permit, code in zip(told.permitted, codes, strict=True)):
        raise _strange("it permits for reasons that do not")
    return Rows(told.permitted, codes, told.policy_version, basis)


def basis_of(token: str, ledger_time: str, staleness_ms: int | None, asked: int) -> Told:
    """What an answer stands on. Raises Undecided `unavailable` unless it says all of it."""
    if staleness_ms is None or staleness_ms < 0:
        raise _strange("it does not say how old it is")
    try:
        parsed, at = parse_token(token), parse_rfc3339(ledger_time)
    except (ConsentError, ValueError, OverflowError) as error:
        raise _strange("it does not say on what it stands") from error
    return Told(parsed.position, parsed, at, asked - staleness_ms * _MILLISECOND)


def require_counts(question: Question, basis: Told, now: int) -> None:
    """Raises Undecided, `halted` or `stale`, unless the answer is of the log, and as new as it must be."""
    require_same_log(basis.token, question.origin, question.epoch)
    if not 0 <= now - basis.asked <= question.age_max:
        raise Undecided("stale")
    if basis.position < question.at_least:
        raise Undecided(
            "stale", f"the ledger answers from {basis.position}, and {question.at_least} is asked for"
        )


def require_same_log(token: Token, origin: str | None, epoch: int) -> None:
    """Raises Undecided `halted` unless the answer is of the log that answered before, and not of an epoch
    that is over."""
    if origin is not None and token.origin != origin:
        raise Undecided("halted", f"the log is {token.origin}, and {origin} answered before")
    if token.epoch < epoch:
        raise Undecided("halted", f"epoch {token.epoch} is over; {epoch} answered before")


def _reason(code: str, position: str, workspace: str) -> Reason:
    if position and not (position.isascii() and position.isdigit() and len(position) <= 19):
        raise _strange("a reason names no position")
    return Reason(code, int(position or 0), workspace)


def _window(told: CollectedRange) -> Window:
    if told.from_ is None or told.at is not None:
        raise _strange("a window has no beginning")
    if told.from_.tzinfo is None or (told.to is not None and told.to.tzinfo is None):
        raise _strange("a window has no time zone")
    return Window(micros(told.from_), None if told.to is None else micros(told.to))


def _holds(windows: tuple[Window, ...], collected: Collected | None) -> bool:
    """Whether one of the windows holds all of the times asked about. There must be one in any case."""
    if collected is None:
        return bool(windows)
    return any(
        window.start <= collected.start and (window.end is None or collected.end < window.end)
        for window in windows
    )


def _strange(what: str) -> Undecided:
    return Undecided("unavailable", f"what answers does not speak as a consent ledger does: {what}")
