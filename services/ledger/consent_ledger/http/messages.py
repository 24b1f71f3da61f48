"""What answers look like: read by the API's description, and written by the functions that answer.

lowerCamelCase; positions and 64-bit integers are strings; times are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Any

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


class HistoryEvent(Message, frozen=True, kw_only=True):
    """An event as it is stored. Sealed members stay sealed."""

    position: str
    event: msgspec.Raw | dict[str, Any]


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


class Health(Message, frozen=True, kw_only=True):
    """`ok`, or what is wrong."""

    status: str
    failures: list[str] = []
    position: str = ""
    staleness_ms: int = 0
