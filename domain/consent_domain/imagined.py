"""Imagined events, as somebody writes them down: read, completed, and judged as the ledger would judge them.

They have the form of recorded ones (`docs/reference/events.md`); what the ledger itself would say of
them may be left out: the envelope but for `type` and `subject`, who recorded it, `receivedAt`,
`effectiveAt` and `customerSince` (now), `channel`, and the scope of a choice. What of the envelope is
given nevertheless, as in a copy of a recorded event, counts for nothing: it is recorded now.

Where facts suffice, the event is taken for the command that would lead to it, and the rules of that
command are asked (`_COMMANDS`). What becomes of a request is judged by what facts hold of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from consent_domain import commands, events
from consent_domain.commands import Applicant, Command
from consent_domain.errors import Refused
from consent_domain.events import BY_NAME, LOG_STREAM, Body, EventType
from consent_domain.evolve import BREADTH
from consent_domain.facts import NOTHING, Choices, OptOut
from consent_domain.handlers.checks import id_of, instant_of, no_earlier, no_later
from consent_domain.identifiers import is_id
from consent_domain.instants import Micros, rfc3339
from consent_domain.state import policy_at
from consent_domain.what_if import NOBODY, Overlay

_GIVEN_BY_THE_LEDGER = {
    "specversion", "id", "source", "sequence", "time", "datacontenttype", "dataschema", "effect",
}  # fmt: skip


def imagine(overlay: Overlay, written: object) -> Overlay:
    """The facts after the event that is `written` (JSON values), were it recorded next.

    Raises Refused: `malformed` or `invalid_value` for what is no event, else as the ledger would.
    """
    kind, stream, data = _read(written)
    body = _body(kind, stream, data, overlay.at + 1)
    _require_zones(body, "data")
    name = stream.partition("/")[2]
    make = _COMMANDS.get(type(body))
    if make is not None:
        command = make(name, body)
        approved_by = body.approved_by if isinstance(body, events.PurposeResumed) else ""
        event_id = _uuid_of(body) if isinstance(body, events.OptOutRequested) else None
        return overlay.with_command(command, approved_by, event_id)
    _check_choice(overlay, stream, body)
    return overlay.with_body(stream, body)


# -- reading -------------------------------------------------------------------------------------------------


def _read(written: object) -> tuple[EventType, str, dict[str, Any]]:
    if not isinstance(written, Mapping):
        raise Refused("malformed", 'an event is a JSON object: {"type": …, "subject": …, "data": {…}}')
    unknown = sorted(map(str, written.keys() - _GIVEN_BY_THE_LEDGER - {"type", "subject", "data"}))
    if unknown:
        raise Refused("malformed", f"an event has no member {unknown[0]!r}; what it says stands in `data`")
    kind = BY_NAME.get(str(written.get("type")))
    if kind is None:
        raise Refused(
            "invalid_value", f"type is {written.get('type')!r}; it must be one of {', '.join(BY_NAME)}"
        )
    stream = str(written.get("subject", ""))
    where, _, name = stream.partition("/")
    if where not in kind.streams or not (stream == LOG_STREAM if where == "log" else is_id(name)):
        asked = " or ".join(f"{one}/…" for one in kind.streams)
        raise Refused("invalid_value", f"subject must be {asked} for {kind.name}, and is {stream!r}")
    data = written.get("data", {})
    if not isinstance(data, Mapping):
        raise Refused("malformed", f"data of {kind.name} must be a JSON object")
    return kind, stream, dict(data)


def _body(kind: EventType, stream: str, data: dict[str, Any], now: Micros) -> Body:
    where, _, name = stream.partition("/")
    said = {
        "recordedBy": {"principal": NOBODY.principal, "authentication": NOBODY.authentication},
        "receivedAt": rfc3339(now),
        "effectiveAt": rfc3339(now),
        "customerSince": rfc3339(now),
        "channel": NOBODY.authentication,
        "scope": {"kind": where, "id": name},
    }
    if kind.body is events.OptOutRequested:
        said["request"] = ""
    takes = {field.encode_name for field in msgspec.structs.fields(kind.body)}
    complete = {member: value for member, value in said.items() if member in takes} | data
    try:
        return msgspec.json.decode(msgspec.json.encode(complete), type=kind.body)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise Refused("malformed", f"data of {kind.name} cannot be read: {error}") from error


def _require_zones(part: object, where: str) -> None:
    """Every time says its zone and lies where times may."""
    if isinstance(part, datetime):
        instant_of(part, where)
    elif isinstance(part, msgspec.Struct):
        for field in msgspec.structs.fields(part):
            _require_zones(getattr(part, field.name), f"{where}.{field.encode_name}")


def _uuid_of(body: events.OptOutRequested) -> UUID | None:
    if not body.request:
        return None
    try:
        return UUID(body.request)
    except ValueError:
        raise Refused("invalid_value", "data.request must be a UUID; leave it out to get one") from None


# -- what the rules of commands judge ------------------------------------------------------------------------


def _publish(name: str, body: events.PolicyPublished) -> Command:
    return commands.PublishPolicy(
        policy=name,
        version=body.version,
        title=body.title,
        text_sha256=body.text_sha256,
        effective_at=body.effective_at,
        direction=body.direction,
        why=body.why,
        rules=body.rules,
        notice=body.notice,
    )


def _enrol(name: str, body: events.WorkspaceEnrolled) -> Command:
    return commands.EnrolWorkspace(
        workspace=name,
        kind=body.kind,
        plan=body.plan,
        region=body.region,
        contract=body.contract,
        organisation=body.organisation,
        customer_since=body.customer_since,
    )


def _change(name: str, body: events.WorkspaceChanged) -> Command:
    return commands.ChangeWorkspace(
        workspace=name,
        plan=body.plan,
        region=body.region,
        contract=body.contract,
        organisation=body.organisation,
        effective_at=body.effective_at,
    )


def _request_opt_out(name: str, body: events.OptOutRequested) -> Command:
    return commands.RequestOptOut(
        scope=body.scope,
        selector=body.selector,
        applicant=Applicant(role=body.requester.role, authority=body.requester.authority),
        channel=body.channel,
        received_at=body.received_at,
        effective_at=min(body.effective_at, body.received_at),
        evidence=body.evidence,
        reach=body.reach,
    )


_COMMANDS: dict[type[Body], Callable[[str, Any], Command]] = {
    events.PolicyPublished: _publish,
    events.OrganisationRegistered: lambda name, _: commands.RegisterOrganisation(organisation=name),
    events.WorkspaceEnrolled: _enrol,
    events.WorkspaceChanged: _change,
    events.WorkspaceClosed: lambda name, body: commands.CloseWorkspace(
        workspace=name, reason=body.reason, effective_at=body.effective_at
    ),
    events.WorkspaceSucceeded: lambda _, body: commands.SucceedWorkspace(
        workspace=body.successor, predecessor=body.predecessor, kind=body.kind, effective_at=body.effective_at
    ),
    events.PurposeSuspended: lambda name, body: commands.SuspendPurpose(purpose=name, reason=body.reason),
    events.PurposeResumed: lambda name, body: commands.ResumePurpose(purpose=name, reason=body.reason),
    events.OptOutRequested: _request_opt_out,
}


# -- what becomes of requests --------------------------------------------------------------------------------


def _check_choice(overlay: Overlay, stream: str, body: Body) -> None:
    now = overlay.at + 1
    match body:
        case events.OptOutRejected():
            _opt_out(overlay, stream, body.request, processed=False)
            no_earlier(body.effective_at, now, "effectiveAt")
            policy = policy_at(overlay.book, now)
            if policy is None or body.reason not in policy.rules.rejection_reasons:
                raise Refused("reason_not_listed", "the policy in force does not list this reason")
        case events.OptOutWithdrawn():
            _opt_out(overlay, stream, body.request, processed=True)
            no_earlier(body.effective_at, now, "effectiveAt")
            _require_verified(body.requester.authority)
        case (
            events.OptOutAcknowledged()
            | events.OptOutNeedsAction()
            | events.OptOutDelayed()
            | events.OptOutProcessed()
        ):
            _opt_out(overlay, stream, body.request, processed=False)
        case events.OptInGranted():
            _require_verified(body.requester.authority)
            effective = no_earlier(body.effective_at, now, "effectiveAt")
            if body.expires_at is not None and instant_of(body.expires_at, "expiresAt") <= effective:
                raise Refused("invalid_value", "expiresAt does not lie after effectiveAt; name a later time")
        case events.OptInRefused():
            no_later(body.effective_at, now, "effectiveAt")
            _require_known(body.requester.authority)
        case events.OptInWithdrawn():
            no_later(body.effective_at, now, "effectiveAt")
            _require_known(body.requester.authority)
            opt_ins = _choices(overlay, stream).opt_ins
            if not any(one.id == body.opt_in and one.ended is None for one in opt_ins):
                raise Refused(
                    "unknown_opt_in", f"no opt-in of {stream} that could be withdrawn has the id given"
                )


def _choices(overlay: Overlay, stream: str) -> Choices:
    kind, _, name = stream.partition("/")
    facts = overlay.workspace(name) if kind == "workspace" else overlay.organisation(name)
    if facts is None:
        code = "unknown_workspace" if kind == "workspace" else "unknown_organisation"
        raise Refused(code, f"the ledger knows no {kind} {id_of(name, kind)}")
    return facts.choices


def _opt_out(overlay: Overlay, stream: str, request: str, *, processed: bool) -> OptOut:
    """The request, if something can still become of it; one that is `processed` can be withdrawn only."""
    found = next((one for one in _choices(overlay, stream).opt_outs if one.request == request), None)
    if found is None:
        raise Refused(
            "unknown_request", f"no opt-out of {stream} has the id given; `consent history` shows them"
        )
    if found.ended is not None or (found.processed and not processed):
        state = "processed" if found.ended is None else "rejected" if found.rejected else "withdrawn"
        raise Refused("wrong_state", f"request {found.request} is {state} already")
    return found


def _require_verified(authority: str) -> None:
    if authority != "verified":
        raise Refused("authority_insufficient", "what allows use takes a requester of verified authority")


def _require_known(authority: str) -> None:
    if BREADTH.get(authority, NOTHING) == NOTHING:
        raise Refused(
            "authority_insufficient", "this takes a requester whose authority is plausible at least"
        )
