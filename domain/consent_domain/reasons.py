"""Reason codes in words, for people. The codes are stable: a code is never reused for something else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consent_domain.decide import Decision
from consent_domain.grounds import Reason
from consent_domain.identifiers import is_id
from consent_domain.instants import rfc3339
from consent_domain.ruling import Window

WINDOWS_SAID_MAX = 3

PERMITTING = {
    "defaulted_on": "it is on by default: nobody was asked",
    "opted_in": "it was opted in",
    "required_by_policy": "the policy says that the service requires it",
    "permitted_while_requested": "an opt-out is pending and the policy lets use go on until it is due",
}
"""Reasons that a permit may carry. Defaulted-on is never called consent."""

_OWN_DENIALS = {
    "opt_out_requested": "an opt-out was requested",
    "opted_out": "it was opted out",
    "opt_in_refused": "an opt-in was refused",
    "opt_in_withdrawn": "an opt-in was withdrawn",
    "opt_in_expired": "an opt-in ran out",
}

DENYING = {
    # who and what
    "invalid_id": "the workspace's id is not 1 to 128 of A-Z a-z 0-9 . _ -; send it as the ledger knows it",
    "no_workspace": "no workspace was named; name whose data it is",
    "unknown_workspace": "the ledger does not know the workspace",
    "unknown_organisation": "the ledger does not know the workspace's organisation",
    "quarantined": "an event that it depends on cannot be read",
    "no_policy_in_force": "no policy was in force",
    "unknown_purpose": "no policy knows the purpose; `GET /v1/purposes` lists those that there are",
    "purpose_not_in_policy": "the policy in force does not have the purpose, or only a narrower one",
    "category_not_in_purpose": "the purpose does not take a data category that was named",
    # grounds
    "workspace_closed": "the workspace is closed",
    "workspace_erased": "the workspace was erased",
    "suspended": "the purpose is suspended for everybody",
    "sandbox": "sandboxes never train",
    "prohibited_by_policy": "the policy prohibits it",
    "not_covered_by_policy": "no rule of the policy allows it",
    **_OWN_DENIALS,
    **{
        f"organisation_{code}": f"{words}, for the whole organisation" for code, words in _OWN_DENIALS.items()
    },
    "opt_in_missing": "it needs an opt-in and there is none",
    "excluded_by_plan": "the workspace's plan excludes it",
    "excluded_by_contract": "the workspace's contract excludes it",
    # when the data was collected
    "before_enrolment": "the data is older than the workspace",
    "before_opt_in": "the opt-in does not cover data collected before it",
    "collected_unstated": "not all of its past qualifies; say when the data was collected (`collected`)",
    "collected_backwards": "the collection time ends before it starts",
    "collected_in_future": "the collection time lies in the future",
    "collected_beyond_ruling": "the collection time lies past a change that is announced already",
    "collected_outside_windows": "the data was not collected within `permittedCollected`",
    # the answerer
    "stale": "what is known of the ledger is older than the caller allows, or from before what it asks for; "
    "ask again when the ledger can be reached",
    "catching_up": "the replica is not complete yet; wait until the gate is live",
    "halted": "the log is damaged, or what was sent of it cannot be; nothing is decided until that is mended",
    "malformed": "the question itself is malformed",
    "unavailable": "the ledger gave no answer that counts; ask again when it can be reached",
    "overloaded": "the ledger has too much to do; ask again later, and fewer at a time",
    "unauthenticated": "the ledger does not know the API key; give the gate a valid one",
    "forbidden": "the API key may not ask this; use one of the role `pipeline`",
    "undecided": "it could not be decided; ask again, and until then it is a no",
}
"""Reasons that a denial may carry."""


def named(names: Iterable[object]) -> str:
    """Names as sentences say them. What is no id is not repeated: it may be anything, and ends up in logs."""
    return ", ".join(name if isinstance(name, str) and is_id(name) else "what is no id" for name in names)


def sentence(decision: Decision, who: str, purpose: str, detail: str = "") -> str:
    """One sentence for a person: the answer, whom (`named`) and what it is about, why, by which event.

    Whoever did not say when the data was collected is told what to say. `detail` is put at the end.
    """
    verb = "may" if decision.permit else "may not"
    why = list(dict.fromkeys(_said(reason) for reason in decision.reasons))
    if any(reason.code == "collected_unstated" for reason in decision.reasons):
        why.append(f"permitted is what was collected {windows_in_words(decision.windows)}")
    return (
        f"Data of {who} {verb} be used for {named((purpose,))}: {'; '.join([*why, *filter(None, [detail])])}."
    )


def windows_in_words(windows: Sequence[Window]) -> str:
    """Collection times, the latest few of them: "from A until B, or from C on"."""
    if not windows:
        return "at no time"
    said = [
        f"from {rfc3339(start)} {'on' if end is None else f'until {rfc3339(end)}'}"
        for start, end in windows[-WINDOWS_SAID_MAX:]
    ]
    return ", or ".join([*(["earlier"] if len(windows) > WINDOWS_SAID_MAX else []), *said])


def _said(reason: Reason) -> str:
    words = PERMITTING.get(reason.code) or DENYING.get(reason.code) or reason.code
    whose = f" of {reason.workspace}" if is_id(reason.workspace) else ""
    event = (
        f" (event {reason.position}{whose})"
        if reason.position > 0
        else f" ({reason.workspace})"
        if whose
        else ""
    )
    return words + event
