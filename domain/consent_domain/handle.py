"""`handle(state, command, context) -> Verdict`: whether a command may be, and the events that say it was.

Pure: time, ids and who typed come with the context, everything known with the state. The rules of
each command stand in `consent_domain.handlers`; here is the table of all commands, and what holds
for every one of them:

- the version that If-Match names must be that of the primary stream;
- imports are taken until the ledger is opened, and the first other command opens it, in front of its
  own events and in the same commit;
- nothing is raised but Refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from consent_domain.commands import (
    AcknowledgeOptOut,
    AskForAction,
    ChangeWorkspace,
    CloseWorkspace,
    Command,
    ContinueLog,
    DelayOptOut,
    DischargeRun,
    EnrolWorkspace,
    ErasePerson,
    EraseWorkspace,
    GrantOptIn,
    ImportOrganisation,
    ImportPolicy,
    ImportWorkspace,
    NotifyRecipient,
    OpenLedger,
    ProcessOptOut,
    PublishPolicy,
    RefuseOptIn,
    RegisterOrganisation,
    RegisterRun,
    RejectOptOut,
    RepeatErasure,
    RequestOptIn,
    RequestOptOut,
    ResumePurpose,
    RotateKey,
    SucceedWorkspace,
    SuspendPurpose,
    WithdrawOptIn,
    WithdrawOptOut,
)
from consent_domain.errors import Refused
from consent_domain.events import LOG_STREAM, LedgerOpened
from consent_domain.handlers import (
    continuations,
    erasures,
    imports,
    opt_ins,
    opt_outs,
    policies,
    rotations,
    runs,
    suspensions,
    workspaces,
)
from consent_domain.handlers.changes import ANNOUNCED_MAX
from consent_domain.handlers.checks import id_of
from consent_domain.handlers.lookups import organisation_stream, scope_stream, workspace_stream
from consent_domain.handlers.terms import Context, Draft, Verdict, spoken, verdict
from consent_domain.state import State

__all__ = [
    "Context",
    "Draft",
    "Verdict",
    "handle",
    "ids_needed",
    "is_import",
    "primary_stream",
    "streams_of",
]


class _Handling(NamedTuple):
    """How a command is handled: its rules, its primary stream, and how many events it may lead to."""

    rules: Callable[[State, Any, Context], Verdict]
    primary: Callable[[Any], str] | None
    """None: the stream on which the request that the command names lives."""
    events_max: int


def handle(state: State, command: Command, context: Context) -> Verdict:
    """The events that `command` leads to, or Refused with what was wrong, where, and what to do."""
    handling = _HANDLINGS[type(command)]
    opened = state.everybody.book.opened
    if isinstance(command, _IMPORTS) and opened:
        raise Refused(
            "wrong_state",
            f"the ledger was opened at position {opened}; nothing can be imported any more: "
            "record it as it happens now",
        )
    stream = context.request_stream if handling.primary is None else handling.primary(command)
    version = _version_of(state, stream)
    if version:
        _match(context, version, stream)
    found = handling.rules(state, command, context)
    if not version:
        # A stream that does not exist is refused as unknown before its version is.
        _match(context, version, stream)
    if opened or isinstance(command, (*_IMPORTS, OpenLedger, ContinueLog, RotateKey)):
        return found
    opening = Draft(
        LOG_STREAM, LedgerOpened(recorded_by=context.recorded_by), context.event_ids[len(found.drafts)]
    )
    return Verdict([opening, *found.drafts], found.answer)


def streams_of(command: Command, request_stream: str | None) -> list[str]:
    """The streams that must be loaded to decide `command`, but for those that are for everybody.

    `request_stream` is where the request or opt-in that the command names lives, None if nowhere.
    Raises Refused `invalid_id` or `unsupported_scope` for names that can be no stream.
    """
    handling = _HANDLINGS[type(command)]
    primary = request_stream if handling.primary is None else handling.primary(command)
    found = [primary] if primary is not None and primary.startswith(_OWN) else []
    organisation = getattr(command, "organisation", None)
    if organisation and not isinstance(command, RegisterOrganisation | ImportOrganisation):
        found.append(organisation_stream(id_of(organisation, "organisation")))
    if isinstance(command, SucceedWorkspace) and command.predecessor != command.workspace:
        found.append(workspace_stream(id_of(command.predecessor, "predecessor")))
    if isinstance(command, RegisterRun):
        found += (runs.run_stream(id_of(parent, "parents")) for parent in command.parents)
    return found


def primary_stream(command: Command, request_stream: str | None) -> str | None:
    """The stream whose version If-Match compares and answers; None for a request that lives nowhere.

    Raises Refused `invalid_id` or `unsupported_scope` for names that can be no stream.
    """
    handling = _HANDLINGS[type(command)]
    return request_stream if handling.primary is None else handling.primary(command)


def ids_needed(command: Command) -> int:
    """How many event ids the context must bring; a command seldom uses all of them."""
    extra = 2 * len(command.opt_outs) if isinstance(command, ImportWorkspace | ImportOrganisation) else 0
    return _HANDLINGS[type(command)].events_max + 1 + extra


def is_import(command: Command) -> bool:
    """Whether the command is taken only before the ledger is opened."""
    return isinstance(command, _IMPORTS)


def _version_of(state: State, stream: str | None) -> int:
    if stream is None:
        return 0
    if stream.startswith(_OWN):
        known = state.stream(stream)
        return 0 if known is None else known.version
    return state.everybody.versions.get(stream, 0)


def _match(context: Context, version: int, stream: str | None) -> None:
    if context.expected_version is not None and context.expected_version != version:
        raise Refused(
            "version_conflict",
            f"{stream} is at version {version}, not {context.expected_version}; read it again, then decide",
            currentVersion=version,
        )


def _open_ledger(state: State, command: OpenLedger, context: Context) -> Verdict:
    opened = state.everybody.book.opened
    if opened:
        raise Refused("already_open", f"the ledger was opened at position {opened}; there is nothing to do")
    if state.everybody.book.quarantined:
        raise Refused(
            "quarantined", "an event that everybody depends on cannot be read; upgrade this service first"
        )
    return verdict(context, [(LOG_STREAM, LedgerOpened(**spoken(command, context)))], {"opened": True})


def _of_workspace(command: Any) -> str:
    return workspace_stream(id_of(command.workspace, "workspace"))


def _of_organisation(command: Any) -> str:
    return organisation_stream(id_of(command.organisation, "organisation"))


def _of_scope(command: Any) -> str:
    return scope_stream(opt_outs.checked_scope(command.scope))


def _of_policy(command: Any) -> str:
    return policies.policy_stream(id_of(command.policy, "policy"))


def _of_purpose(command: Any) -> str:
    return suspensions.purpose_stream(id_of(command.purpose, "purpose"))


def _of_run(command: Any) -> str:
    return runs.run_stream(id_of(command.run, "run"))


def _of_recipient(command: Any) -> str:
    return runs.recipient_stream(id_of(command.recipient, "recipient"))


def _of_log(_: Any) -> str:
    return LOG_STREAM


def _of_erased(command: Any) -> str:
    return _of_workspace(command) if command.workspace else LOG_STREAM


_OWN = ("workspace/", "organisation/", "run/", "recipient/")
"""The streams that are of somebody or something, and not for everybody."""
_IMPORTS = (ImportPolicy, ImportOrganisation, ImportWorkspace)

_HANDLINGS: dict[type[Command], _Handling] = {
    OpenLedger: _Handling(_open_ledger, _of_log, 1),
    PublishPolicy: _Handling(policies.publish, _of_policy, 2),
    RegisterOrganisation: _Handling(workspaces.register_organisation, _of_organisation, 1),
    EnrolWorkspace: _Handling(workspaces.enrol, _of_workspace, 2),
    ChangeWorkspace: _Handling(workspaces.change, _of_workspace, ANNOUNCED_MAX + 2),
    CloseWorkspace: _Handling(workspaces.close, _of_workspace, 1),
    SucceedWorkspace: _Handling(workspaces.succeed, _of_workspace, 3),
    RequestOptOut: _Handling(opt_outs.request_opt_out, _of_scope, 1),
    AcknowledgeOptOut: _Handling(opt_outs.acknowledge, None, 1),
    AskForAction: _Handling(opt_outs.ask_for_action, None, 1),
    DelayOptOut: _Handling(opt_outs.delay, None, 1),
    ProcessOptOut: _Handling(opt_outs.process, None, opt_outs.JOINED_MAX + 1),
    RejectOptOut: _Handling(opt_outs.reject, None, 1),
    WithdrawOptOut: _Handling(opt_outs.withdraw, None, 1),
    RequestOptIn: _Handling(opt_ins.request_opt_in, _of_scope, 1),
    GrantOptIn: _Handling(opt_ins.grant, None, 1),
    RefuseOptIn: _Handling(opt_ins.refuse, None, 1),
    WithdrawOptIn: _Handling(opt_ins.withdraw, None, 1),
    SuspendPurpose: _Handling(suspensions.suspend, _of_purpose, 1),
    ResumePurpose: _Handling(suspensions.resume, _of_purpose, 1),
    RegisterRun: _Handling(runs.register, _of_run, 1),
    DischargeRun: _Handling(runs.discharge, _of_run, 1),
    NotifyRecipient: _Handling(runs.notify, _of_recipient, 1),
    ErasePerson: _Handling(erasures.erase_person, _of_log, erasures.PERSON_EVENTS_MAX),
    EraseWorkspace: _Handling(erasures.erase_workspace, _of_workspace, 1),
    RepeatErasure: _Handling(erasures.repeat, _of_erased, 1),
    ContinueLog: _Handling(continuations.continue_log, _of_log, 1),
    RotateKey: _Handling(rotations.rotate, _of_log, 1),
    ImportPolicy: _Handling(policies.import_policy, _of_policy, 2),
    ImportOrganisation: _Handling(imports.import_organisation, _of_organisation, 1),
    ImportWorkspace: _Handling(imports.import_workspace, _of_workspace, 2),
}
