"""What became of a command, and the bytes in which an idempotency key remembers it for ever."""

from __future__ import annotations

import msgspec
from consent_domain.errors import ConsentError
from consent_domain.instants import Micros


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command.

    `status` is `applied`; `not_applied` (refused, failed before COMMIT, or a dry run); or `unknown`
    (COMMIT was sent and not answered: the same Idempotency-Key settles it). Positions are 0 if no
    event was recorded. `error_code` is empty unless it was refused or failed. `stream_version` is
    that of the primary event's stream afterwards.
    """

    status: str
    first_position: int = 0
    last_position: int = 0
    token: str = ""
    recorded_at: Micros | None = None
    answer: dict[str, object] = {}
    error_code: str = ""
    error_detail: str = ""
    error_extra: dict[str, object] = {}
    stream_version: int = 0
    dry_run: bool = False
    replayed: bool = False


class _Kept(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Kept for ever, so it only ever gets further members, each with a default."""

    first: int
    last: int
    token: str
    recorded_at: Micros
    stream_version: int
    answer: dict[str, object]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode


def kept(outcome: Outcome) -> bytes:
    """The bytes that an idempotency key keeps of an applied command's outcome. Inverse of `replayed`."""
    assert outcome.status == "applied" and outcome.recorded_at is not None, "only what was recorded is kept"
    return _encode(
        _Kept(
            first=outcome.first_position,
            last=outcome.last_position,
            token=outcome.token,
            recorded_at=outcome.recorded_at,
            stream_version=outcome.stream_version,
            answer=outcome.answer,
        )
    )


def replayed(stored: bytes) -> Outcome:
    """The outcome that was kept, marked as a replay. Raises msgspec.MsgspecError for other bytes."""
    known = _decode(stored)
    return Outcome(
        status="applied",
        first_position=known.first,
        last_position=known.last,
        token=known.token,
        recorded_at=known.recorded_at,
        answer=known.answer,
        stream_version=known.stream_version,
        replayed=True,
    )


def refused(error: ConsentError) -> Outcome:
    """The outcome of a command that an error stopped; nothing of it was recorded."""
    return Outcome(
        status="not_applied", error_code=error.code, error_detail=error.detail, error_extra=error.extra
    )


def unavailable(detail: str) -> Outcome:
    """The outcome of a command that failed before COMMIT; the same may be sent again."""
    return Outcome(status="not_applied", error_code="unavailable", error_detail=detail)


def unknown() -> Outcome:
    """The outcome of a command whose COMMIT was not answered."""
    return Outcome(
        status="unknown",
        error_code="outcome_unknown",
        error_detail="COMMIT was sent and not answered; send the same command with the same "
        "Idempotency-Key again to learn whether it was recorded",
    )
