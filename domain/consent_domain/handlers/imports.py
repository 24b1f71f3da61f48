"""What happened before the ledger was opened: recorded late, with its original times.

Each event says `backfilled` and when it happened. A workspace comes with its earlier objections in
one commit, so that nobody ever reads it without them.
"""

from __future__ import annotations

from collections.abc import Sequence

from consent_domain.commands import (
    EarlierOptOut,
    ImportOrganisation,
    ImportWorkspace,
)
from consent_domain.errors import Refused
from consent_domain.events import Body, OptOutProcessed, OrganisationRegistered, Requester, Scope
from consent_domain.handlers.checks import authority_of, id_of, instant_of, name_of, no_later, selector_of
from consent_domain.handlers.lookups import organisation_stream
from consent_domain.handlers.opt_outs import objection
from consent_domain.handlers.terms import Context, Verdict, backfilled, verdict
from consent_domain.handlers.workspaces import enrolment, unused
from consent_domain.instants import rfc3339
from consent_domain.state import State

OPT_OUTS_MAX = 100
"""How many earlier objections may come with one workspace or organisation."""


def import_workspace(state: State, command: ImportWorkspace, context: Context) -> Verdict:
    """A workspace since it became a customer, what was on for it then, and its earlier objections."""
    since = no_later(command.customer_since, context.now, "customerSince")
    bodies = enrolment(state, command, since, backfilled(command, context, since))
    if command.opt_outs:
        scope = Scope(kind="workspace", id=command.workspace)
        _earlier(state, command, command.opt_outs, scope, command.region, context, bodies)
    return verdict(context, bodies, {"workspace": command.workspace, "optOuts": len(command.opt_outs)})


def import_organisation(state: State, command: ImportOrganisation, context: Context) -> Verdict:
    """An organisation with its earlier objections."""
    stream = organisation_stream(id_of(command.organisation, "organisation"))
    unused(state, stream)
    first = min((instant_of(one.received_at, "receivedAt") for one in command.opt_outs), default=context.now)
    bodies: list[tuple[str, Body]] = [
        (stream, OrganisationRegistered(**backfilled(command, context, min(first, context.now))))
    ]
    scope = Scope(kind="organisation", id=command.organisation)
    _earlier(state, command, command.opt_outs, scope, "", context, bodies)
    return verdict(context, bodies, {"organisation": command.organisation, "optOuts": len(command.opt_outs)})


def _earlier(
    state: State,
    command: ImportWorkspace | ImportOrganisation,
    opt_outs: Sequence[EarlierOptOut],
    scope: Scope,
    region: str,
    context: Context,
    bodies: list[tuple[str, Body]],
) -> None:
    """Add each objection to `bodies`, and after it that it was processed, if it was."""
    if len(opt_outs) > OPT_OUTS_MAX:
        raise Refused("invalid_value", f"optOuts has {len(opt_outs)} entries of at most {OPT_OUTS_MAX}")
    stream = bodies[0][0]
    for number, earlier in enumerate(opt_outs):
        where = f"optOuts[{number}]"
        received = no_later(earlier.received_at, context.now, f"{where}.receivedAt")
        request = str(context.event_ids[len(bodies)])
        body = objection(
            request,
            scope,
            selector_of(earlier.selector, f"{where}.selector"),
            _requester(earlier, where),
            name_of(earlier.channel, f"{where}.channel"),
            state.everybody.book,
            region,
            received,
            received,
            context.now,
            **backfilled(command, context, received),
        )
        bodies.append((stream, body))
        if earlier.processed_at is None:
            continue
        processed = no_later(earlier.processed_at, context.now, f"{where}.processedAt")
        if processed < received:
            raise Refused(
                "invalid_value",
                f"{where}.processedAt is {rfc3339(processed)}, before it was received at {rfc3339(received)}",
            )
        bodies.append((stream, OptOutProcessed(request=request, **backfilled(command, context, processed))))


def _requester(earlier: EarlierOptOut, where: str) -> Requester:
    """Who asked. Nothing seals the people of an import, so it may name none."""
    if earlier.applicant.subject:
        raise Refused(
            "invalid_value",
            f"{where}.applicant.subject names a person; imports record no people: leave it out",
        )
    return Requester(
        role=name_of(earlier.applicant.role, f"{where}.applicant.role"),
        authority=authority_of(earlier.applicant.authority, "", f"{where}.applicant.authority"),
    )
