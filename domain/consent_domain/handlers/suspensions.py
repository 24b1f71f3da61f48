"""A stop of one purpose for everybody: one person stops, two resume."""

from __future__ import annotations

from consent_domain.commands import ResumePurpose, SuspendPurpose
from consent_domain.errors import Refused
from consent_domain.events import PurposeResumed, PurposeResumeProposed, PurposeSuspended
from consent_domain.facts import Suspension
from consent_domain.handlers.checks import id_of, text_of
from consent_domain.handlers.lookups import readable_book
from consent_domain.handlers.terms import Context, Verdict, spoken, verdict
from consent_domain.instants import moment_of, rfc3339
from consent_domain.state import State


def purpose_stream(key: str) -> str:
    """The stream of a purpose."""
    return f"purpose/{key}"


def suspend(state: State, command: SuspendPurpose, context: Context) -> Verdict:
    """Nobody's data may be used for the purpose, nor for what succeeds it, from now on."""
    key = _readable_purpose(state, command.purpose)
    policies = state.everybody.book.policies
    if not any(key == one.key or key in one.replaces for policy in policies for one in policy.rules.purposes):
        raise Refused(
            "unknown_purpose",
            f"no published policy names a purpose {key}; nothing was stopped: look the key up and try again",
        )
    stop = _stop(state, key)
    if stop is not None:
        raise Refused(
            "wrong_state",
            f"purpose {key} is suspended since {rfc3339(stop.since)}, by the event at {stop.position}",
        )
    body = PurposeSuspended(
        reason=text_of(command.reason, "reason"),
        effective_at=moment_of(context.now),
        **spoken(command, context),
    )
    answer: dict[str, object] = {"purpose": key, "suspended": True}
    return verdict(context, [(purpose_stream(key), body)], answer)


def resume(state: State, command: ResumePurpose, context: Context) -> Verdict:
    """The first person's command proposes, and a second person's resumes."""
    readable_book(state)
    key = _readable_purpose(state, command.purpose)
    if _stop(state, key) is None:
        raise Refused("not_suspended", f"purpose {key} is not suspended; there is nothing to resume")
    reason = text_of(command.reason, "reason")
    proposer = state.everybody.proposals.get(key)
    said = spoken(command, context)
    stream = purpose_stream(key)
    if proposer is None:
        proposal = PurposeResumeProposed(reason=reason, **said)
        return verdict(context, [(stream, proposal)], {"purpose": key, "suspended": True, "proposed": True})
    if proposer == context.recorded_by.principal:
        raise Refused(
            "second_person_required",
            f"{proposer} proposed to resume purpose {key}; somebody else must agree to it",
        )
    body = PurposeResumed(reason=reason, approved_by=proposer, effective_at=moment_of(context.now), **said)
    return verdict(context, [(stream, body)], {"purpose": key, "suspended": False})


def _readable_purpose(state: State, key: str) -> str:
    book = state.everybody.book
    id_of(key, "purpose")
    if key in book.quarantined_purposes:
        raise Refused(
            "quarantined",
            f"an event of purpose {key} cannot be read; it is denied for everybody until this service "
            "reads it: upgrade it",
        )
    return key


def _stop(state: State, key: str) -> Suspension | None:
    stops = state.everybody.book.suspensions
    return next((stop for stop in stops if stop.key == key and stop.ended is None), None)
