"""On which grounds a request may be rejected, and whether one person may say so.

| reason | one person | holds only if |
|---|---|---|
| `duplicate` | yes | another request that names as much still stands |
| `no_authority` | yes | the requester's authority was never verified |
| `required_by_policy` | no | the policy requires everything that the request names |
| any other | no | |

Every reason must be listed by the policy in force, and by the one in force when the request came:
what a vendor adds later does not reach back.
"""

from __future__ import annotations

from consent_domain.errors import Refused
from consent_domain.evolve import BREADTH
from consent_domain.facts import Book, Published, WorkspaceFacts
from consent_domain.instants import Micros
from consent_domain.policy import PolicyRules, regime_of
from consent_domain.purposes import Purpose, covers_selector, selects
from consent_domain.requests import Request
from consent_domain.state import StreamState, policy_at


def check_rejection(book: Book, stream: StreamState, request: Request, reason: str, now: Micros) -> bool:
    """Refuse a reason that does not hold; else, whether a second person must approve."""
    policy = policy_at(book, now)
    if policy is None:
        raise Refused("no_policy_in_force", "no policy is in force that could list reasons; publish one")
    for one in filter(None, (policy, policy_at(book, request.received_at))):
        if reason not in one.rules.rejection_reasons:
            listed = ", ".join(one.rules.rejection_reasons) or "none"
            raise Refused(
                "reason_not_listed",
                f"reason {reason[:140]!r} is not listed by policy version {one.version} (it lists {listed})",
            )
    match reason:
        case "duplicate":
            _check_duplicate(stream, request)
            return False
        case "no_authority":
            if request.authority == "verified":
                raise Refused(
                    "wrong_state",
                    f"the authority behind request {request.id} is verified; reject it for another reason",
                )
            return False
        case "required_by_policy":
            _check_required(policy, stream, request)
    return True


def _check_duplicate(stream: StreamState, request: Request) -> None:
    for other in stream.requests.values():
        if (
            other.id != request.id
            and other.kind == "opt_out"
            and (other.state == "processed" or (other.is_open and _as_strong(other, request)))
            and other.selector is not None
            and request.selector is not None
            and covers_selector(other.selector, request.selector)
        ):
            return
    raise Refused(
        "wrong_state",
        f"request {request.id} is no duplicate: no other request that still stands names as much; "
        "process it, or reject it for another reason",
    )


def _as_strong(other: Request, request: Request) -> bool:
    return BREADTH[other.authority] >= BREADTH[request.authority]


def _check_required(policy: Published, stream: StreamState, request: Request) -> None:
    """Selectors that also name purposes to come never name required ones only."""
    keys = set() if request.selector is None else set(request.selector.keys)
    named = [
        purpose
        for purpose in policy.rules.purposes
        if purpose.key in keys or not keys.isdisjoint(purpose.replaces)
    ]
    optional = keys - {purpose.key for purpose in named}
    optional |= {purpose.key for purpose in named if not _is_required(policy.rules, purpose, stream)}
    if optional or not keys:
        what = ", ".join(sorted(optional)) or "purposes to come"
        raise Refused(
            "required_by_policy",
            f"request {request.id} also names what policy version {policy.version} does not require: {what}; "
            "process it, or reject it for another reason",
        )


def _is_required(rules: PolicyRules, purpose: Purpose, stream: StreamState) -> bool:
    facts = stream.facts
    if isinstance(facts, WorkspaceFacts):
        return regime_of(rules, purpose, facts.attributes[-1].profile) == "required"
    # An organisation's workspaces may be of any kind: every rule that may fit one of them must require it.
    for rule in rules.rules:
        if selects(rule.selector, purpose):
            if rule.regime != "required":
                return False
            if not (rule.plans or rule.regions or rule.contracts or rule.organisations):
                return True
    return False
