"""RFC 9457 problems: every refusal and failure leaves as `application/problem+json` with a stable code.

Members: `type` (a URI by code), `title` (the same for every problem of the code), `status`, `detail`
(what was wrong here, and what to do), `code`, `instance` (names this occurrence in the logs), and what
a program may want, such as `currentVersion`. The status of a code is `consent_domain.errors.STATUS`.
"""

from __future__ import annotations

import re
from uuid import uuid4

import asyncpg
import msgspec
import structlog
from consent_domain.errors import STATUS, ConsentError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:consent-ledger:problem:"
RETRY_AFTER_SECONDS = 1

TITLES = {
    "malformed": "The request cannot be read",
    "too_deep": "The JSON is nested too deep",
    "invalid_id": "An id uses characters that ids may not have",
    "invalid_token": "A token cannot be read",
    "invalid_time": "A time cannot be read",
    "unauthenticated": "No valid API key was sent",
    "forbidden": "The API key may not do this",
    "not_found": "There is nothing at this address",
    "method_not_allowed": "The address does not take this method",
    "too_large": "The request is larger than allowed",
    "unsupported_media_type": "The body is of a type that the address does not take",
    "range_not_satisfiable": "The file ends before the range that was asked for",
    "unknown_workspace": "No such workspace",
    "unknown_organisation": "No such organisation",
    "unknown_purpose": "No such purpose",
    "unknown_request": "No such request",
    "unknown_opt_in": "No such opt-in",
    "unknown_person": "No such person",
    "unknown_run": "No such run",
    "already_exists": "It exists already",
    "version_conflict": "It changed since it was read",
    "wrong_state": "Not possible in the present state",
    "already_open": "The ledger is open already",
    "not_suspended": "The purpose is not suspended",
    "second_person_required": "A second person must agree",
    "policy_out_of_order": "The policy does not follow the one before",
    "quarantined": "Stored events cannot be read",
    "unsupported_scope": "Choices for this kind of scope are not supported",
    "invalid_value": "A value is not one of those possible",
    "postdated": "The time lies later than allowed",
    "backdated": "The time lies earlier than allowed",
    "not_editorial": "The new version changes decisions",
    "wrong_direction": "The new version does not change what its direction says",
    "notice_too_short": "The notice is shorter than the policy promises",
    "no_policy_in_force": "No policy is in force",
    "reason_not_listed": "The policy does not list this reason",
    "required_by_policy": "The policy requires this purpose",
    "authority_insufficient": "The requester's authority is not proven enough",
    "event_too_large": "The event is larger than the log can hold",
    "idempotency_key_reused": "The Idempotency-Key was used for something else",
    "manifest_refused": "The manifest claims what the ledger never said",
    "erased": "It was erased",
    "resync": "What changed since then is no longer kept apart",
    "forked": "The token names a history that is not this one",
    "other_origin": "The token is of another log",
    "wrong_key": "The feed is signed by another key than the one given",
    "proof_invalid": "What was sent does not prove what it should",
    "beyond_checkpoint": "No checkpoint covers it yet",
    "internal": "The service failed",
    "damaged": "The log, or what is published of it, is damaged",
    "unsafe_folder": "Other users of the host may write into the folder",
    "outcome_unknown": "Whether it was recorded is not known",
    "unavailable": "The service cannot do this at the moment",
    "overloaded": "The service has too much to do at the moment",
    "stale": "What is known here is too old",
}

_CODES = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
"""The code of a status that the framework answers with by itself."""

_DETAILS = {
    404: "no operation has this path; /v1/openapi.json lists them",
    405: "the path exists and does not take this method; see the Allow header, or /v1/openapi.json",
}

_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)
"""What a database that is down, starting, full or not migrated raises."""

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger()


def problem_of(error: Exception) -> ConsentError:
    """The error that is told for `error`; what nobody foresaw is told as `internal`, and never shown."""
    if isinstance(error, ConsentError):
        return error
    if isinstance(error, _UNREACHABLE):
        _log.warning("database_unreachable", error=type(error).__name__)
        return ConsentError("unavailable", "the database cannot be reached; try again")
    status = getattr(error, "status_code", 500)
    if isinstance(status, int) and status in _CODES:
        detail = _DETAILS.get(status) or str(getattr(error, "detail", "")) or TITLES[_CODES[status]]
        return ConsentError(_CODES[status], detail)
    return ConsentError("internal", "the failure was logged under the id in `instance`")


def answer_to(error: Exception) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Status, body and headers of the problem that `error` is answered with. Logs what is `internal`."""
    problem = problem_of(error)
    instance = f"urn:uuid:{uuid4()}"
    if problem.code == "internal":
        _log.error("request_failed", instance=instance, exc_info=error)
    members: dict[str, object] = {
        "type": TYPE_PREFIX + problem.code,
        "title": TITLES[problem.code],
        "status": STATUS[problem.code],
        "detail": problem.detail,
        "code": problem.code,
        "instance": instance,
    }
    members |= {camel(name): value for name, value in problem.extra.items() if camel(name) not in members}
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if problem.status == 503:
        headers.append(
            (b"retry-after", str(problem.extra.get("retry_after_seconds", RETRY_AFTER_SECONDS)).encode())
        )
    if problem.status == 416 and "bytes" in problem.extra:
        headers.append((b"content-range", f"bytes */{problem.extra['bytes']}".encode()))
    if problem.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="consent-ledger"'))
    return problem.status, _encode(members), headers


def camel(name: str) -> str:
    """`current_version` as `currentVersion`; what is in lowerCamelCase already stays as it is."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)
