"""Explicit consent: requested, then granted or refused, and withdrawn as easily as it was given.

A grant records the purposes exactly as the notice showed them; it holds for nothing else. It is the
strongest permission there is, so it takes proven authority and an end to every objection first.
"""

from __future__ import annotations

from consent_domain.commands import Applicant, GrantOptIn, RefuseOptIn, RequestOptIn, WithdrawOptIn
from consent_domain.errors import Refused
from consent_domain.events import (
    OptInGranted,
    OptInRefused,
    OptInRequested,
    OptInWithdrawn,
    Requester,
    Scope,
)
from consent_domain.evolve import BREADTH
from consent_domain.facts import NOTHING, OUTSIDE, Book, Choices
from consent_domain.grounds import prepare
from consent_domain.handlers.checks import ids_of, instant_of, name_of, no_earlier, no_later
from consent_domain.handlers.lookups import (
    active_workspace,
    known_request,
    known_scope,
    readable_book,
    scope_stream,
)
from consent_domain.handlers.opt_outs import checked_scope
from consent_domain.handlers.policies import notice_of
from consent_domain.handlers.terms import Context, Verdict, requester_of, spoken, verdict
from consent_domain.instants import Micros, moment_of, rfc3339
from consent_domain.purposes import Purpose, reaches_outside, selects_any
from consent_domain.requests import Request
from consent_domain.state import State, policy_at

_FOR_EVER: Micros = 1 << 62


def request_opt_in(state: State, command: RequestOptIn, context: Context) -> Verdict:
    """Somebody asks to be opted in; nothing is permitted by it."""
    scope = checked_scope(command.scope)
    known_scope(state, scope)
    keys = _named(command.keys)
    _shown(state.everybody.book, keys, context.now)
    body = OptInRequested(
        opt_in=str(context.event_ids[0]),
        keys=keys,
        scope=scope,
        requester=requester_of(command.applicant, context),
        channel=name_of(command.channel, "channel"),
        received_at=moment_of(no_later(command.received_at, context.now, "receivedAt")),
        **spoken(command, context),
    )
    return verdict(context, [(scope_stream(scope), body)], {"optIn": body.opt_in, "state": "received"})


def grant(state: State, command: GrantOptIn, context: Context) -> Verdict:
    """Consent to the purposes as they are at its effective time, else as they are announced."""
    readable_book(state)
    _, request = known_request(state, context, command.opt_in, "opt_in")
    _in_state(request, ("received",), "granted")
    if request.scope_kind == "workspace":
        active_workspace(state, request.scope_id)
    requester = requester_of(command.applicant, context)
    if requester.authority != "verified":
        raise Refused(
            "authority_insufficient",
            f"consent takes verified authority, not {requester.authority}; prove who consents, or let the "
            "owner grant it",
        )
    effective = no_earlier(command.effective_at, context.now, "effectiveAt")
    expires = None if command.expires_at is None else instant_of(command.expires_at, "expiresAt")
    if expires is not None and expires <= effective:
        raise Refused(
            "invalid_value",
            f"expiresAt is {rfc3339(expires)}, not after effectiveAt {rfc3339(effective)}; name a later time",
        )
    _, choices, _ = known_scope(state, Scope(kind=request.scope_kind, id=request.scope_id))
    _no_objection(state.everybody.book, choices, request, context.now)
    notice = notice_of(command.notice, context.now)
    assert notice is not None, "a grant always has a notice"
    body = OptInGranted(
        opt_in=request.id,
        shown=_shown(state.everybody.book, list(request.keys), effective),
        notice=notice,
        requester=requester,
        effective_at=moment_of(effective),
        expires_at=None if expires is None else moment_of(expires),
        covers_collected_before=command.covers_collected_before,
        **spoken(command, context),
    )
    answer: dict[str, object] = {
        "optIn": request.id,
        "state": "granted",
        "effectiveAt": rfc3339(effective),
        "expiresAt": None if expires is None else rfc3339(expires),
    }
    return verdict(context, [(request.stream, body)], answer)


def refuse(state: State, command: RefuseOptIn, context: Context) -> Verdict:
    """Consent is refused, which stands under every later policy until a new opt-in."""
    _, request = known_request(state, context, command.opt_in, "opt_in")
    _in_state(request, ("received",), "refused")
    body = OptInRefused(
        opt_in=request.id,
        keys=list(request.keys),
        requester=_proven(command.applicant, context),
        effective_at=moment_of(context.now),
        **spoken(command, context),
    )
    return verdict(context, [(request.stream, body)], {"optIn": request.id, "state": "refused"})


def withdraw(state: State, command: WithdrawOptIn, context: Context) -> Verdict:
    """Consent, or the request for it, is taken back; it counts at once."""
    _, request = known_request(state, context, command.opt_in, "opt_in")
    _in_state(request, ("received", "granted"), "withdrawn")
    body = OptInWithdrawn(
        opt_in=request.id,
        requester=_proven(command.applicant, context),
        effective_at=moment_of(context.now),
        **spoken(command, context),
    )
    return verdict(context, [(request.stream, body)], {"optIn": request.id, "state": "withdrawn"})


def _named(keys: list[str]) -> list[str]:
    if not keys:
        raise Refused("invalid_value", "keys is empty; consent names each purpose")
    return ids_of(keys, "keys")


def _in_state(request: Request, states: tuple[str, ...], what: str) -> None:
    if request.state not in states:
        raise Refused(
            "wrong_state",
            f"opt-in {request.id} is {request.state} and can no longer be {what}; request a new one",
            state=request.state,
        )


def _proven(applicant: Applicant, context: Context) -> Requester:
    """The requester, if at least plausible: a refusal outlives policies, so a stranger cannot say it."""
    requester = requester_of(applicant, context)
    if BREADTH[requester.authority] == NOTHING:
        raise Refused(
            "authority_insufficient",
            "the requester's authority is unverified; prove who asks, or record an opt-out, which anybody "
            "may request",
        )
    return requester


def _shown(book: Book, keys: list[str], at: Micros) -> list[Purpose]:
    """Each purpose as the policy in force at `at` defines it, else as the next announced one does."""
    in_force = policy_at(book, at)
    announced = [policy for policy in book.policies if policy.effective > at]
    policies = [*([] if in_force is None else [in_force]), *announced]
    shown = []
    for key in keys:
        definitions = (one for policy in policies for one in policy.rules.purposes if one.key == key)
        found = next(definitions, None)
        if found is None:
            raise Refused(
                "unknown_purpose",
                f"no policy that is in force or announced names a purpose {key}; look it up",
            )
        shown.append(found)
    return shown


def _no_objection(book: Book, choices: Choices, request: Request, now: Micros) -> None:
    """Refuse while an opt-out of the same scope that stops anything still names one of the purposes."""
    for key in request.keys:
        case = prepare(book, key, (), _FOR_EVER)
        for opt_out in choices.opt_outs:
            ended = opt_out.ended is not None and opt_out.ended <= now
            idle = opt_out.breadth == NOTHING or (
                opt_out.breadth == OUTSIDE and not any(map(reaches_outside, case.lineage))
            )
            names = not case.keys.isdisjoint(opt_out.selector.keys) or selects_any(
                opt_out.selector, case.lineage
            )
            if names and not ended and not idle:
                raise Refused(
                    "wrong_state",
                    f"opt-out {opt_out.request} of this {request.scope_kind} names {key}; withdraw it first",
                    request=opt_out.request,
                )
