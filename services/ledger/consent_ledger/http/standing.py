"""Where a workspace stands on every purpose: why, since when, under which words. Pure.

"Since when" follows from the facts themselves: the event that a reason names has its own effective
time there, which for imported history is the original one.
"""

from __future__ import annotations

from consent_domain.decide import Collected, Decision, decide
from consent_domain.facts import Book, Choices, OrganisationFacts, WorkspaceFacts
from consent_domain.instants import Micros, rfc3339
from consent_domain.reasons import sentence
from consent_domain.ruling import Snapshot
from consent_domain.state import policy_at

from consent_ledger.http import messages


def standings(
    snapshot: Snapshot, workspace: str, facts: WorkspaceFacts, at: Micros
) -> list[messages.PurposeStanding]:
    """The standing on each purpose in force at `at` and on each that is announced, in the policies' order.

    Cost about 30 µs a purpose.
    """
    times = _times(snapshot, facts)
    return [_standing(snapshot, workspace, purpose, at, times) for purpose in _purposes(snapshot.book, at)]


def _purposes(book: Book, at: Micros) -> list[str]:
    in_force = policy_at(book, at)
    policies = [in_force] if in_force is not None else []
    policies += [policy for policy in book.policies if policy.effective > at]
    return list(dict.fromkeys(purpose.key for policy in policies for purpose in policy.rules.purposes))


def _standing(
    snapshot: Snapshot, workspace: str, purpose: str, at: Micros, times: dict[int, Micros]
) -> messages.PurposeStanding:
    # A state is about data that comes in now; for older data the windows say what holds.
    decision = decide(snapshot, (workspace,), purpose, (), at, Collected(at, at))
    since = _since(decision, times)
    then = None if since is None else policy_at(snapshot.book, since)
    return messages.PurposeStanding(
        purpose=purpose,
        standing=decision.standing,
        decision="permit" if decision.permit else "deny",
        reasons=[
            messages.ReasonGiven(code=one.code, position=str(one.position) if one.position > 0 else "")
            for one in decision.reasons
        ],
        sentence=sentence(decision, workspace, purpose),
        policy_version=decision.policy_version,
        since="" if since is None else rfc3339(since),
        since_policy_version="" if then is None else then.version,
        permitted_collected=[
            messages.CollectedWindow(
                start=rfc3339(window.start), end="" if window.end is None else rfc3339(window.end)
            )
            for window in decision.windows
        ],
    )


def _since(decision: Decision, times: dict[int, Micros]) -> Micros | None:
    """Since when it is as it is; None where no event says so."""
    if decision.permit and decision.windows:
        return decision.windows[-1].start
    return next((times[one.position] for one in decision.reasons if one.position in times), None)


def _times(snapshot: Snapshot, facts: WorkspaceFacts) -> dict[int, Micros]:
    """Position → when what happened there took effect, for everything that a reason may name."""
    times = {policy.position: policy.effective for policy in snapshot.book.policies}
    times |= {stop.position: stop.since for stop in snapshot.book.suspensions}
    times |= {one.position: one.since for one in facts.attributes}
    times |= {link.position: link.since for link in facts.successions}
    times |= _choice_times(facts.choices)
    for name in {one.organisation for one in facts.attributes if one.organisation}:
        organisation = snapshot.organisation(name)
        if isinstance(organisation, OrganisationFacts):
            times |= _choice_times(organisation.choices)
    if facts.closed is not None:
        times[facts.closed_position] = facts.closed
    return times


def _choice_times(choices: Choices) -> dict[int, Micros]:
    times = {one.position: one.since for one in choices.opt_outs}
    for opt_in in choices.opt_ins:
        times[opt_in.position] = opt_in.since
        if opt_in.ended is not None:
            times[opt_in.ended_position] = opt_in.ended
    return times
