"""Commands: from members of JSON to the writer, and from its outcome to what the caller is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from consent_domain import commands
from consent_domain.commands import Command, LiveCommand
from consent_domain.errors import ConsentError
from consent_domain.instants import rfc3339

from consent_ledger.http.calls import Answer, Call, encode
from consent_ledger.http.json_body import convert, decode_members
from consent_ledger.http.permissions import request_of, require_command, require_own_stream
from consent_ledger.http.problems import TITLES, camel, problem_of
from consent_ledger.key_ring import Principal

if TYPE_CHECKING:
    from consent_ledger.outcome import Outcome
    from consent_ledger.worker import Worker

COMMANDS_MAX = 100
_BY_TAG: dict[str, type[Command]] = {str(kind.__struct_config__.tag): kind for kind in get_args(LiveCommand)}


# -- from JSON to a command ----------------------------------------------------------------------------------


def command_from(principal: Principal, kind: type[Command], members: dict[str, Any]) -> Command:
    """The command that `members` write, as this principal may give it.

    Raises ConsentError `malformed`, `forbidden` or `unknown_…`. Values are checked where it is decided.
    """
    if principal.role == "owner":
        _speak_for_themselves(kind, members)
    command = convert(members, kind)
    require_command(principal, command)
    return command


def _speak_for_themselves(kind: type[Command], members: dict[str, Any]) -> None:
    """An owner's key is the proof of authority: they act as themselves, now, and not in another's name."""
    for name in ("onBehalfOf", "receivedAt"):
        if members.get(name):
            raise ConsentError("forbidden", f"only staff may state {name}")
    fields = kind.__struct_fields__
    if "applicant" in fields:
        given = members.get("applicant")
        subject = given.get("subject", "") if isinstance(given, dict) else ""
        members["applicant"] = {"role": "owner", "authority": "verified", "subject": subject}
    if kind is commands.AcknowledgeOptOut:
        members["authority"] = "verified"


# -- from a command to its answer ----------------------------------------------------------------------------


async def write(
    call: Call, kind: type[Command], status: int = 200, given: dict[str, Any] | None = None
) -> Answer:
    """Give the command in the body, with what the path gives, and answer with its outcome.

    `status` is that of a recorded command; a dry run answers 200. Raises ConsentError for a refusal,
    `outcome_unknown` if the commit's outcome is not known: the same Idempotency-Key settles it.
    """
    members = decode_members(call.body)
    for name in given or ():
        if name in members:
            raise ConsentError("malformed", f"{name} is given by the path; leave it out of the body")
    command = command_from(call.principal, kind, members | (given or {}))
    await require_own_request(call.worker, call.principal, command)
    outcome = await call.worker.writer.write(
        command,
        call.principal,
        idempotency_key=call.idempotency_key,
        expected_version=call.expected_version,
        dry_run=call.dry_run,
    )
    return answer_of(outcome, status)


async def require_own_request(worker: Worker, principal: Principal, command: Command) -> None:
    """Raises ConsentError `unknown_request` or `unknown_opt_in` for another tenant's."""
    named = request_of(command)
    if named is not None and principal.scope_kind is not None:
        identifier, code = named
        stream = await worker.writer.stream_of_request(identifier)
        require_own_stream(principal, stream, ConsentError(code, "there is no request with this id"))


def answer_of(outcome: Outcome, status: int) -> Answer:
    """A recorded outcome as an answer. Raises the ConsentError that it was refused with."""
    error = refusal_of(outcome)
    if error is not None:
        raise error
    members = told(outcome)
    headers = [(b"consent-token", outcome.token.encode())] if outcome.token else []
    if outcome.stream_version:
        headers.append((b"etag", f'"{outcome.stream_version}"'.encode()))
    if "statusUrl" in members:
        headers.append((b"location", str(members["statusUrl"]).encode()))
    return Answer(200 if outcome.dry_run else status, encode(members), headers)


def refusal_of(outcome: Outcome) -> ConsentError | None:
    """Why a command was not applied, or None if it was, or would be."""
    if outcome.status == "unknown":
        return ConsentError(
            "outcome_unknown",
            "the commit was sent and its outcome is not known; ask again with the same Idempotency-Key",
        )
    if outcome.error_code:
        return ConsentError(outcome.error_code, outcome.error_detail, **outcome.error_extra)
    return None


def told(outcome: Outcome) -> dict[str, object]:
    """What is told of an outcome that is no refusal: the members of WriteAnswer or RequestAnswer."""
    members: dict[str, object] = {"status": outcome.status, "token": outcome.token}
    if outcome.last_position:
        members["firstPosition"] = str(outcome.first_position)
        members["position"] = str(outcome.last_position)
    if outcome.recorded_at is not None:
        members["recordedAt"] = rfc3339(outcome.recorded_at)
    if outcome.stream_version:
        members["version"] = outcome.stream_version
    if outcome.dry_run:
        members["dryRun"] = True
    if outcome.replayed:
        members["replayed"] = True
    members |= outcome.answer
    request = outcome.answer.get("request")
    if isinstance(request, str) and not outcome.dry_run:
        members["statusUrl"] = f"/v1/requests/{request}"
    return members


# -- many at once --------------------------------------------------------------------------------------------


async def write_commands(call: Call) -> Answer:
    """Give up to 100 commands, each with its own verdict, in order.

    An Idempotency-Key stands for the whole batch: command *n* gets the key with `/n` after it.
    """
    given = decode_members(call.body)
    items = given.get("commands")
    if given.keys() != {"commands"} or not isinstance(items, list) or not items:
        raise ConsentError("malformed", 'the body must be {"commands": […]} with at least one command')
    if len(items) > COMMANDS_MAX:
        raise ConsentError(
            "too_large", f"a batch has at most {COMMANDS_MAX} commands", commands_max=COMMANDS_MAX
        )
    if call.expected_version is not None:
        raise ConsentError("malformed", "If-Match cannot stand for several commands; give them singly")
    verdicts: list[dict[str, object]] = [{}] * len(items)
    ready: list[tuple[int, Command]] = []
    for index, item in enumerate(items):
        try:
            command = _command_of_item(call.principal, item)
            await require_own_request(call.worker, call.principal, command)
            ready.append((index, command))
        except ConsentError as error:
            verdicts[index] = refused(error)
    key = call.idempotency_key
    outcomes = await call.worker.writer.write_many(
        [command for _, command in ready],
        call.principal,
        idempotency_keys=[f"{key}/{index}" for index, _ in ready] if key else None,
        dry_run=call.dry_run,
    )
    for (index, _), outcome in zip(ready, outcomes, strict=True):
        refusal = refusal_of(outcome)
        verdicts[index] = told(outcome) if refusal is None else refused(refusal, outcome.status)
    return Answer(200, encode({"verdicts": verdicts}), _newest_token(outcomes))


def _command_of_item(principal: Principal, item: object) -> Command:
    if not isinstance(item, dict):
        raise ConsentError("malformed", "a command must be a JSON object")
    kind = _BY_TAG.get(str(item.get("command")))
    if kind is None:
        known = ", ".join(_BY_TAG)
        raise ConsentError("malformed", f"`command` must be one of {known}")
    return command_from(principal, kind, item)


def refused(error: Exception, status: str = "not_applied") -> dict[str, object]:
    """A refusal as one verdict among others."""
    problem = problem_of(error)
    extra = {camel(name): value for name, value in problem.extra.items()}
    return extra | {
        "status": status,
        "code": problem.code,
        "title": TITLES[problem.code],
        "detail": problem.detail,
    }


def _newest_token(outcomes: list[Outcome]) -> list[tuple[bytes, bytes]]:
    newest = max(outcomes, key=lambda outcome: outcome.last_position, default=None)
    return [(b"consent-token", newest.token.encode())] if newest is not None and newest.token else []
