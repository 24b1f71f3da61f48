"""Enrolment, change, closing and succession of workspaces, and the registration of organisations."""

from __future__ import annotations

from typing import Any

from consent_domain.commands import (
    ChangeWorkspace,
    CloseWorkspace,
    EnrolWorkspace,
    RegisterOrganisation,
    SucceedWorkspace,
)
from consent_domain.errors import Refused
from consent_domain.events import (
    Body,
    OrganisationRegistered,
    WorkspaceClosed,
    WorkspaceEnrolled,
    WorkspaceSucceeded,
)
from consent_domain.handlers.changes import change_bodies
from consent_domain.handlers.checks import id_of, name_of, no_earlier, no_later, text_of, word_of
from consent_domain.handlers.defaults import default_on, told_default
from consent_domain.handlers.lookups import (
    active_workspace,
    known_organisation,
    known_workspace,
    organisation_stream,
    readable_book,
    workspace_stream,
)
from consent_domain.handlers.terms import Context, Verdict, spoken, verdict
from consent_domain.instants import Micros, moment_of, rfc3339
from consent_domain.policy import Profile
from consent_domain.state import State

WORKSPACE_KINDS = ("production", "sandbox")
SUCCESSIONS = ("merge", "split", "transfer", "clone")
CLOSING_SUCCESSIONS = ("merge", "transfer")
SUCCEEDED = "succeeded"
"""The reason of a closing whose data goes on elsewhere; facts tell it from an ordinary one."""


def register_organisation(state: State, command: RegisterOrganisation, context: Context) -> Verdict:
    """An organisation, whose choices bind all workspaces that belong to it."""
    stream = organisation_stream(id_of(command.organisation, "organisation"))
    unused(state, stream)
    body = OrganisationRegistered(**spoken(command, context))
    return verdict(context, [(stream, body)], {"organisation": command.organisation})


def enrol(state: State, command: EnrolWorkspace, context: Context) -> Verdict:
    """A new workspace, and in the same commit what is on for it although nobody asked."""
    since = no_earlier(command.customer_since, context.now, "customerSince")
    bodies = enrolment(state, command, since, spoken(command, context))
    return verdict(context, bodies, {"workspace": command.workspace, **told_default(bodies)})


def enrolment(state: State, command: Any, since: Micros, said: dict[str, Any]) -> list[tuple[str, Body]]:
    """The events of an enrolment, live or imported: `command` has the attributes that both share."""
    readable_book(state)
    stream = workspace_stream(id_of(command.workspace, "workspace"))
    unused(state, stream)
    profile = Profile(
        name_of(command.plan, "plan"),
        name_of(command.region, "region"),
        name_of(command.contract, "contract", empty=True),
        command.organisation,
    )
    if command.organisation:
        known_organisation(state, id_of(command.organisation, "organisation"))
    enrolled = WorkspaceEnrolled(
        kind=word_of(command.kind, WORKSPACE_KINDS, "kind"),
        plan=profile.plan,
        region=profile.region,
        customer_since=moment_of(since),
        contract=profile.contract,
        organisation=profile.organisation,
        **said,
    )
    bodies: list[tuple[str, Body]] = [(stream, enrolled)]
    on = state.everybody.defaults_at(since, profile, command.kind)
    if on is not None and on.purposes:
        bodies.append((stream, default_on(list(on.purposes), on.policy.version, on.policy.position, said)))
    return bodies


def unused(state: State, stream: str) -> None:
    """Refuse an id that was ever used; closed and erased ones count, and unreadable ones too."""
    if state.stream(stream) is not None:
        kind, _, name = stream.partition("/")
        raise Refused(
            "already_exists", f"the {kind} {name} exists, or existed; ids are never used again: take another"
        )


def change(state: State, command: ChangeWorkspace, context: Context) -> Verdict:
    """Another plan, region, contract or organisation; evidence of what that turns on goes with it."""
    readable_book(state)
    id_of(command.workspace, "workspace")
    _, facts = active_workspace(state, command.workspace)
    name_of(command.plan or "-", "plan")
    name_of(command.region or "-", "region")
    if command.plan == "" or command.region == "":
        raise Refused(
            "invalid_value", "plan and region can be changed, not taken away; leave them out instead"
        )
    name_of(command.contract or "", "contract", empty=True)
    if command.organisation:
        known_organisation(state, id_of(command.organisation, "organisation"))
    stream = workspace_stream(command.workspace)
    said = spoken(command, context)
    bodies: list[tuple[str, Body]] = [
        (stream, body) for body in change_bodies(state, facts, command, context.now, said)
    ]
    return verdict(context, bodies, {"workspace": command.workspace, **told_default(bodies)})


def close(state: State, command: CloseWorkspace, context: Context) -> Verdict:
    """Nothing of a closed workspace may be used any more."""
    id_of(command.workspace, "workspace")
    active_workspace(state, command.workspace)
    if text_of(command.reason, "reason") == SUCCEEDED:
        raise Refused(
            "invalid_value", f"the reason {SUCCEEDED!r} is kept for successions; use succeed, or say another"
        )
    closed = _closed(
        command.reason, no_later(command.effective_at, context.now, "effectiveAt"), command, context
    )
    stream = workspace_stream(command.workspace)
    return verdict(context, [(stream, closed)], {"workspace": command.workspace})


def _closed(
    reason: str, effective: Micros, command: CloseWorkspace | SucceedWorkspace, context: Context
) -> WorkspaceClosed:
    return WorkspaceClosed(effective_at=moment_of(effective), reason=reason, **spoken(command, context))


def succeed(state: State, command: SucceedWorkspace, context: Context) -> Verdict:
    """One workspace takes over data of another; merge and transfer close the one it came from.

    The link makes a denial on either side count for data from before it, so an earlier link would
    cover less: never backdated. A closing is never postdated.
    """
    word_of(command.kind, SUCCESSIONS, "kind")
    successor = id_of(command.workspace, "workspace")
    predecessor = id_of(command.predecessor, "predecessor")
    if successor == predecessor:
        raise Refused("invalid_value", f"workspace {successor} cannot succeed itself; name its predecessor")
    _, facts = active_workspace(state, successor)
    known_workspace(state, predecessor)
    active_workspace(state, predecessor)
    if any(link.other == predecessor for link in facts.successions):
        raise Refused(
            "already_exists",
            f"workspaces {successor} and {predecessor} are linked already; see their history",
        )
    effective = no_earlier(command.effective_at, context.now, "effectiveAt")
    closes = command.kind in CLOSING_SUCCESSIONS
    if closes and effective > context.now:
        raise Refused(
            "postdated",
            f"a {command.kind} closes {predecessor} and takes effect at once, not at {rfc3339(effective)}; "
            "record it when it has come",
        )
    body = WorkspaceSucceeded(
        predecessor=predecessor,
        successor=successor,
        effective_at=moment_of(effective),
        kind=command.kind,
        **spoken(command, context),
    )
    bodies: list[tuple[str, Body]] = [
        (workspace_stream(successor), body),
        (workspace_stream(predecessor), body),
    ]
    if closes:
        bodies.append((workspace_stream(predecessor), _closed(SUCCEEDED, effective, command, context)))
    return verdict(
        context,
        bodies,
        {"workspace": successor, "predecessor": predecessor, "predecessorClosed": closes},
    )
