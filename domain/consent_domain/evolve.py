"""`evolve(facts, event) -> facts`: how each event changes what is known. Pure, total over readable events.

An event that changes no standing returns the same facts. What cannot be read reaches
`quarantine` instead: from there on, everything that depends on it is denied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from consent_domain import events
from consent_domain.envelope import Event
from consent_domain.facts import (
    EVERYTHING,
    NOTHING,
    OUTSIDE,
    Attributes,
    Book,
    Choices,
    Facts,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    Succession,
    Suspension,
    WorkspaceFacts,
)
from consent_domain.instants import Micros, micros

BREADTH = {"verified": EVERYTHING, "plausible": OUTSIDE, "unverified": NOTHING}
"""How much an objection stops at once, by how well the requester's authority is proven."""


def evolve(facts: Facts | None, event: Event) -> Facts | None:
    """The facts after `event`; `facts` None is before the first event of the stream.

    Raises AssertionError for a history that no handler could have written (the caller
    quarantines the stream). Cost O(length of the facts' own history).
    """
    if event.body is None:
        return facts
    kind = event.stream.partition("/")[0]
    if kind == "workspace":
        return _workspace(facts if isinstance(facts, WorkspaceFacts) else None, event)
    if kind == "organisation":
        return _organisation(facts if isinstance(facts, OrganisationFacts) else None, event)
    if kind in ("policy", "purpose", "log"):
        return _book(facts if isinstance(facts, Book) else Book(), event)
    return facts


def quarantine(facts: Facts | None, stream: str, position: int) -> Facts | None:
    """The facts after an event of `stream` that cannot be read: deny whatever depends on it."""
    kind, _, name = stream.partition("/")
    match kind:
        case "workspace":
            known = facts if isinstance(facts, WorkspaceFacts) else WorkspaceFacts("", position, 0, ())
            return replace(known, quarantined=known.quarantined or position)
        case "organisation":
            organisation = facts if isinstance(facts, OrganisationFacts) else OrganisationFacts(position)
            return replace(organisation, quarantined=organisation.quarantined or position)
        case "purpose":
            book = facts if isinstance(facts, Book) else Book()
            return replace(book, quarantined_purposes=tuple(sorted({*book.quarantined_purposes, name})))
        case "run" | "recipient":
            return facts
        case _:
            book = facts if isinstance(facts, Book) else Book()
            return replace(book, quarantined=book.quarantined or position)


# -- everybody -----------------------------------------------------------------------------------------------


def _book(book: Book, event: Event) -> Book:
    body, name = event.body, event.stream.partition("/")[2]
    match body:
        case events.LedgerOpened():
            return replace(book, opened=event.position)
        case events.PolicyPublished():
            published = Published(
                body.version, event.position, micros(body.effective_at), body.direction, body.rules
            )
            ordered = sorted(
                (*book.policies, published), key=lambda policy: (policy.effective, policy.position)
            )
            return replace(book, policies=tuple(ordered))
        case events.PurposeSuspended():
            stop = Suspension(name, micros(body.effective_at), event.position)
            return replace(book, suspensions=(*book.suspensions, stop))
        case events.PurposeResumed():
            ended = micros(body.effective_at)
            return replace(
                book,
                suspensions=tuple(
                    replace(stop, ended=ended) if stop.key == name and stop.ended is None else stop
                    for stop in book.suspensions
                ),
            )
    return book


# -- organisations and workspaces ----------------------------------------------------------------------------


def _organisation(facts: OrganisationFacts | None, event: Event) -> OrganisationFacts:
    if isinstance(event.body, events.OrganisationRegistered):
        assert facts is None, "an organisation is registered once"
        return OrganisationFacts(event.position)
    assert facts is not None, "an organisation is registered before anything else happens to it"
    choices = _choices(facts.choices, event)
    return facts if choices is facts.choices else replace(facts, choices=choices)


def _workspace(facts: WorkspaceFacts | None, event: Event) -> WorkspaceFacts:
    body = event.body
    if isinstance(body, events.WorkspaceEnrolled):
        assert facts is None, "a workspace is enrolled once, and its id is never used again"
        return _enrolled(body, event)
    assert facts is not None, "a workspace is enrolled before anything else happens to it"
    # By the type of the body: a rebuild folds millions, and most of them are of a few types.
    step = _WORKSPACE_STEPS.get(type(body))
    if step is not None:
        return step(facts, body, event)
    choices = _choices(facts.choices, event)
    return facts if choices is facts.choices else replace(facts, choices=choices)


def _enrolled(body: events.WorkspaceEnrolled, event: Event) -> WorkspaceFacts:
    since = micros(body.customer_since)
    attributes = Attributes(since, event.position, body.plan, body.region, body.contract, body.organisation)
    return WorkspaceFacts(body.kind, event.position, since, (attributes,))


def _changed(facts: WorkspaceFacts, body: events.WorkspaceChanged, event: Event) -> WorkspaceFacts:
    changed = Attributes(
        micros(body.effective_at), event.position, body.plan, body.region, body.contract, body.organisation
    )
    ordered = sorted((*facts.attributes, changed), key=lambda one: (one.since, one.position))
    return replace(facts, attributes=tuple(ordered))


def _closed(facts: WorkspaceFacts, body: events.WorkspaceClosed, event: Event) -> WorkspaceFacts:
    return replace(
        facts,
        closed=micros(body.effective_at),
        closed_position=event.position,
        closed_by_succession=body.reason == "succeeded",
    )


def _succeeded(facts: WorkspaceFacts, body: events.WorkspaceSucceeded, event: Event) -> WorkspaceFacts:
    name = event.stream.partition("/")[2]
    follows = body.successor == name
    other = body.predecessor if follows else body.successor
    link = Succession(other, follows, micros(body.effective_at), event.position)
    return replace(facts, successions=(*facts.successions, link))


def _erased(facts: WorkspaceFacts, body: events.WorkspaceErased, event: Event) -> WorkspaceFacts:
    return replace(facts, erased_position=event.position)


_WORKSPACE_STEPS: dict[
    type[events.Body] | type[None], Callable[[WorkspaceFacts, Any, Event], WorkspaceFacts]
] = {
    events.WorkspaceChanged: _changed,
    events.WorkspaceClosed: _closed,
    events.WorkspaceSucceeded: _succeeded,
    events.WorkspaceErased: _erased,
}


# -- choices -------------------------------------------------------------------------------------------------


def _choices(choices: Choices, event: Event) -> Choices:
    step = _CHOICE_STEPS.get(type(event.body))
    return choices if step is None else step(choices, event.body, event)


def _requested(choices: Choices, body: events.OptOutRequested, event: Event) -> Choices:
    # One that joins another stands for itself all the same: what it joined may be rejected or withdrawn.
    opt_out = OptOut(
        body.request,
        body.selector,
        _earliest(body),
        event.position,
        BREADTH.get(body.requester.authority, EVERYTHING),
        permit_until=None if body.permit_until is None else micros(body.permit_until),
    )
    return replace(choices, opt_outs=(*choices.opt_outs, opt_out))


def _earliest(body: events.OptOutRequested) -> Micros:
    return min(micros(body.effective_at), micros(body.received_at))


def _acknowledged(choices: Choices, body: events.OptOutAcknowledged, event: Event) -> Choices:
    breadth = BREADTH.get(body.authority, EVERYTHING)

    def raised(opt_out: OptOut) -> OptOut:
        more = breadth > opt_out.breadth
        return replace(opt_out, breadth=breadth, position=event.position) if more else opt_out

    return _with_opt_out(choices, body.request, raised)


def _processed(choices: Choices, body: events.OptOutProcessed, event: Event) -> Choices:
    return _with_opt_out(
        choices,
        body.request,
        lambda one: replace(
            one, processed=True, breadth=EVERYTHING, position=event.position, permit_until=None
        ),
    )


def _rejected(choices: Choices, body: events.OptOutRejected, _: Event) -> Choices:
    ended = micros(body.effective_at)
    return _with_opt_out(choices, body.request, lambda one: replace(one, ended=ended, rejected=True))


def _withdrawn(choices: Choices, body: events.OptOutWithdrawn, _: Event) -> Choices:
    ended = micros(body.effective_at)
    return _with_opt_out(choices, body.request, lambda one: replace(one, ended=ended))


def _with_opt_out(choices: Choices, request: str, change: Callable[[OptOut], OptOut]) -> Choices:
    return replace(
        choices,
        opt_outs=tuple(change(one) if one.request == request else one for one in choices.opt_outs),
    )


def _granted(choices: Choices, body: events.OptInGranted, event: Event) -> Choices:
    opt_in = OptIn(
        body.opt_in,
        tuple(body.shown),
        tuple(purpose.key for purpose in body.shown),
        micros(body.effective_at),
        event.position,
        expires=None if body.expires_at is None else micros(body.expires_at),
        covers_before=body.covers_collected_before,
    )
    return replace(choices, opt_ins=(*choices.opt_ins, opt_in))


def _refused(choices: Choices, body: events.OptInRefused, event: Event) -> Choices:
    at = micros(body.effective_at)
    opt_in = OptIn(
        body.opt_in,
        (),
        tuple(body.keys),
        at,
        event.position,
        ended=at,
        ended_position=event.position,
        refused=True,
    )
    return replace(choices, opt_ins=(*choices.opt_ins, opt_in))


def _opt_in_withdrawn(choices: Choices, body: events.OptInWithdrawn, event: Event) -> Choices:
    ended = micros(body.effective_at)
    return replace(
        choices,
        opt_ins=tuple(
            replace(one, ended=ended, ended_position=event.position)
            if one.id == body.opt_in and one.ended is None
            else one
            for one in choices.opt_ins
        ),
    )


_CHOICE_STEPS: dict[type[events.Body] | type[None], Callable[[Choices, Any, Event], Choices]] = {
    events.OptOutRequested: _requested,
    events.OptOutAcknowledged: _acknowledged,
    events.OptOutProcessed: _processed,
    events.OptOutRejected: _rejected,
    events.OptOutWithdrawn: _withdrawn,
    events.OptInGranted: _granted,
    events.OptInRefused: _refused,
    events.OptInWithdrawn: _opt_in_withdrawn,
}
