"""What is said over HTTP of runs, of what is due of them, and of who has applied how much."""

from __future__ import annotations

import msgspec
from consent_domain.events import RunOutput
from consent_domain.manifest import Manifest

from consent_ledger.http.messages import Message, WriteAnswer


class GivenRun(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A manifest and its set of workspaces: a 64-bit Roaring bitmap over ordinals, portable, in Base64."""

    manifest: Manifest
    set: bytes


class RunAnswer(WriteAnswer, frozen=True, kw_only=True):
    """A registered run. The ledger signs `consent-manifest.v1\\n` and the manifest's SHA-256 (32 bytes)."""

    run: str = ""
    manifest_sha256: str = ""
    set_sha256: str = ""
    signature: str = ""
    """Ed25519, in Base64, by the key of the feed."""
    proof_url: str = ""


class DischargeOf(Message, frozen=True, kw_only=True):
    """What somebody did of what was due, by all that the ledger knew at `through`."""

    position: str
    at: str
    action: str
    through: str
    outputs: list[str] = []
    evidence_sha256: str = ""


class RunItem(Message, frozen=True, kw_only=True):
    """A run in short. `position` is that of its registration; its checks stood on `token` at `at`."""

    run: str
    purpose: str
    token: str
    at: str
    position: str
    registered_at: str
    manifest_sha256: str = ""
    set_sha256: str = ""
    outputs: list[RunOutput] = []
    parents: list[str] = []
    code: str = ""
    discharges: list[DischargeOf] = []


class RunList(Message, frozen=True, kw_only=True):
    """Runs in the order of their registration."""

    runs: list[RunItem]
    next: str = ""
    """What to ask `after` for more; absent at the end."""


class RunState(RunItem, frozen=True, kw_only=True):
    """A run with its manifest, byte for byte as it was hashed, and the ledger's signature."""

    manifest: msgspec.Raw
    signature: str = ""


class Judged(Message, frozen=True, kw_only=True):
    """A decision on one workspace, at a moment. `windows` are the collection times that it permits."""

    decision: str
    standing: str
    reasons: list[dict[str, str]]
    policy_version: str
    token: str
    ledger_time: str
    windows: list[dict[str, str]] = []


class Explained(Message, frozen=True, kw_only=True):
    """Whether a run used a workspace's data, why it was permitted, and whether it would be now."""

    run: str
    workspace: str
    purpose: str
    used: bool
    then: Judged
    now: Judged
    changed_at: str = ""
    """Since when the decision of now stands, where it is another than then."""


class DueOutput(Message, frozen=True, kw_only=True):
    """An output, and what is due of it: `purge`, `retrain`, or nothing, so that it is looked at: `review`.
    `discharged_at` is the position that did it."""

    action: str
    open: bool
    kind: str = ""
    uri: str = ""
    version: str = ""
    discharged_at: str = ""


class ClaimItem(Message, frozen=True, kw_only=True):
    """What one workspace's opt-out, withdrawn opt-in or erasure says against one run.

    `via` is the run that used the workspace's data: the run itself, or one that it followed from.
    `claimed_by` objected: the workspace itself, or one that it shares data with by a succession.
    """

    workspace: str
    claimed_by: str
    run: str
    via: str
    because: str
    request: str = ""
    position: str
    open: bool
    outputs: list[DueOutput]


class ObligationItem(ClaimItem, frozen=True, kw_only=True):
    """What it makes due of the run, and by when."""

    due_at: str


class ObjectionItem(ClaimItem, frozen=True, kw_only=True):
    """An opt-out of the purpose of a run that used the workspace's data, and what of it is not due for that.

    Outputs are to be reviewed. `because` is `opt_out`, or `opt_out_requested` while its authority is not
    proven enough for anything to be due.
    """


class ObligationList(Message, frozen=True, kw_only=True):
    """What is due by all that the ledger knew at `token`, which a discharge names as `through`."""

    obligations: list[ObligationItem]
    objections: list[ObjectionItem]
    """What nothing is due for, and is made of the data of somebody who objects to the purpose now."""
    token: str
    more: bool = False
    """There are other obligations, which are not here: discharge these and ask again."""
    objections_more: bool = False
    """There are other objections, which are not here."""


class GivenDischarge(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done: `purged`, `retrained` or `not_affected`, and the evidence, as text or by its SHA-256."""

    action: str
    through: str
    """The token of the list of obligations that it goes by."""
    outputs: list[str] = []
    """The uris it is about; none: all of the run's."""
    evidence: str = ""
    evidence_sha256: str = ""


class DischargeAnswer(WriteAnswer, frozen=True, kw_only=True):
    """What became of a discharge."""

    run: str = ""
    evidence_sha256: str = ""


class GivenApplied(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to which token everything is applied."""

    token: str


class AppliedAnswer(WriteAnswer, frozen=True, kw_only=True):
    """What became of it. Nothing is recorded for what is known already."""

    recipient: str = ""
    applied: str = ""


class RecipientState(Message, frozen=True, kw_only=True):
    """Who takes part, and how much of the log it has applied, by its own word."""

    recipient: str
    applied: str
    behind: str
    """How many events were recorded after."""
    told_at: str


class RecipientList(Message, frozen=True, kw_only=True):
    """Recipients by name."""

    recipients: list[RecipientState]
    token: str
    next: str = ""
