"""The life of an opt-out: requested, acknowledged, delayed, processed, rejected or withdrawn.

What denies more is easy and counts at once; what ends a denial is hard: a rejection takes a reason
that the policy lists and a second person, a withdrawal takes somebody whose authority is proven.
"""

from __future__ import annotations

from typing import Any

from consent_domain.commands import (
    AcknowledgeOptOut,
    AskForAction,
    DelayOptOut,
    ProcessOptOut,
    RejectOptOut,
    RequestOptOut,
    WithdrawOptOut,
)
from consent_domain.errors import Refused
from consent_domain.events import (
    Body,
    Deadline,
    OptOutAcknowledged,
    OptOutDelayed,
    OptOutNeedsAction,
    OptOutProcessed,
    OptOutRejected,
    OptOutRequested,
    OptOutWithdrawn,
    Requester,
    Scope,
)
from consent_domain.evolve import BREADTH
from consent_domain.facts import NOTHING, OUTSIDE, Book, Published
from consent_domain.grounds import names, prepare
from consent_domain.handlers.checks import (
    authority_of,
    id_of,
    ids_of,
    name_of,
    no_later,
    selector_of,
    text_of,
)
from consent_domain.handlers.lookups import known_request, known_scope, scope_stream
from consent_domain.handlers.rejections import check_rejection
from consent_domain.handlers.terms import Context, Verdict, requester_of, spoken, verdict
from consent_domain.instants import DAY, Micros, micros, moment_of, rfc3339
from consent_domain.policy import DeadlineRule, PolicyRules, deadline_of
from consent_domain.purposes import Selector, covers_selector, reaches_outside, selects
from consent_domain.requests import Request
from consent_domain.state import State, StreamState, policy_at

SCOPE_KINDS = ("workspace", "organisation")
JOINED_MAX = 15
"""How many requests may join one: they are processed with it in one commit."""
EVIDENCE_BYTES_MAX = 64
"""Evidence is an HMAC; SHA-512's takes 64 bytes."""


def request_opt_out(state: State, command: RequestOptOut, context: Context) -> Verdict:
    """An objection is always recorded; it denies from receipt, as far as its authority goes."""
    scope = checked_scope(command.scope)
    stream, _, region = known_scope(state, scope)
    received = no_later(command.received_at, context.now, "receivedAt")
    effective = no_later(command.effective_at, received, "effectiveAt")
    if len(command.evidence) > EVIDENCE_BYTES_MAX:
        raise Refused("invalid_value", f"evidence is an HMAC of at most {EVIDENCE_BYTES_MAX} bytes; hash it")
    requester = requester_of(command.applicant, context)
    body = objection(
        str(context.event_ids[0]),
        scope,
        selector_of(command.selector, "selector"),
        requester,
        name_of(command.channel, "channel"),
        state.everybody.book,
        region,
        received,
        effective,
        context.now,
        joins=_joined(stream, command.selector, requester.authority),
        evidence=command.evidence,
        reach=ids_of(command.reach, "reach"),
        **spoken(command, context),
    )
    answer: dict[str, object] = {
        "request": body.request,
        "state": "received",
        "deniedSince": _denied_since(state.everybody.book, body, context.now),
        "dueAt": None if body.deadline is None else rfc3339(micros(body.deadline.due_at)),
        "joined": bool(body.joins),
    }
    if body.joins:
        answer["joins"] = body.joins
    return verdict(context, [(scope_stream(scope), body)], answer)


def checked_scope(scope: Scope) -> Scope:
    """The scope itself if this release takes its kind and the id may be one."""
    if scope.kind not in SCOPE_KINDS:
        raise Refused(
            "unsupported_scope",
            f"scope.kind must be one of {' and '.join(SCOPE_KINDS)}; this release takes no other",
        )
    id_of(scope.id, "scope.id")
    return scope


def objection(
    request: str,
    scope: Scope,
    selector: Selector,
    requester: Requester,
    channel: str,
    book: Book,
    region: str,
    received: Micros,
    effective: Micros,
    now: Micros,
    **rest: Any,
) -> OptOutRequested:
    """The event of an objection, live or imported, with the deadline that the policy gave at receipt."""
    policy = policy_at(book, received) or policy_at(book, now)
    deadline = None if policy is None else _deadline(policy.rules, scope, region, received)
    permit_until = None
    if policy is not None and policy.rules.while_requested == "permit" and deadline is not None:
        permit_until = deadline.due_at if micros(deadline.due_at) > now else None
    return OptOutRequested(
        request=request,
        selector=selector,
        scope=scope,
        requester=requester,
        channel=channel,
        received_at=moment_of(received),
        effective_at=moment_of(effective),
        deadline=deadline,
        permit_until=permit_until,
        **rest,
    )


def _deadline(rules: PolicyRules, scope: Scope, region: str, received: Micros) -> Deadline | None:
    rule: DeadlineRule | None = deadline_of(rules, region)
    if rule is None and scope.kind == "organisation":
        # Its workspaces may be anywhere: the shortest promise that any of them has.
        rule = min(rules.deadlines, key=lambda one: one.days, default=None)
    if rule is None:
        return None
    return Deadline(rule=rule.id, due_at=moment_of(received + rule.days * DAY), law=rule.law)


def _joined(stream: StreamState, selector: Selector, authority: str) -> str:
    """The open request that this one adds nothing to, if there is one with room."""
    for request in stream.requests.values():
        if (
            request.kind == "opt_out"
            and request.is_open
            and not request.joins
            and request.selector is not None
            and covers_selector(request.selector, selector)
            and BREADTH[request.authority] >= BREADTH[authority]
            and len(_joined_to(stream, request)) < JOINED_MAX
        ):
            return request.id
    return ""


def _joined_to(stream: StreamState, request: Request) -> list[Request]:
    return [one for one in stream.requests.values() if one.joins == request.id and one.is_open]


def _denied_since(book: Book, body: OptOutRequested, now: Micros) -> str | None:
    """Since when the objection denies anything; None while it denies nothing."""
    breadth = BREADTH[body.requester.authority]
    policy = policy_at(book, now)
    if body.permit_until is not None or breadth == NOTHING or not _names_any(book, body.selector, now):
        return None
    if breadth == OUTSIDE and not (policy and _names_outside(policy, body.selector)):
        return None
    return rfc3339(micros(body.effective_at))


def _names_any(book: Book, selector: Selector, now: Micros) -> bool:
    """Whether the selector names any purpose in force, or one to come: a mistyped key or word names none."""
    policy = policy_at(book, now)
    purposes = [] if policy is None else policy.rules.purposes
    return selector.all or any(
        selects(selector, purpose) or names(selector, prepare(book, purpose.key, (), now))
        for purpose in purposes
    )


def _names_outside(policy: Published, selector: Selector) -> bool:
    return any(
        reaches_outside(purpose)
        and (selects(selector, purpose) or not set(selector.keys).isdisjoint(purpose.replaces))
        for purpose in policy.rules.purposes
    )


# -- on its way ----------------------------------------------------------------------------------------------


def acknowledge(state: State, command: AcknowledgeOptOut, context: Context) -> Verdict:
    """Receipt is confirmed; authority that was proven meanwhile counts from receipt, and never falls."""
    _, request = _open(state, context, command.request, "acknowledged")
    given = command.authority or request.authority
    proven = authority_of(given, context.role, "authority")
    authority = max(proven, request.authority, key=lambda one: BREADTH[one])
    body = OptOutAcknowledged(request=request.id, authority=authority, **spoken(command, context))
    return _moved(context, request, body, state="acknowledged", authority=authority)


def ask_for_action(state: State, command: AskForAction, context: Context) -> Verdict:
    """The requester is asked for something; the deadline runs on."""
    _, request = _open(state, context, command.request, "asked for anything")
    body = OptOutNeedsAction(
        request=request.id,
        action=text_of(command.action, "action"),
        reason=text_of(command.reason, "reason", empty=True),
        **spoken(command, context),
    )
    return _moved(context, request, body, state="needs_action")


def delay(state: State, command: DelayOptOut, context: Context) -> Verdict:
    """Due later, once, by what the rule allows, and said before it was due (GDPR 12(3))."""
    _, request = _open(state, context, command.request, "delayed")
    text_of(command.reason, "reason")
    rule = _rule(state.everybody.book, request)
    if request.due_at is None or rule is None or rule.extension_days <= 0:
        raise Refused(
            "wrong_state",
            f"request {request.id} stands under the deadline rule {request.rule!r}, which allows no delay; "
            "process or reject it in time",
        )
    if request.extended:
        raise Refused("wrong_state", f"request {request.id} was delayed before, which is allowed once")
    if request.due_at < context.now:
        raise Refused(
            "wrong_state",
            f"request {request.id} was due at {rfc3339(request.due_at)}; a delay must be said before",
        )
    due = request.due_at + rule.extension_days * DAY
    body = OptOutDelayed(
        request=request.id,
        deadline=Deadline(rule=request.rule, due_at=moment_of(due), law=request.law),
        reason=command.reason,
        **spoken(command, context),
    )
    return _moved(context, request, body, state="delayed", dueAt=rfc3339(due))


def _rule(book: Book, request: Request) -> DeadlineRule | None:
    """The deadline rule as it was when the request came, which is what the requester was told."""
    then = policy_at(book, request.received_at)
    policies = [then] if then is not None else list(book.policies)
    for policy in policies:
        for rule in policy.rules.deadlines:
            if rule.id == request.rule:
                return rule
    return None


# -- at its end ----------------------------------------------------------------------------------------------


def process(state: State, command: ProcessOptOut, context: Context) -> Verdict:
    """Accepted for all that it names, with the requests that joined it."""
    stream, request = _open(state, context, command.request, "processed")
    approved_by = name_of(command.approved_by, "approvedBy", empty=True)
    if request.authority != "verified" and context.role != "owner":
        second_person(context, approved_by, f"processing a request whose authority is {request.authority}")
    also = _joined_to(stream, request)
    bodies: list[tuple[str, Body]] = [
        (
            request.stream,
            OptOutProcessed(request=one.id, approved_by=approved_by, **spoken(command, context)),
        )
        for one in (request, *also)
    ]
    return verdict(
        context,
        bodies,
        {
            "request": request.id,
            "state": "processed",
            "processedAt": rfc3339(context.now),
            "alsoProcessed": [one.id for one in also],
        },
    )


def reject(state: State, command: RejectOptOut, context: Context) -> Verdict:
    """The denial ends; those that joined the request stand on."""
    stream, request = _open(state, context, command.request, "rejected")
    approved_by = name_of(command.approved_by, "approvedBy", empty=True)
    if check_rejection(state.everybody.book, stream, request, command.reason, context.now):
        second_person(context, approved_by, f"rejecting a request for the reason {command.reason}")
    body = OptOutRejected(
        request=request.id,
        reason=command.reason,
        approved_by=approved_by,
        effective_at=moment_of(context.now),
        **spoken(command, context),
    )
    return _moved(context, request, body, state="rejected", remaining=_remaining(stream, request))


def withdraw(state: State, command: WithdrawOptOut, context: Context) -> Verdict:
    """Taken back by somebody whose authority is proven; whatever else was requested stands on."""
    stream, request = known_request(state, context, command.request, "opt_out")
    if not request.is_open and request.state != "processed":
        _refuse_state(request, "withdrawn")
    requester = requester_of(command.applicant, context)
    if requester.authority != "verified":
        raise Refused(
            "authority_insufficient",
            f"withdrawing request {request.id} allows use again and takes verified authority, not "
            f"{requester.authority}; prove who asks, or let the owner withdraw it",
        )
    body = OptOutWithdrawn(
        request=request.id,
        requester=requester,
        effective_at=moment_of(context.now),
        **spoken(command, context),
    )
    return _moved(context, request, body, state="withdrawn", remaining=_remaining(stream, request))


def second_person(context: Context, approved_by: str, what: str) -> None:
    """Refuse what takes two people unless a second one approved."""
    if not approved_by or approved_by == context.recorded_by.principal:
        raise Refused(
            "second_person_required",
            f"{what} takes two persons: approvedBy must name somebody else than "
            f"{context.recorded_by.principal}",
        )


def _open(state: State, context: Context, request: str, what: str) -> tuple[StreamState, Request]:
    stream, found = known_request(state, context, request, "opt_out")
    if not found.is_open:
        _refuse_state(found, what)
    return stream, found


def _refuse_state(request: Request, what: str) -> None:
    raise Refused(
        "wrong_state",
        f"request {request.id} is {request.state} and can no longer be {what}; a new request is always taken",
        state=request.state,
    )


def _remaining(stream: StreamState, ended: Request) -> list[str]:
    """The other requests that still deny, or are still to be decided."""
    return [
        one.id
        for one in stream.requests.values()
        if one.kind == "opt_out" and one.id != ended.id and (one.is_open or one.state == "processed")
    ]


def _moved(context: Context, request: Request, body: Body, **told: object) -> Verdict:
    return verdict(context, [(request.stream, body)], {"request": request.id, **told})
