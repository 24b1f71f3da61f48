"""On which grounds a request may be rejected, and whether one person may say so.

| reason | one person | holds only if |
|---|---|---|
| `duplicate` | yes | another request that names as much still stands |
| `no_authority` | yes | the requester's authority was never verified |
| `required_by_policy` | no | every policy since it came, announced ones too, requires all that it names |
| any other | no | |

Every reason must be listed by the policy in force, and by the one in force when the request came:
what a vendor adds later does not reach back.
"""

from __future__ import annotations

from msgspec.structs import replace

from consent_domain.errors import Refused
from consent_domain.evolve import BREADTH
from consent_domain.facts import Book, Published, WorkspaceFacts
from consent_domain.grounds import prepare
from consent_domain.handlers.changes import in_force_since
from consent_domain.instants import Micros
from consent_domain.policy import PolicyRules, regime_of
from consent_domain.purposes import Purpose, covers_selector, selects
from consent_domain.requests import Request
from consent_domain.state import StreamState, policy_at

_FOR_EVER: Micros = 1 << 62


def check_rejection(book: Book, stream: StreamState, request: Request, reason: str, now: Micros) -> bool:
    """Refuse a reason that does not hold; else, whether a second person must approve."""
    policy = policy_at(book, now)
    if policy is None:
        raise Refused("no_policy_in_force", "no policy is in force that could list reasons; publish one")
    then = _as_known_at(book, request)
    for one in filter(None, (policy, policy_at(then, request.received_at))):
        if reason not in one.rules.rejection_reasons:
            listed = ", ".join(one.rules.rejection_reasons) or "none"
            raise Refused(
                "reason_not_listed",
                f"the reason is not listed by policy version {one.version} (it lists {listed})",
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
            since = request.received_at
            for one in (*in_force_since(then, since), *in_force_since(book, since)):
                _check_required(book, one, stream, request, now)
    return True


def _as_known_at(book: Book, request: Request) -> Book:
    """What the requester could know: a version that was published later may have been dated back."""
    return replace(
        book, policies=tuple(one for one in book.policies if one.position < request.first_position)
    )


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
    """Whether `other` stops no less than `request`, and no later."""
    stops_by_then = other.permit_until is None or (
        request.permit_until is not None and other.permit_until <= request.permit_until
    )
    return stops_by_then and BREADTH[other.authority] >= BREADTH[request.authority]


def _check_required(
    book: Book, policy: Published, stream: StreamState, request: Request, now: Micros
) -> None:
    """Selectors that also name purposes to come never name required ones only."""
    keys = set() if request.selector is None else set(request.selector.keys)
    named = [
        purpose
        for purpose in policy.rules.purposes
        if not keys.isdisjoint(prepare(book, purpose.key, (), _FOR_EVER).keys)
    ]
    optional = keys - {purpose.key for purpose in named}
    optional |= {purpose.key for purpose in named if not _is_required(policy.rules, purpose, stream, now)}
    if optional or not keys:
        what = ", ".join(sorted(optional)) or "purposes to come"
        raise Refused(
            "required_by_policy",
            f"request {request.id} also names what policy version {policy.version} does not require: {what}; "
            "process it, or reject it for another reason",
        )


def _is_required(rules: PolicyRules, purpose: Purpose, stream: StreamState, now: Micros) -> bool:
    facts = stream.facts
    if isinstance(facts, WorkspaceFacts):
        # As it is now and as it is announced to be: a rejection is for ever.
        current = [one for one in facts.attributes if one.since <= now][-1:] or [facts.attributes[0]]
        announced = [one for one in facts.attributes if one.since > now]
        return all(regime_of(rules, purpose, one.profile) == "required" for one in (*current, *announced))
    # An organisation's workspaces may be of any kind: every rule that may fit one of them must require it.
    for rule in rules.rules:
        if selects(rule.selector, purpose):
            if rule.regime != "required":
                return False
            if not (rule.plans or rule.regions or rule.contracts or rule.organisations):
                return True
    return False
