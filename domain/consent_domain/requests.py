"""A request's life: an opt-out or opt-in on its way, folded from the events that name it.

| kind | states on the way | states at the end |
|---|---|---|
| `opt_out` | `received`, `acknowledged`, `needs_action`, `delayed` | `processed`, `rejected`, `withdrawn` |
| `opt_in` | `received` | `granted`, `refused`, `withdrawn` (also after `granted`) |

An opt-out that was processed may still be withdrawn. Times are ledger instants (microseconds); for
backfilled events they are the original ones.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from consent_domain import events
from consent_domain.envelope import Event
from consent_domain.facts import Packed
from consent_domain.instants import Micros, micros
from consent_domain.purposes import Selector

OPEN_STATES = ("received", "acknowledged", "needs_action", "delayed")
"""The states in which somebody still has to do something."""


class Request(Packed, frozen=True):
    """One request as it stands. It holds no people: who asked stays sealed in the event."""

    id: str
    kind: str
    stream: str
    scope_kind: str
    scope_id: str
    state: str
    authority: str
    requester_role: str
    channel: str
    recorded_by: str
    received_at: Micros
    first_position: int
    last_position: int
    selector: Selector | None = None
    """What an opt-out names; None for an opt-in, which has `keys`."""
    keys: tuple[str, ...] = ()
    reach: tuple[str, ...] = ()
    joins: str = ""
    """The earlier request that this one joined: processed together, but each stands for itself."""
    rule: str = ""
    law: str = ""
    due_at: Micros | None = None
    extended: bool = False
    permit_until: Micros | None = None
    action: str = ""
    reason: str = ""
    approved_by: str = ""
    processed_at: Micros | None = None
    """When an opt-out was processed or an opt-in granted; durations count from `received_at` to it."""
    ended_at: Micros | None = None
    """When it was rejected, refused or withdrawn."""
    backfilled: bool = False

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to do something."""
        return self.state in OPEN_STATES

    def is_overdue(self, at: Micros) -> bool:
        """Whether it is still open at ledger time `at` although it was due before."""
        return self.is_open and self.due_at is not None and self.due_at < at


def request_of(body: events.Body | None) -> str:
    """The id of the request that an event is about; empty for events that are about none."""
    return getattr(body, "request", "") or getattr(body, "opt_in", "")


def fold_request(request: Request | None, event: Event) -> Request | None:
    """The request after `event`; None is before the event that began it. Pure.

    An event that is about no request returns the same. Raises AssertionError for a history that
    no handler could have written.
    """
    body = event.body
    if isinstance(body, events.OptOutRequested):
        return _opt_out(body, event)
    if isinstance(body, events.OptInRequested):
        return _opt_in(body, event)
    if body is None or not request_of(body):
        return request
    assert request is not None, "a request begins before anything else happens to it"
    return replace(request, last_position=event.position, **_step(request, body, event))


def _opt_out(body: events.OptOutRequested, event: Event) -> Request:
    deadline = body.deadline
    return Request(
        body.request,
        "opt_out",
        event.stream,
        body.scope.kind,
        body.scope.id,
        "received",
        body.requester.authority,
        body.requester.role,
        body.channel,
        body.recorded_by.principal,
        micros(body.received_at),
        event.position,
        event.position,
        selector=body.selector,
        reach=tuple(body.reach),
        joins=body.joins,
        rule="" if deadline is None else deadline.rule,
        law="" if deadline is None else deadline.law,
        due_at=None if deadline is None else micros(deadline.due_at),
        permit_until=None if body.permit_until is None else micros(body.permit_until),
        backfilled=bool(body.provenance),
    )


def _opt_in(body: events.OptInRequested, event: Event) -> Request:
    return Request(
        body.opt_in,
        "opt_in",
        event.stream,
        body.scope.kind,
        body.scope.id,
        "received",
        body.requester.authority,
        body.requester.role,
        body.channel,
        body.recorded_by.principal,
        micros(body.received_at),
        event.position,
        event.position,
        keys=tuple(body.keys),
        backfilled=bool(body.provenance),
    )


def _step(request: Request, body: events.Body, event: Event) -> dict[str, Any]:
    """What an event changes of a request that has begun."""
    match body:
        case events.OptOutAcknowledged():
            return {"state": "acknowledged", "authority": body.authority}
        case events.OptOutNeedsAction():
            return {"state": "needs_action", "action": body.action, "reason": body.reason}
        case events.OptOutDelayed():
            due = micros(body.deadline.due_at)
            return {"state": "delayed", "due_at": due, "reason": body.reason, "extended": True}
        case events.OptOutProcessed():
            return {
                "state": "processed",
                "processed_at": happened_at(body, event),
                "approved_by": body.approved_by,
                "permit_until": None,
            }
        case events.OptOutRejected():
            return {
                "state": "rejected",
                "ended_at": micros(body.effective_at),
                "reason": body.reason,
                "approved_by": body.approved_by,
            }
        case events.OptInGranted():
            return {
                "state": "granted",
                "processed_at": event.time,
                "authority": body.requester.authority,
            }
        case events.OptInRefused():
            return {"state": "refused", "ended_at": micros(body.effective_at)}
        case events.OptOutWithdrawn() | events.OptInWithdrawn():
            return {"state": "withdrawn", "ended_at": micros(body.effective_at)}
    return {}


def happened_at(body: events.Body, event: Event) -> Micros:
    """When what was recorded happened: as it was recorded, or for what was backfilled its original time."""
    if body.provenance and body.occurred_at is not None:
        return micros(body.occurred_at)
    return event.time
