"""What would make a denial a permit, by the code of its reason: in words, for whoever got it.

Some denials are meant to stay: then this says so, and what to do with the data instead.
"""

from __future__ import annotations

_OF_CHOICES = {
    "opt_out_requested": "whoever asked takes the opt-out back, or it is rejected; data collected while it "
    "stood stays out",
    "opted_out": "whoever asked takes the opt-out back; data collected while it stood stays out",
    "opt_in_refused": "a new opt-in by the owner, and then only data that it covers",
    "opt_in_withdrawn": "a new opt-in by the owner, and then only data that it covers",
    "opt_in_expired": "a new opt-in by the owner, best before the old one runs out",
}

REMEDIES = {
    # who and what
    "invalid_id": "name the workspace by its id as the ledger knows it",
    "no_workspace": "name the workspace whose data it is",
    "unknown_workspace": "enrol the workspace; only data from its enrolment on qualifies",
    "unknown_organisation": "register the organisation that the workspace names",
    "quarantined": "upgrade whoever cannot read the event; until then nothing of it is permitted",
    "no_policy_in_force": "a policy in force, both when the data was collected and now",
    "unknown_purpose": "name a purpose that the policy has: `GET /v1/purposes` lists them",
    "purpose_not_in_policy": "use data collected while the policy had the purpose, no narrower than now; or "
    "publish a new version of the policy, for data collected from then on",
    "category_not_in_purpose": "leave the data category out, or name one that the purpose takes",
    # grounds
    "workspace_closed": "nothing: a closed workspace stays closed; drop its data",
    "workspace_erased": "nothing: drop its data",
    "suspended": "two people resume the purpose",
    "sandbox": "nothing: sandboxes never train; drop its data",
    "prohibited_by_policy": "a new version of the policy that allows it, for data collected from then on",
    "not_covered_by_policy": "a new version of the policy that allows it, for data collected from then on",
    **_OF_CHOICES,
    **{f"organisation_{code}": f"for the organisation: {words}" for code, words in _OF_CHOICES.items()},
    "opt_in_missing": "an opt-in by the owner; it covers data collected before it only if it says so",
    "excluded_by_plan": "a plan that the policy does not exclude, for data collected from then on",
    "excluded_by_contract": "a contract that the policy does not exclude, for data collected from then on",
    # when the data was collected
    "before_enrolment": "use data collected since the workspace became a customer",
    "before_opt_in": "use data collected since the opt-in, or get one that covers data collected before it",
    "collected_unstated": "say when the data was collected: by --collected, or --collected-from and "
    "--collected-to",
    "collected_backwards": "swap --collected-from and --collected-to",
    "collected_in_future": "name a collection time that has come",
    "collected_beyond_ruling": "ask again when the announced change has taken effect",
    "collected_outside_windows": "use data collected at a time that is permitted",
    # the answerer
    "stale": "ask again when the ledger answers; `consent status` says more",
    "catching_up": "ask again when the replica is complete; `consent status` says how far it is",
    "halted": "mend the log or the feed first: `consent status` says what is wrong",
    "malformed": "mend the question",
    "unavailable": "ask again when the ledger can be reached; `consent status` says more",
    "overloaded": "ask again later, and fewer at a time",
    "unauthenticated": "give a valid API key",
    "forbidden": "use an API key of the role `pipeline`",
    "undecided": "ask again; `consent status` says more",
}
"""One for every code of `consent_domain.reasons.DENYING`, which a test compares."""
