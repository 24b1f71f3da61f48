"""What speaks against a use at one instant: the precedence table, a row a ground.

Every use is judged twice, under the facts as they were when the data was collected and as they
are now, by the same table. The first ground that objects decides; if none does, the regime of the
policy (or an opt-in) says on what the permission stands.

| | ground | standing | what it looks at |
|---|---|---|---|
| 1 | unreadable | `unknown` | quarantined events of the workspace, organisation, purpose, any policy |
| 2 | purpose | `unknown` | no policy in force, purpose not in it, category not taken by it |
| 3 | closed | `unknown` | workspace erased or closed |
| 4 | suspended | `suspended` | a stop of the purpose for everybody |
| 5 | sandbox | `prohibited` | sandboxes never train |
| 6 | prohibited | `prohibited` | the policy's rule, or its silence |
| 7 | opt-out | `opt_out_requested`, `opted_out` | objections of the workspace and its organisation |
| 8 | refusal | `opted_out` | an opt-in that was refused, withdrawn or ran out |
| 9 | consent | `defaulted_off` | opt-in regime without a valid opt-in |
| 10 | exclusion | `defaulted_off` | what plan or contract promised is left out |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from consent_domain.facts import (
    EVERYTHING,
    NOTHING,
    Attributes,
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    Suspension,
    WorkspaceFacts,
)
from consent_domain.instants import Micros
from consent_domain.policy import exclusions_of, regime_of
from consent_domain.purposes import (
    Purpose,
    Selector,
    category_within,
    may_train,
    reaches_outside,
    same_attributes,
    selects_any,
)


class Reason(NamedTuple):
    """A stable code, the position of the event that gives it (0: none does), and of whom it speaks."""

    code: str
    position: int = 0
    workspace: str = ""


class Objection(NamedTuple):
    """Why a use is denied, and where that leaves the workspace."""

    standing: str
    reasons: tuple[Reason, ...]


class Case(NamedTuple):
    """One purpose and what everybody's facts say of it: the same for all workspaces.

    It holds from `valid_from` (inclusive) to `valid_until` (exclusive; None: for ever), while no
    policy, suspension or resumption takes effect. `quarantined` is the position of an unreadable
    event that everybody depends on (0: not known), None if there is none. Facts of a while ago are judged
    for the time they are from, and what is known to change by `until` is denied as `stale`.
    """

    purpose: str
    categories: tuple[str, ...]
    policies: tuple[Published, ...]
    keys: frozenset[str]
    lineage: tuple[Purpose, ...]
    current: Purpose | None
    suspensions: tuple[Suspension, ...]
    quarantined: int | None
    valid_from: Micros
    valid_until: Micros | None
    until: Micros | None = None


class Side(NamedTuple):
    """One workspace with its organisations, `as_other` when judged for its successor's or predecessor's."""

    name: str
    facts: WorkspaceFacts
    organisations: dict[str, OrganisationFacts | None]
    as_other: bool = False

    def attributes_at(self, at: Micros) -> Attributes:
        """The attributes in effect at an instant; before the first ones, the first ones."""
        in_effect = self.facts.attributes[0]
        for attributes in self.facts.attributes:
            if attributes.since <= at:
                in_effect = attributes
        return in_effect


class Moment(NamedTuple):
    """One side at one instant; `covered` says that an opt-in given later reaches back to it."""

    case: Case
    side: Side
    at: Micros
    collecting: bool
    attributes: Attributes
    policy: Published | None
    definition: Purpose | None
    regime: str | None
    covered: bool


def prepare(book: Book, purpose: str, categories: tuple[str, ...], at: Micros) -> Case:
    """The case of a purpose at ledger time `at`. Cost O(policies * purposes)."""
    policies = tuple(policy for policy in book.policies if policy.effective <= at)
    keys = _with_earlier(purpose, policies)
    lineage = tuple(one for policy in policies for one in policy.rules.purposes if one.key in keys)
    current = (
        next((one for one in policies[-1].rules.purposes if one.key == purpose), None) if policies else None
    )
    suspensions = tuple(stop for stop in book.suspensions if stop.key in keys)
    unreadable = keys & set(book.quarantined_purposes)
    changes = [policy.effective for policy in book.policies]
    changes += [stop.since for stop in suspensions]
    changes += [stop.ended for stop in suspensions if stop.ended is not None]
    return Case(
        purpose,
        categories or (tuple(current.categories) if current else ()),
        policies,
        frozenset(keys),
        lineage,
        current,
        suspensions,
        book.quarantined or (0 if unreadable else None),
        max((change for change in changes if change <= at), default=0),
        min((change for change in changes if change > at), default=None),
    )


def _with_earlier(purpose: str, policies: tuple[Published, ...]) -> set[str]:
    """The key and all that it replaces, directly or not: one policy may hold a whole chain."""
    keys: set[str] = set()
    found = {purpose}
    while found:
        keys |= found
        found = {
            earlier
            for policy in policies
            for one in policy.rules.purposes
            if one.key in found
            for earlier in one.replaces
        } - keys
    return keys


def moment(case: Case, side: Side, at: Micros, *, collecting: bool, covered: bool = False) -> Moment:
    """A side at an instant. `collecting`: the data was collected then; otherwise it is to be used then."""
    attributes = side.attributes_at(at)
    policy = None
    for published in case.policies:
        if published.effective <= at:
            policy = published
    definition = None if policy is None else _definition(case, policy, collecting)
    regime = None
    if policy is not None and definition is not None:
        regime = regime_of(policy.rules, definition, attributes.profile)
    return Moment(case, side, at, collecting, attributes, policy, definition, regime, covered)


def _definition(case: Case, policy: Published, collecting: bool) -> Purpose | None:
    """The purpose as the policy defines it; when collecting, one that promised no less than today's."""
    for one in policy.rules.purposes:
        if one.key == case.purpose and (not collecting or _no_narrower(one, case)):
            return one
    if collecting:
        return next(
            (one for one in policy.rules.purposes if one.key in case.keys and _no_narrower(one, case)), None
        )
    return None


def _no_narrower(then: Purpose, case: Case) -> bool:
    now = case.current
    return (
        now is not None
        and (then.processing, then.reach, then.model_class, then.recipient)
        == (now.processing, now.reach, now.model_class, now.recipient)
        and all(category_within(category, then.categories) for category in case.categories)
    )


def objection(now: Moment) -> Objection | None:
    """The first ground of the table that objects, or None."""
    for ground in PRECEDENCE:
        found = ground(now)
        if found is not None:
            return found
    return None


def promise(now: Moment) -> Reason | None:
    """The first ground by which policy, plan or contract deny the use, whatever else objects."""
    for ground in (_purpose, _prohibited, _not_consented, _excluded):
        found = ground(now)
        if found is not None:
            return found.reasons[0]
    return None


# -- the grounds, in order -----------------------------------------------------------------------------------


def _unreadable(now: Moment) -> Objection | None:
    positions = [now.case.quarantined, now.side.facts.quarantined or None]
    organisation = now.attributes.organisation
    if organisation:
        known = now.side.organisations.get(organisation)
        if known is None:
            return _one("unknown", "unknown_organisation", now.attributes.position)
        positions.append(known.quarantined or None)
    position = next((position for position in positions if position is not None), None)
    return None if position is None else _one("unknown", "quarantined", position)


def _purpose(now: Moment) -> Objection | None:
    if now.covered:
        return None
    if now.policy is None:
        return _one("unknown", "no_policy_in_force", 0)
    if now.definition is None:
        if not now.case.lineage:
            return _one("unknown", "unknown_purpose", 0)
        return _one("unknown", "purpose_not_in_policy", now.policy.position)
    if not all(_is_taken(category, now.definition) for category in now.case.categories):
        return _one("unknown", "category_not_in_purpose", now.policy.position)
    return None


def _is_taken(category: str, definition: Purpose) -> bool:
    # `messages.` would lie within `messages` and outside of every exclusion of a part of it.
    return "" not in category.split(".") and category_within(category, definition.categories)


def _closed(now: Moment) -> Objection | None:
    facts = now.side.facts
    if facts.erased_position:
        return _one("unknown", "workspace_erased", facts.erased_position)
    if (
        facts.closed is not None
        and facts.closed <= now.at
        and not (now.side.as_other and facts.closed_by_succession)
    ):
        return _one("unknown", "workspace_closed", facts.closed_position)
    return None


def _suspended(now: Moment) -> Objection | None:
    for stop in now.case.suspensions:
        if stop.since <= now.at and (stop.ended is None or now.at < stop.ended):
            return _one("suspended", "suspended", stop.position)
    return None


def _sandbox(now: Moment) -> Objection | None:
    definition = now.definition or now.case.current
    if now.side.facts.kind != "production" and definition and may_train(definition):
        return _one("prohibited", "sandbox", now.side.facts.position)
    return None


def _prohibited(now: Moment) -> Objection | None:
    if now.covered or now.policy is None or now.regime in ("opt_out", "opt_in", "required"):
        return None
    code = "prohibited_by_policy" if now.regime == "prohibited" else "not_covered_by_policy"
    return _one("prohibited", code, now.policy.position)


def _opted_out(now: Moment) -> Objection | None:
    found: list[Reason] = []
    accepted = False
    for choices, whose in _choices(now):
        for opt_out in choices.opt_outs:
            if stands(now, opt_out) and not (not now.collecting and still_permits(opt_out, now.at)):
                accepted = accepted or opt_out.processed
                state = "opted_out" if opt_out.processed else "opt_out_requested"
                found.append(Reason(f"{whose}{state}", opt_out.position))
    if not found:
        return None
    return Objection("opted_out" if accepted else "opt_out_requested", tuple(found))


def stands(now: Moment, opt_out: OptOut) -> bool:
    """Whether an objection that names this purpose counts at this moment, as far as its authority goes."""
    return stands_at(opt_out, now.case, now.at)


def stands_at(opt_out: OptOut, case: Case, at: Micros) -> bool:
    """Whether an objection counts against the purpose of `case` at ledger time `at`; see `stands`."""
    return (
        opt_out.since <= at
        and (opt_out.ended is None or at < opt_out.ended)
        and opt_out.breadth != NOTHING
        and (opt_out.breadth == EVERYTHING or any(map(reaches_outside, case.lineage)))
        and names(opt_out.selector, case)
    )


def names(selector: Selector, case: Case) -> bool:
    """Whether what narrows names the purpose: by its key or an earlier one, or as it ever was."""
    return not case.keys.isdisjoint(selector.keys) or selects_any(selector, case.lineage)


def still_permits(opt_out: OptOut, at: Micros) -> bool:
    """Whether the policy's `while_requested: permit` still lets use go on under a pending objection."""
    return not opt_out.processed and opt_out.permit_until is not None and at < opt_out.permit_until


def _refused(now: Moment) -> Objection | None:
    for choices, whose in _choices(now):
        # Each for itself: a workspace cannot outdate what its organisation refused, nor the other way round.
        granted = max((one.position for one in valid_opt_ins_of(now, choices)), default=0)
        for opt_in in choices.opt_ins:
            ended = _end(opt_in)
            if ended is None or ended > now.at or now.case.keys.isdisjoint(opt_in.keys):
                continue
            how = _how_it_ended(opt_in)
            # Consent may be renewed before it runs out; a refusal or withdrawal only a later grant outdates.
            since = opt_in.position if how == "opt_in_expired" else opt_in.ended_position
            if granted <= since:
                return _one("opted_out", f"{whose}{how}", since)
    return None


def _end(opt_in: OptIn) -> Micros | None:
    ends = [end for end in (opt_in.ended, opt_in.expires) if end is not None]
    return min(ends) if ends else None


def _how_it_ended(opt_in: OptIn) -> str:
    if opt_in.refused:
        return "opt_in_refused"
    expired = opt_in.expires is not None and (opt_in.ended is None or opt_in.expires <= opt_in.ended)
    return "opt_in_expired" if expired else "opt_in_withdrawn"


def _not_consented(now: Moment) -> Objection | None:
    if now.covered or now.regime != "opt_in" or any(valid_opt_ins(now)):
        return None
    assert now.policy is not None, "a regime comes from a policy"
    return _one("defaulted_off", "opt_in_missing", now.policy.position)


def valid_opt_ins(now: Moment) -> Iterator[OptIn]:
    """The opt-ins that hold at this moment, for the purpose as it is: they follow no rewording."""
    for choices, _ in _choices(now):
        yield from valid_opt_ins_of(now, choices)


def valid_opt_ins_of(now: Moment, choices: Choices) -> Iterator[OptIn]:
    """`valid_opt_ins` among the choices of the workspace alone, or of its organisation alone."""
    definition = now.definition
    if definition is None or definition.key != now.case.purpose:
        return  # consent to a purpose is none to its successor, also when the data was collected before that
    for opt_in in choices.opt_ins:
        ended = _end(opt_in)
        if opt_in.refused or opt_in.since > now.at or (ended is not None and ended <= now.at):
            continue
        if any(same_attributes(shown, definition) for shown in opt_in.shown):
            yield opt_in


def _excluded(now: Moment) -> Objection | None:
    if now.policy is None:
        return None
    lineage = (*now.case.lineage, *((now.definition,) if now.definition else ()))
    by = next(exclusions_of(now.policy.rules, lineage, now.case.categories, now.attributes.profile), None)
    return None if by is None else _one("defaulted_off", f"excluded_by_{by}", now.attributes.position)


def _choices(now: Moment) -> Iterator[tuple[Choices, str]]:
    yield now.side.facts.choices, ""
    organisation = now.side.organisations.get(now.attributes.organisation)
    if organisation is not None:
        yield organisation.choices, "organisation_"


def _one(standing: str, code: str, position: int) -> Objection:
    return Objection(standing, (Reason(code, position),))


PRECEDENCE: tuple[Callable[[Moment], Objection | None], ...] = (
    _unreadable,
    _purpose,
    _closed,
    _suspended,
    _sandbox,
    _prohibited,
    _opted_out,
    _refused,
    _not_consented,
    _excluded,
)
