"""Errors with stable codes, and the one table from code to HTTP status.

The server reads `STATUS` to answer; the gate's client reads the same codes back, so that
both sides speak of the same thing. A code is never reused and never changes its meaning.
"""

from __future__ import annotations

STATUS: dict[str, int] = {
    # the request itself
    "malformed": 400,
    "too_deep": 400,
    "invalid_id": 400,
    "invalid_token": 400,
    "invalid_time": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    # what the request names
    "unknown_workspace": 404,
    "unknown_organisation": 404,
    "unknown_purpose": 404,
    "unknown_request": 404,
    "unknown_opt_in": 404,
    "unknown_person": 404,
    "unknown_run": 404,
    # what the ledger's rules refuse
    "already_exists": 409,
    "version_conflict": 409,
    "wrong_state": 409,
    "already_open": 409,
    "not_suspended": 409,
    "second_person_required": 409,
    "policy_out_of_order": 409,
    "quarantined": 409,
    "unsupported_scope": 422,
    "invalid_value": 422,
    "postdated": 422,
    "backdated": 422,
    "not_editorial": 422,
    "wrong_direction": 422,
    "notice_too_short": 422,
    "no_policy_in_force": 422,
    "reason_not_listed": 422,
    "required_by_policy": 422,
    "authority_insufficient": 422,
    "event_too_large": 422,
    "idempotency_key_reused": 422,
    # what a run claims
    "manifest_refused": 422,
    # what is sealed
    "erased": 410,
    # what a gate asks the feed after
    "resync": 410,
    "forked": 409,
    "other_origin": 409,
    "wrong_key": 409,
    # what the log proves
    "proof_invalid": 422,
    "beyond_checkpoint": 409,
    # the service
    "internal": 500,
    "damaged": 500,
    # what a gate says of its replica
    "unsafe_folder": 500,
    "outcome_unknown": 503,
    "unavailable": 503,
    "overloaded": 503,
    "stale": 503,
}


class ConsentError(Exception):
    """Anything that was refused or went wrong, with a stable code.

    `code` is a key of `STATUS`; `detail` says what was wrong, where, and what to do; `extra`
    holds members for programs (JSON values), such as the current version on a conflict.
    """

    def __init__(self, code: str, detail: str, **extra: object) -> None:
        assert code in STATUS, f"no status is known for the code {code!r}"
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra

    @property
    def status(self) -> int:
        """The HTTP status of the code, 400 to 599."""
        return STATUS[self.code]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def __reduce__(self) -> tuple[object, ...]:
        """What a worker process raises arrives whole, also for subclasses that take other arguments."""
        return _restored, (type(self), self.code, self.detail, self.extra)


def _restored(kind: type[ConsentError], code: str, detail: str, extra: dict[str, object]) -> ConsentError:
    error = kind.__new__(kind, detail)
    ConsentError.__init__(error, code, detail, **extra)
    return error


class Refused(ConsentError):
    """A command that the rules refuse; nothing was recorded."""


class Unreadable(ConsentError):
    """Stored bytes that this version cannot read; whatever depends on them is denied."""

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__("quarantined", detail, **extra)
