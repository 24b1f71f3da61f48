"""What answers look like: read by the API's description, and written by the functions that answer.

lowerCamelCase; positions and 64-bit integers are strings; times are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from consent_domain.commands import LiveCommand
from consent_domain.events import Scope
from consent_domain.policy import PolicyRules
from consent_domain.purposes import Purpose, Selector


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A message of the API. Members that say nothing are left out."""


class Problem(Message, frozen=True, kw_only=True):
    """RFC 9457. Further members belong to the code, such as `currentVersion` of `version_conflict`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str


class WriteAnswer(Message, frozen=True, kw_only=True):
    """What became of a command. A dry run has no position: nothing was recorded."""

    status: str
    """`applied`, or `not_applied` for a dry run."""
    token: str = ""
    first_position: str = ""
    position: str = ""
    recorded_at: str = ""
    version: int = 0
    """The version of the stream written to, as in the ETag."""
    dry_run: bool = False
    replayed: bool = False
    """The Idempotency-Key was used before: this is the answer of then."""


class RequestAnswer(WriteAnswer, frozen=True, kw_only=True):
    """What became of an opt-out, and what happens next."""

    request: str = ""
    status_url: str = ""
    state: str = ""
    denied_since: str | None = None
    """From when on what it names is denied; null while nothing is."""
    due_at: str | None = None
    joined: bool = False
    joins: str = ""
    """The open request for the same that this one joined; each is answered by itself."""
    visible: bool = False
    """Whether this host denies already; the others follow within a tenth of a second."""


class PersonErasureAnswer(WriteAnswer, frozen=True, kw_only=True):
    """What became of a person's erasure. Without a position there was nothing left to erase."""

    person: str = ""
    keys: int = 0
    """How many keys the recorded erasure names."""
    destroyed: bool = False
    """Whether they are destroyed by now. If not, the ledger goes on until they are."""


class WorkspaceErasureAnswer(WriteAnswer, frozen=True, kw_only=True):
    """What became of a workspace's erasure: `proposed` by the first person, `erased` by the second."""

    workspace: str = ""
    proposed: bool = False
    erased: bool = False
    keys: int = 0
    destroyed: bool = False
    visible: bool = False
    """Whether this host denies already; the others follow within a tenth of a second."""


class GivenText(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The words of a policy or notice. `format`: `markdown` or `plain`."""

    text: str
    format: Literal["markdown", "plain"] = "markdown"


class KeptText(Message, frozen=True, kw_only=True):
    """A text that is kept: what events name it by, and how many bytes it has in UTF-8."""

    text_sha256: str
    bytes: int


class FindPerson(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to look for. Case, form of characters and outer blanks make no difference."""

    subject: str


class PersonFound(Message, frozen=True, kw_only=True):
    """A person by its ref, and where something is sealed for it that can still be read."""

    person: str
    """The ref: it names nobody, and erases the person."""
    streams: list[str]
    erased_at: list[str] = []
    """The positions at which the person was erased before."""


class Unseal(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why somebody has to look."""

    reason: str


class UnsealedField(Message, frozen=True, kw_only=True):
    """A sealed field as it was before it was sealed."""

    position: str
    event: str
    stream: str
    type: str
    field: str
    subject: str
    person: str
    """The person's ref."""
    unsealing: str
    """The number under which this look is recorded."""


class UnsealingState(Message, frozen=True, kw_only=True):
    """A look at a sealed field."""

    unsealing: str
    position: str
    principal: str
    reason: str
    at: str


class Unsealings(Message, frozen=True, kw_only=True):
    """Looks in order; `next` is the `after` of the next page, absent on the last."""

    unsealings: list[UnsealingState]
    next: str = ""


class CommandBatch(Message, frozen=True, kw_only=True):
    """Up to 100 commands, each decided and recorded, or refused, by itself and in this order."""

    commands: list[LiveCommand]


class CommandVerdict(Message, frozen=True, kw_only=True):
    """One command's verdict: as of a single write, or `not_applied` with the members of its problem."""

    status: str
    token: str = ""
    first_position: str = ""
    position: str = ""
    recorded_at: str = ""
    version: int = 0
    dry_run: bool = False
    replayed: bool = False
    code: str = ""
    title: str = ""
    detail: str = ""


class CommandVerdicts(Message, frozen=True, kw_only=True):
    """A verdict a command, in the order of the commands."""

    verdicts: list[CommandVerdict]


class ReasonGiven(Message, frozen=True, kw_only=True):
    """A stable code, and the position of the event that gives it (absent: no event does)."""

    code: str
    position: str = ""
    workspace: str = ""


class CollectedWindow(Message, frozen=True, kw_only=True):
    """A time of collection that a permission covers, from `from` up to and without `to`."""

    start: str = msgspec.field(name="from")
    end: str = msgspec.field(default="", name="to")


class PurposeStanding(Message, frozen=True, kw_only=True):
    """Where a workspace is on one purpose: why, since when, and under which words."""

    purpose: str
    standing: str
    decision: str
    reasons: list[ReasonGiven]
    sentence: str
    policy_version: str
    since: str = ""
    since_policy_version: str = ""
    """The version in force then: the words under which it came to be so."""
    permitted_collected: list[CollectedWindow] = []


class WorkspaceState(Message, frozen=True, kw_only=True):
    """A workspace and where it stands on every purpose, as of the token."""

    workspace: str
    kind: str
    plan: str
    region: str
    contract: str = ""
    organisation: str = ""
    customer_since: str
    enrolled_position: str
    closed_at: str = ""
    version: int = 0
    purposes: list[PurposeStanding]
    token: str
    ledger_time: str
    staleness_ms: int


class EverPeriod(Message, frozen=True, kw_only=True):
    """A time in which what came in could be used; `until` is absent while it lasts.

    `appliedAt` are the events that recorded the default then, `endedBy` the reasons of what was so after it.
    """

    standing: str
    since: str
    until: str = ""
    policy_version: str = ""
    reasons: list[ReasonGiven]
    applied_at: list[str] = []
    ended_by: list[ReasonGiven] = []


class EverConsent(Message, frozen=True, kw_only=True):
    """An opt-in that was granted at `position`, by the workspace or its organisation (`scope`).

    `until` is absent while it counts; without `endedPosition` it ran out.
    """

    scope: str
    position: str
    since: str
    until: str = ""
    ended_position: str = ""


class EverEvidence(Message, frozen=True, kw_only=True):
    """What an event proves: who asked and who typed, and the SHA-256 of the words. Who asked stays sealed."""

    position: str
    stream: str
    type: str
    recorded_at: str
    requester_role: str = ""
    authority: str = ""
    requester_sealed: bool = False
    recorded_by: str = ""
    on_behalf_of: str = ""
    policy_version: str = ""
    text_sha256: str = ""
    notice_given_at: str = ""
    notice_channel: str = ""
    provenance: str = ""


class EverAnswer(Message, frozen=True, kw_only=True):
    """All that was ever permitted of a purpose. Positions lead to `evidence`, and to proofs of it."""

    workspace: str
    purpose: str
    opted_in: bool
    defaulted_on: bool
    permitted: bool
    sentence: str
    periods: list[EverPeriod]
    consents: list[EverConsent]
    evidence: list[EverEvidence]
    token: str
    ledger_time: str


class HistoryEvent(Message, frozen=True, kw_only=True):
    """An event as it is stored. Sealed members stay sealed.

    `proof` is its `.tlog-proof`, if asked for; absent for events that no checkpoint covers yet.
    """

    position: str
    event: msgspec.Raw | dict[str, Any]
    proof: str = ""


class History(Message, frozen=True, kw_only=True):
    """Events in order; `next` is the `after` of the next page, absent on the last."""

    events: list[HistoryEvent]
    next: str = ""


class PolicyState(Message, frozen=True, kw_only=True):
    """A published version of the vendor's principles."""

    policy: str
    version: str
    title: str
    text_sha256: str
    direction: str
    why: str
    position: str
    recorded_at: str
    effective_at: str
    in_force: bool = False
    rules: PolicyRules


class Policies(Message, frozen=True, kw_only=True):
    """Every published version, in the order of their taking effect."""

    policies: list[PolicyState]
    token: str


class PurposeState(Message, frozen=True, kw_only=True):
    """A purpose of the policy in force, or of one that is announced."""

    purpose: Purpose
    policy_version: str
    in_force: bool = False
    suspended: bool = False


class Purposes(Message, frozen=True, kw_only=True):
    """Every purpose that can be asked about."""

    purposes: list[PurposeState]
    token: str


class OrganisationState(Message, frozen=True, kw_only=True):
    """An organisation; its choices bind all its workspaces."""

    organisation: str
    registered_at: str
    position: str
    version: int
    opt_outs: list[str] = []
    """Requests that are open or were processed, and have not ended."""


class Organisations(Message, frozen=True, kw_only=True):
    """Organisations by id; `next` is the `after` of the next page, absent on the last."""

    organisations: list[OrganisationState]
    next: str = ""


class Durations(Message, frozen=True, kw_only=True):
    """How many days the opt-outs processed in the last 90 days took; absent if there were none."""

    median: float
    ninetieth_percentile: float


class RequestState(Message, frozen=True, kw_only=True):
    """A request on its way. Who asked stays sealed and is not shown."""

    request: str
    kind: str
    scope: Scope
    state: str
    authority: str
    requester_role: str
    channel: str
    received_at: str
    due_at: str = ""
    overdue: bool = False
    rule: str = ""
    law: str = ""
    selector: Selector | None = None
    keys: list[str] = []
    joins: str = ""
    action: str = ""
    reason: str = ""
    processed_at: str = ""
    ended_at: str = ""
    first_position: str
    position: str
    last90_days: Durations | None = None


class Requests(Message, frozen=True, kw_only=True):
    """Requests in the order in which they began; `next` is the `after` of the next page."""

    requests: list[RequestState]
    next: str = ""
    last90_days: Durations | None = None


class WitnessState(Message, frozen=True, kw_only=True):
    """A witness as the publisher saw it last, and the size of the largest checkpoint that it cosigned.

    `state` is `new`, `cosigning`, `failing`, `refusing`, `ahead` or `without_url`.
    """

    name: str
    state: str
    size: str
    cosigned_at: str = ""


class LogEpoch(Message, frozen=True, kw_only=True):
    """The log of one epoch: its name in checkpoints, and where its files are."""

    epoch: int
    name: str
    prefix: str
    size: str


class LogState(Message, frozen=True, kw_only=True):
    """The newest epoch's log, the keys that ever signed it, oldest first, and all epochs."""

    origin: str
    epoch: int
    name: str
    prefix: str
    size: str
    witnessed_size: str
    verifier_keys: list[str]
    witnesses: list[WitnessState]
    epochs: list[LogEpoch]


class LogHealth(Message, frozen=True, kw_only=True):
    """How far publishing is. `behindMs`: for how long the oldest event has waited for a checkpoint.

    `lacking` says what the witness policy misses. A witness that is away is told here, and fails nothing.
    """

    size: str
    behind_ms: int
    published_at: str = ""
    witnessed_size: str = ""
    lacking: str = ""
    witnesses: list[WitnessState] = []


class Health(Message, frozen=True, kw_only=True):
    """`ok`, or what is wrong."""

    status: str
    failures: list[str] = []
    position: str = ""
    staleness_ms: int = 0
    log: LogHealth | None = None
