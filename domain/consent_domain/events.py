"""The events: one struct a message, and the table that says what type, effect and stream each has.

Bodies are the JSON mapping of `proto/consent/v1`. A released `.vN` is frozen: a new field is
a new version. Personal data stands only in `Sealed` fields, encrypted before anything queues it.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from consent_domain.policy import PolicyRules
from consent_domain.purposes import Purpose, Selector, Wire

STREAM_KINDS = ("workspace", "organisation", "policy", "purpose", "run", "recipient", "log")
LOG_STREAM = "log/ledger"
"""The stream of what concerns the log itself."""


class Sealed(Wire, frozen=True, kw_only=True):
    """Personal data encrypted for one person: AES-256-GCM, AAD = stream, event id, field."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


class Requester(Wire, frozen=True, kw_only=True):
    """Who asked: a role, how well that was proven, and who it is, sealed."""

    role: str
    authority: str
    sealed: Sealed | None = None


class RecordedBy(Wire, frozen=True, kw_only=True):
    """Who typed: an opaque principal, and how it proved itself."""

    principal: str
    authentication: str


class Notice(Wire, frozen=True, kw_only=True):
    """How people were told: when, by which channel, and the SHA-256 of the words."""

    given_at: datetime
    channel: str
    text_sha256: str = ""


class Deadline(Wire, frozen=True, kw_only=True):
    """By when a request is due, under which rule and law."""

    rule: str
    due_at: datetime
    law: str = ""


class Scope(Wire, frozen=True, kw_only=True):
    """What a choice binds."""

    kind: str
    id: str


class Body(Wire, frozen=True, kw_only=True):
    """What every event says of its recording. `provenance` is empty, `backfilled` (imported, with original
    times), or `repeated` (an erasure that the log lost)."""

    recorded_by: RecordedBy
    on_behalf_of: str = ""
    provenance: str = ""
    occurred_at: datetime | None = None


class LedgerOpened(Body, frozen=True, kw_only=True):
    """History before this event may have been imported; from here on events are recorded as they happen."""


class KeyRotated(Body, frozen=True, kw_only=True):
    old_key: str
    new_key: str
    overlap_until: datetime


class LogContinued(Body, frozen=True, kw_only=True):
    """A new epoch: what stood above `size` of the old one could not be had again."""

    origin: str
    epoch: int
    size: str
    root: bytes


class PersonErased(Body, frozen=True, kw_only=True):
    """The keys of a person are destroyed. `person` is the ref: it names nobody without the master key."""

    person: str
    key_ids: list[str]


class PolicyPublished(Body, frozen=True, kw_only=True):
    version: str
    title: str
    text_sha256: str
    effective_at: datetime
    direction: str
    why: str
    rules: PolicyRules
    notice: Notice | None = None


class DefaultOn(Body, frozen=True, kw_only=True):
    """Evidence that a default was applied: which purposes, under which policy. It changes no standing."""

    purposes: list[str]
    policy_version: str
    policy_position: str
    notice: Notice | None = None


class OrganisationRegistered(Body, frozen=True, kw_only=True):
    pass


class WorkspaceEnrolled(Body, frozen=True, kw_only=True):
    kind: str
    plan: str
    region: str
    customer_since: datetime
    contract: str = ""
    organisation: str = ""


class WorkspaceChanged(Body, frozen=True, kw_only=True):
    """The attributes as they are from `effective_at` on, all of them."""

    effective_at: datetime
    plan: str
    region: str
    contract: str = ""
    organisation: str = ""


class WorkspaceClosed(Body, frozen=True, kw_only=True):
    effective_at: datetime
    reason: str


class WorkspaceSucceeded(Body, frozen=True, kw_only=True):
    """Recorded on both streams in one commit, so that each side knows of the other."""

    predecessor: str
    successor: str
    effective_at: datetime
    kind: str


class WorkspaceErasureProposed(Body, frozen=True, kw_only=True):
    """The first of the two persons that the erasure of a workspace takes. Nothing is erased by it."""

    reason: str


class WorkspaceErased(Body, frozen=True, kw_only=True):
    """The last event on its stream: all keys of the stream are destroyed, those in `key_ids` and others."""

    reason: str
    approved_by: str
    key_ids: list[str]


class OptOutRequested(Body, frozen=True, kw_only=True):
    """An objection. It counts from `effective_at` (never after `received_at`), as far as authority goes."""

    request: str
    selector: Selector
    scope: Scope
    requester: Requester
    channel: str
    received_at: datetime
    effective_at: datetime
    deadline: Deadline | None = None
    evidence: bytes = b""
    reach: list[str] = []
    joins: str = ""
    permit_until: datetime | None = None
    """Set where the policy says `while_requested: permit`: use goes on until then, never longer."""


class OptOutAcknowledged(Body, frozen=True, kw_only=True):
    request: str
    authority: str
    """The authority as it is known now; it never falls."""


class OptOutNeedsAction(Body, frozen=True, kw_only=True):
    request: str
    action: str
    reason: str = ""


class OptOutDelayed(Body, frozen=True, kw_only=True):
    request: str
    deadline: Deadline
    reason: str


class OptOutProcessed(Body, frozen=True, kw_only=True):
    request: str
    approved_by: str = ""


class OptOutRejected(Body, frozen=True, kw_only=True):
    request: str
    reason: str
    approved_by: str = ""
    effective_at: datetime


class OptOutWithdrawn(Body, frozen=True, kw_only=True):
    request: str
    requester: Requester
    effective_at: datetime


class OptInRequested(Body, frozen=True, kw_only=True):
    opt_in: str
    keys: list[str]
    scope: Scope
    requester: Requester
    channel: str
    received_at: datetime


class OptInGranted(Body, frozen=True, kw_only=True):
    """Explicit consent, for the purposes exactly as the notice showed them."""

    opt_in: str
    shown: list[Purpose]
    notice: Notice
    requester: Requester
    effective_at: datetime
    expires_at: datetime | None = None
    covers_collected_before: bool = False


class OptInRefused(Body, frozen=True, kw_only=True):
    opt_in: str
    keys: list[str]
    requester: Requester
    effective_at: datetime


class OptInWithdrawn(Body, frozen=True, kw_only=True):
    opt_in: str
    requester: Requester
    effective_at: datetime


class PurposeSuspended(Body, frozen=True, kw_only=True):
    reason: str
    effective_at: datetime


class PurposeResumeProposed(Body, frozen=True, kw_only=True):
    """The first of the two persons that a resumption takes. Nothing is permitted by it."""

    reason: str


class PurposeResumed(Body, frozen=True, kw_only=True):
    reason: str
    approved_by: str
    effective_at: datetime


class RunOutput(Wire, frozen=True, kw_only=True):
    """What came out of a run: a `dataset`, `model`, `index` or `features`, where it is, and which."""

    kind: str
    uri: str
    version: str = ""
    digest: str = ""


class RunRegistered(Body, frozen=True, kw_only=True):
    """A manifest was verified against the log at `position`, judged at ledger time `at`."""

    purpose: str
    manifest_sha256: str
    set_sha256: str
    position: str
    at: datetime
    outputs: list[RunOutput] = []
    parents: list[str] = []
    code: str = ""


class RunDischarged(Body, frozen=True, kw_only=True):
    """What was due of the run, by all that was known at `through`, is done; no outputs: of all of them."""

    action: str
    through: str
    evidence_sha256: str
    outputs: list[str] = []


class RecipientNotified(Body, frozen=True, kw_only=True):
    """Who takes part has applied all events up to `position`."""

    position: str


class EventType(NamedTuple):
    """A type of event: its versioned name, message, effect on standing, and the streams it may stand on."""

    name: str
    body: type[Body]
    effect: str
    streams: tuple[str, ...]

    @property
    def dataschema(self) -> str:
        """The message of the contract, as a URI."""
        return f"proto:consent.v1.{self.body.__name__}"


_CHOICE = ("workspace", "organisation")

EVENT_TYPES: tuple[EventType, ...] = (
    EventType("ledger-opened.v1", LedgerOpened, "standing", ("log",)),
    EventType("key-rotated.v1", KeyRotated, "none", ("log",)),
    EventType("log-continued.v1", LogContinued, "none", ("log",)),
    EventType("person-erased.v1", PersonErased, "none", ("log",)),
    EventType("policy-published.v1", PolicyPublished, "standing", ("policy",)),
    EventType("default-on.v1", DefaultOn, "none", ("workspace", "policy")),
    EventType("organisation-registered.v1", OrganisationRegistered, "standing", ("organisation",)),
    EventType("workspace-enrolled.v1", WorkspaceEnrolled, "standing", ("workspace",)),
    EventType("workspace-changed.v1", WorkspaceChanged, "standing", ("workspace",)),
    EventType("workspace-closed.v1", WorkspaceClosed, "standing", ("workspace",)),
    EventType("workspace-succeeded.v1", WorkspaceSucceeded, "standing", ("workspace",)),
    EventType("workspace-erasure-proposed.v1", WorkspaceErasureProposed, "none", ("workspace",)),
    EventType("workspace-erased.v1", WorkspaceErased, "standing", ("workspace",)),
    EventType("opt-out-requested.v1", OptOutRequested, "standing", _CHOICE),
    EventType("opt-out-acknowledged.v1", OptOutAcknowledged, "standing", _CHOICE),
    EventType("opt-out-needs-action.v1", OptOutNeedsAction, "none", _CHOICE),
    EventType("opt-out-delayed.v1", OptOutDelayed, "none", _CHOICE),
    EventType("opt-out-processed.v1", OptOutProcessed, "standing", _CHOICE),
    EventType("opt-out-rejected.v1", OptOutRejected, "standing", _CHOICE),
    EventType("opt-out-withdrawn.v1", OptOutWithdrawn, "standing", _CHOICE),
    EventType("opt-in-requested.v1", OptInRequested, "none", _CHOICE),
    EventType("opt-in-granted.v1", OptInGranted, "standing", _CHOICE),
    EventType("opt-in-refused.v1", OptInRefused, "standing", _CHOICE),
    EventType("opt-in-withdrawn.v1", OptInWithdrawn, "standing", _CHOICE),
    EventType("purpose-suspended.v1", PurposeSuspended, "standing", ("purpose",)),
    EventType("purpose-resume-proposed.v1", PurposeResumeProposed, "none", ("purpose",)),
    EventType("purpose-resumed.v1", PurposeResumed, "standing", ("purpose",)),
    EventType("run-registered.v1", RunRegistered, "none", ("run",)),
    EventType("run-discharged.v1", RunDischarged, "none", ("run",)),
    EventType("recipient-notified.v1", RecipientNotified, "none", ("recipient",)),
)

BY_NAME: dict[str, EventType] = {kind.name: kind for kind in EVENT_TYPES}
BY_BODY: dict[type[Body], EventType] = {kind.body: kind for kind in EVENT_TYPES}
