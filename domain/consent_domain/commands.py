"""What can be asked of the ledger: one struct a command, told apart by the member `command`.

A command says what should happen; `handle` (consent_domain.handle) decides whether it may, and
answers with the events that say so. Personal data travels only in `Applicant.subject`, which the
shell seals and empties before anything queues the command.
"""

from __future__ import annotations

from datetime import datetime

from consent_domain.events import Notice, RunOutput, Scope
from consent_domain.policy import PolicyRules
from consent_domain.purposes import Selector, Wire


class Applicant(Wire, frozen=True, kw_only=True):
    """Who asked: a role, how well that was proven, and who it is (`subject`, sealed before the queue)."""

    role: str
    authority: str = "unverified"
    subject: str = ""


class Command(Wire, frozen=True, kw_only=True, tag_field="command"):
    """What every command may say: for whom the caller typed, and when the requester acted."""

    on_behalf_of: str = ""
    occurred_at: datetime | None = None


class OpenLedger(Command, frozen=True, kw_only=True, tag="open-ledger"):
    """End the import of history. The first command that is no import does it by itself."""


class PublishPolicy(Command, frozen=True, kw_only=True, tag="publish-policy"):
    policy: str = "principles"
    version: str
    title: str
    text_sha256: str
    effective_at: datetime
    direction: str
    why: str
    rules: PolicyRules
    notice: Notice | None = None


class RegisterOrganisation(Command, frozen=True, kw_only=True, tag="register-organisation"):
    organisation: str


class EnrolWorkspace(Command, frozen=True, kw_only=True, tag="enrol-workspace"):
    """`default-on` follows in the same commit where the policy in force turns anything on."""

    workspace: str
    kind: str = "production"
    plan: str
    region: str
    contract: str = ""
    organisation: str = ""
    customer_since: datetime | None = None


class ChangeWorkspace(Command, frozen=True, kw_only=True, tag="change-workspace"):
    """Only the members given change; an empty string takes the contract or organisation away."""

    workspace: str
    plan: str | None = None
    region: str | None = None
    contract: str | None = None
    organisation: str | None = None
    effective_at: datetime | None = None


class CloseWorkspace(Command, frozen=True, kw_only=True, tag="close-workspace"):
    workspace: str
    reason: str
    effective_at: datetime | None = None


class SucceedWorkspace(Command, frozen=True, kw_only=True, tag="succeed-workspace"):
    """`workspace` takes over data of `predecessor`: a denial on either side denies data from before."""

    workspace: str
    predecessor: str
    kind: str
    effective_at: datetime | None = None


class RequestOptOut(Command, frozen=True, kw_only=True, tag="request-opt-out"):
    scope: Scope
    selector: Selector
    applicant: Applicant
    channel: str = "api"
    received_at: datetime | None = None
    effective_at: datetime | None = None
    evidence: bytes = b""
    reach: list[str] = []


class AcknowledgeOptOut(Command, frozen=True, kw_only=True, tag="acknowledge-opt-out"):
    """Also the way to say that a requester's authority was proven meanwhile."""

    request: str
    authority: str = ""


class AskForAction(Command, frozen=True, kw_only=True, tag="ask-for-action"):
    request: str
    action: str
    reason: str = ""


class DelayOptOut(Command, frozen=True, kw_only=True, tag="delay-opt-out"):
    """Due later, once, by what the deadline rule allows, with a reason that the requester is told."""

    request: str
    reason: str


class ProcessOptOut(Command, frozen=True, kw_only=True, tag="process-opt-out"):
    request: str
    approved_by: str = ""


class RejectOptOut(Command, frozen=True, kw_only=True, tag="reject-opt-out"):
    """Needs a reason that the policy lists, and a second person but for `duplicate` and `no_authority`."""

    request: str
    reason: str
    approved_by: str = ""


class WithdrawOptOut(Command, frozen=True, kw_only=True, tag="withdraw-opt-out"):
    request: str
    applicant: Applicant


class RequestOptIn(Command, frozen=True, kw_only=True, tag="request-opt-in"):
    scope: Scope
    keys: list[str]
    applicant: Applicant
    channel: str = "api"
    received_at: datetime | None = None


class GrantOptIn(Command, frozen=True, kw_only=True, tag="grant-opt-in"):
    """Consent to the purposes as the notice showed them: as they are in force, or are announced."""

    opt_in: str
    applicant: Applicant
    notice: Notice
    effective_at: datetime | None = None
    expires_at: datetime | None = None
    covers_collected_before: bool = False


class RefuseOptIn(Command, frozen=True, kw_only=True, tag="refuse-opt-in"):
    opt_in: str
    applicant: Applicant


class WithdrawOptIn(Command, frozen=True, kw_only=True, tag="withdraw-opt-in"):
    opt_in: str
    applicant: Applicant


class SuspendPurpose(Command, frozen=True, kw_only=True, tag="suspend-purpose"):
    purpose: str
    reason: str


class ResumePurpose(Command, frozen=True, kw_only=True, tag="resume-purpose"):
    """The first person's proposes, a second person's resumes."""

    purpose: str
    reason: str


class RegisterRun(Command, frozen=True, kw_only=True, tag="register-run"):
    """A run whose manifest was verified: the ledger gives this command to itself, and nobody can send it."""

    run: str
    purpose: str
    manifest_sha256: str
    set_sha256: str
    epoch: int
    position: int
    at: datetime
    outputs: list[RunOutput] = []
    parents: list[str] = []
    code: str = ""


class DischargeRun(Command, frozen=True, kw_only=True, tag="discharge-run"):
    """What was due of a run's outputs is done, by all that the ledger knew at `through`.

    `evidence_sha256` names the evidence. `outputs` are uris; none: all of the run's.
    """

    run: str
    action: str
    through: int
    evidence_sha256: str
    outputs: list[str] = []


class NotifyRecipient(Command, frozen=True, kw_only=True, tag="notify-recipient"):
    """Somebody who takes part has applied all events up to `position`. It never goes back."""

    recipient: str
    position: int


class ErasePerson(Command, frozen=True, kw_only=True, tag="erase-person"):
    """One person's right: everything sealed for `person` (a ref) becomes unreadable for ever."""

    person: str


class EraseWorkspace(Command, frozen=True, kw_only=True, tag="erase-workspace"):
    """The first person's proposes, a second person's erases all that is sealed on the workspace's stream."""

    workspace: str
    reason: str


class RepeatErasure(Command, frozen=True, kw_only=True, tag="repeat-erasure"):
    """An erasure that the log lost, as the key store remembers it: `person` or `workspace` is given.

    The ledger gives it to itself; nobody can send it.
    """

    person: str = ""
    workspace: str = ""
    reason: str = ""
    approved_by: str = ""
    key_ids: list[str]


class ContinueLog(Command, frozen=True, kw_only=True, tag="continue-log"):
    """The log goes on in another epoch, behind the tree of `size` events with this `root` that is left of it.

    `consent-ledger recover` gives it; nobody can send it.
    """

    origin: str
    epoch: int
    size: int
    root: bytes


class RotateKey(Command, frozen=True, kw_only=True, tag="rotate-key"):
    """The key that signs checkpoints gives way to another; until `overlap_until` both sign. Both are verifier
    keys, named by the ledger's origin.

    Whoever holds the new key's file gives it, with `consent-ledger keys rotate`; nobody can send it.
    """

    old_key: str
    new_key: str
    overlap_until: datetime


class EarlierOptOut(Wire, frozen=True, kw_only=True):
    """An objection from before the ledger: processed if `processed_at` is given, else still pending."""

    selector: Selector
    received_at: datetime
    applicant: Applicant
    channel: str = "email"
    processed_at: datetime | None = None


class ImportWorkspace(Command, frozen=True, kw_only=True, tag="import-workspace"):
    """A workspace and its earlier objections, in one commit, before the ledger is opened."""

    workspace: str
    kind: str = "production"
    plan: str
    region: str
    contract: str = ""
    organisation: str = ""
    customer_since: datetime
    opt_outs: list[EarlierOptOut] = []


class ImportPolicy(Command, frozen=True, kw_only=True, tag="import-policy"):
    """A policy that took effect before the ledger was opened: recorded late, dated when it was."""

    policy: str = "principles"
    version: str
    title: str
    text_sha256: str
    published_at: datetime
    effective_at: datetime
    direction: str
    why: str
    rules: PolicyRules
    notice: Notice | None = None


class ImportOrganisation(Command, frozen=True, kw_only=True, tag="import-organisation"):
    organisation: str
    opt_outs: list[EarlierOptOut] = []


LiveCommand = (
    OpenLedger
    | PublishPolicy
    | RegisterOrganisation
    | EnrolWorkspace
    | ChangeWorkspace
    | CloseWorkspace
    | SucceedWorkspace
    | RequestOptOut
    | AcknowledgeOptOut
    | AskForAction
    | DelayOptOut
    | ProcessOptOut
    | RejectOptOut
    | WithdrawOptOut
    | RequestOptIn
    | GrantOptIn
    | RefuseOptIn
    | WithdrawOptIn
    | SuspendPurpose
    | ResumePurpose
    | ErasePerson
    | EraseWorkspace
)
"""What `POST /v1/commands` and its single routes take."""

ImportCommand = ImportPolicy | ImportOrganisation | ImportWorkspace
"""What `POST /v1/import` takes, a line each."""
