"""Who may do what: one table for every command, however it comes in, and the bounds of an owner.

Denied by default: an operation says which roles may call it, and a command that this table does not
name is refused for everybody. An owner acts and sees inside its own workspace or organisation only;
whatever belongs to somebody else is answered as if it were not there.
"""

from __future__ import annotations

from consent_domain import commands
from consent_domain.commands import Command
from consent_domain.errors import ConsentError

from consent_ledger.key_ring import Principal

ADMIN = frozenset({"admin"})
AUDITOR = frozenset({"auditor"})
PIPELINE = frozenset({"pipeline"})
STAFF = frozenset({"admin", "auditor"})
AUDITOR_OWNER = frozenset({"auditor", "owner"})
ADMIN_OWNER = frozenset({"admin", "owner"})
STAFF_OWNER = frozenset({"admin", "auditor", "owner"})
ADMIN_PIPELINE = frozenset({"admin", "pipeline"})
ASKERS = frozenset({"admin", "auditor", "pipeline"})
EVERY_ROLE = frozenset({"admin", "auditor", "pipeline", "owner"})
PUBLIC: frozenset[str] = frozenset({"public"})
"""No key is needed: health, metrics, and the description of the API."""

COMMAND_ROLES: dict[type[Command], frozenset[str]] = {
    commands.OpenLedger: ADMIN,
    commands.PublishPolicy: ADMIN,
    commands.RegisterOrganisation: ADMIN,
    commands.EnrolWorkspace: ADMIN,
    commands.ChangeWorkspace: ADMIN,
    commands.CloseWorkspace: ADMIN,
    commands.SucceedWorkspace: ADMIN,
    commands.RequestOptOut: ADMIN_OWNER,
    commands.AcknowledgeOptOut: ADMIN_OWNER,
    commands.AskForAction: ADMIN,
    commands.DelayOptOut: ADMIN,
    commands.ProcessOptOut: ADMIN,
    commands.RejectOptOut: ADMIN,
    commands.WithdrawOptOut: ADMIN_OWNER,
    commands.RequestOptIn: ADMIN_OWNER,
    commands.GrantOptIn: ADMIN_OWNER,
    commands.RefuseOptIn: ADMIN_OWNER,
    commands.WithdrawOptIn: ADMIN_OWNER,
    commands.SuspendPurpose: ADMIN,
    commands.ResumePurpose: ADMIN,
    commands.RegisterRun: ADMIN_PIPELINE,
    commands.DischargeRun: ADMIN_PIPELINE,
    commands.NotifyRecipient: ADMIN_PIPELINE,
    commands.ErasePerson: ADMIN,
    commands.EraseWorkspace: ADMIN,
    commands.ImportPolicy: ADMIN,
    commands.ImportOrganisation: ADMIN,
    commands.ImportWorkspace: ADMIN,
}


def require_role(principal: Principal, roles: frozenset[str]) -> None:
    """Raises ConsentError `forbidden` if the principal's role is not among `roles`."""
    if principal.role not in roles:
        allowed = ", ".join(sorted(roles)) or "nobody"
        raise ConsentError("forbidden", f"this takes the role {allowed}; the key has {principal.role}")


def require_unsealing(principal: Principal) -> None:
    """Raises ConsentError `forbidden` if the principal's key has not the right to unseal."""
    if not principal.may_unseal:
        raise ConsentError("forbidden", "this takes a key that may unseal (keys create --may-unseal)")


def owns(principal: Principal, kind: str, name: str) -> bool:
    """Whether a workspace or organisation is within what the principal may see. Staff may see all."""
    return principal.scope_kind is None or (principal.scope_kind == kind and principal.scope_id == name)


def require_own(principal: Principal, kind: str, name: str) -> None:
    """Raises ConsentError `unknown_workspace` or `unknown_organisation` for another tenant's."""
    if not owns(principal, kind, name):
        raise nowhere(kind, name)


def nowhere(kind: str, name: str) -> ConsentError:
    """What is said of a workspace or organisation that is not there, or is none of the caller's business."""
    code = "unknown_organisation" if kind == "organisation" else "unknown_workspace"
    return ConsentError(code, f"there is no {kind} {name!r}")


def require_own_stream(principal: Principal, stream: str | None, unknown: ConsentError) -> None:
    """Raises `unknown` if a request's stream is not there, or belongs to another tenant."""
    kind, _, name = (stream or "").partition("/")
    if stream is None or not owns(principal, kind, name):
        raise unknown


def require_command(principal: Principal, command: Command) -> None:
    """Raises ConsentError if the principal may not give this command, or not for this scope.

    Commands that name a request or opt-in by its id are bound to the owner by its stream
    (`require_own_stream`), which must be looked up.
    """
    require_role(principal, COMMAND_ROLES.get(type(command), frozenset()))
    if isinstance(command, commands.RequestOptOut | commands.RequestOptIn):
        scope = command.scope
        if principal.scope_kind is not None and scope.kind not in ("workspace", "organisation"):
            raise ConsentError("unsupported_scope", "a choice binds a workspace or an organisation")
        require_own(principal, scope.kind, scope.id)


def request_of(command: Command) -> tuple[str, str] | None:
    """The id by which a command names its request, and the code for an unknown one; None for none."""
    request = getattr(command, "request", None)
    if isinstance(request, str):
        return request, "unknown_request"
    opt_in = getattr(command, "opt_in", None)
    return (opt_in, "unknown_opt_in") if isinstance(opt_in, str) else None
