"""Ruling: for which collection times a use of a workspace's data is permitted now.

A permit needs a permit under the facts when the data was collected *and* under the facts now, so
nothing that is widened later reaches back. Instants at which anything changes cut the past into
stretches; each is judged by the table of `consent_domain.grounds`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from consent_domain.facts import Book, Choices, OptIn, OrganisationFacts, Succession, WorkspaceFacts
from consent_domain.grounds import (
    Case,
    Moment,
    Objection,
    Reason,
    Side,
    moment,
    objection,
    prepare,
    promise,
    stands,
    still_permits,
    valid_opt_ins,
    valid_opt_ins_of,
)
from consent_domain.identifiers import is_id
from consent_domain.instants import Micros

BEGINNING: Micros = -(1 << 60)
"""Before anything; a class of workspaces is ruled on as if it had been a customer since then."""
OWN_POSITION = -1
"""In a class's reasons: the position at which the workspace itself was enrolled."""


class Snapshot(Protocol):
    """Facts as of one position. The implementer answers from one consistent state, and never guesses:
    None says that the ledger has no such workspace or organisation at that position."""

    @property
    def book(self) -> Book:
        """What holds for everybody."""

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """The facts of a workspace."""

    def organisation(self, name: str) -> OrganisationFacts | None:
        """The facts of an organisation."""


class Segment(NamedTuple):
    """From `start` to the next segment's: the reason why data collected then is denied, None if permitted."""

    start: Micros
    denied: Reason | None


class Window(NamedTuple):
    """A half-open range of collection times; `end` None is open."""

    start: Micros
    end: Micros | None


class Ruling(NamedTuple):
    """What may be done, for any collection time, until `valid_until` (None: until facts change).

    `permit` says that the use is permitted now, for data collected in `windows`. `timeline`
    starts where the workspace's data starts; it is empty where nothing is permitted.
    """

    permit: bool
    standing: str
    reasons: tuple[Reason, ...]
    policy_version: str
    timeline: tuple[Segment, ...]
    valid_until: Micros | None

    @property
    def windows(self) -> tuple[Window, ...]:
        """The collection times for which the use is permitted, in order, apart from each other."""
        ends: list[Micros | None] = [segment.start for segment in self.timeline[1:]]
        return tuple(
            Window(segment.start, end)
            for segment, end in zip(self.timeline, [*ends, None], strict=False)
            if segment.denied is None
        )


def rule(snapshot: Snapshot, workspace: str, purpose: str, categories: tuple[str, ...], at: Micros) -> Ruling:
    """The ruling on one workspace and purpose at ledger time `at`, whatever the collection time."""
    return rule_case(prepare(snapshot.book, purpose, categories, at), snapshot, workspace, at)


def rule_case(case: Case, snapshot: Snapshot, workspace: str, at: Micros) -> Ruling:
    """`rule` for a case prepared before, for as long as the case holds at `at`."""
    version = case.policies[-1].version if case.policies else ""
    if not is_id(workspace):
        return _denied("unknown", Reason("invalid_id"), version)
    facts = snapshot.workspace(workspace)
    if facts is None:
        return _denied("unknown", Reason("unknown_workspace"), version)
    if not facts.attributes:
        return _denied("unknown", Reason("quarantined", facts.quarantined), version)
    side = _side(snapshot, workspace, facts)
    return _held(_rule_side(case, snapshot, side, at, frozenset((workspace,))), case.until)


def rule_class(
    case: Case, organisation: OrganisationFacts | None, facts: WorkspaceFacts, at: Micros
) -> Ruling:
    """The ruling that all plain workspaces of a class share; `for_member` turns it into a member's.

    `facts` are those of any member (`is_plain`); `organisation` those of its organisation, if it has one.
    """
    assert facts.is_plain, "only workspaces without a history decide as their class does"
    attributes = replace(facts.attributes[0], since=BEGINNING, position=OWN_POSITION)
    anybody = replace(facts, position=OWN_POSITION, customer_since=BEGINNING, attributes=(attributes,))
    side = Side("", anybody, {attributes.organisation: organisation})
    return _held(_rule_side(case, _Nobody(Book()), side, at, frozenset()), case.until)


def for_member(ruling: Ruling, ordinal: int, customer_since: Micros) -> Ruling:
    """The ruling on the member of a class that was enrolled at position `ordinal`."""

    def own(reason: Reason) -> Reason:
        return reason._replace(position=ordinal) if reason.position == OWN_POSITION else reason

    later = [segment for segment in ruling.timeline if segment.start > customer_since]
    before = [segment for segment in ruling.timeline if segment.start <= customer_since][-1:]
    clipped = [segment._replace(start=customer_since) for segment in before] + later
    timeline = tuple(Segment(start, denied and own(denied)) for start, denied in clipped)
    if ruling.permit:
        return _of_timeline(ruling, timeline)
    return ruling._replace(reasons=tuple(map(own, ruling.reasons)))


def _of_timeline(ruling: Ruling, timeline: tuple[Segment, ...]) -> Ruling:
    """The ruling with this timeline; a denial if nothing of it is permitted."""
    nothing = timeline[-1].denied
    if nothing is not None and all(segment.denied is not None for segment in timeline):
        return ruling._replace(permit=False, reasons=(nothing,), timeline=())
    return ruling._replace(timeline=timeline)


# -- one side ------------------------------------------------------------------------------------------------


class _Nobody(NamedTuple):
    """A snapshot without workspaces: plain facts lead to no other."""

    book: Book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        return None

    def organisation(self, name: str) -> OrganisationFacts | None:
        return None


def _side(snapshot: Snapshot, name: str, facts: WorkspaceFacts, as_other: bool = False) -> Side:
    named = {attributes.organisation for attributes in facts.attributes if attributes.organisation}
    return Side(name, facts, {one: snapshot.organisation(one) for one in named}, as_other)


def _held(ruling: Ruling, until: Micros | None) -> Ruling:
    """The ruling, if nothing that is known changes it by `until`."""
    if until is None or ruling.valid_until is None or until < ruling.valid_until:
        return ruling
    return _denied("unknown", Reason("stale"), ruling.policy_version)


def _denied(standing: str, reason: Reason, version: str) -> Ruling:
    return Ruling(False, standing, (reason,), version, (), None)


def _rule_side(case: Case, snapshot: Snapshot, side: Side, at: Micros, seen: frozenset[str]) -> Ruling:
    version = case.policies[-1].version if case.policies else ""
    now = moment(case, side, at, collecting=False)
    changes = sorted(set(_changes(case, side)))
    valid_until = min((change for change in changes if change > at), default=None)
    against = objection(now)
    if against is not None:
        return Ruling(False, against.standing, against.reasons, version, (), valid_until)
    standing, reasons = _permitted(now)
    begin = _beginning(snapshot, side, seen)
    timeline = _timeline(now, begin, [change for change in changes if change <= at])
    for link in side.facts.successions:
        timeline, until = _with_other(case, snapshot, side, link, timeline, at, seen)
        valid_until = min((end for end in (valid_until, until) if end is not None), default=None)
    return _of_timeline(Ruling(True, standing, reasons, version, (), valid_until), timeline)


def _permitted(now: Moment) -> tuple[str, tuple[Reason, ...]]:
    """The standing on which a permission rests, and what gives it; a pending objection is always said."""
    assert now.policy is not None, "without a policy there was an objection"
    pending = tuple(
        Reason("permitted_while_requested", opt_out.position)
        for choices in _both_choices(now)
        for opt_out in choices.opt_outs
        if stands(now, opt_out) and still_permits(opt_out, now.at)
    )
    given = max(valid_opt_ins(now), key=lambda one: one.position, default=None)
    if now.regime == "required":
        standing, reason = "required", Reason("required_by_policy", now.policy.position)
    elif given is not None:
        standing, reason = "opted_in", Reason("opted_in", given.position)
    else:
        standing, reason = "defaulted_on", Reason("defaulted_on", now.policy.position)
    return ("opt_out_requested" if pending else standing), (*pending, reason)


def _both_choices(now: Moment) -> Iterator[Choices]:
    yield now.side.facts.choices
    organisation = now.side.organisations.get(now.attributes.organisation)
    if organisation is not None:
        yield organisation.choices


def _changes(case: Case, side: Side) -> Iterator[Micros]:
    """Every instant at which a decision on this side may change."""
    yield from (policy.effective for policy in case.policies)
    if case.valid_until is not None:
        yield case.valid_until
    for stop in case.suspensions:
        yield from _known(stop.since, stop.ended)
    yield from (attributes.since for attributes in side.facts.attributes)
    yield from _known(side.facts.closed)
    everybodys = [known.choices for known in side.organisations.values() if known is not None]
    for choices in (side.facts.choices, *everybodys):
        for opt_out in choices.opt_outs:
            yield from _known(opt_out.since, opt_out.ended, opt_out.permit_until)
        for opt_in in choices.opt_ins:
            yield from _known(opt_in.since, opt_in.ended, opt_in.expires)


def _known(*instants: Micros | None) -> Iterator[Micros]:
    return (instant for instant in instants if instant is not None)


def _timeline(now: Moment, begin: Micros, changes: list[Micros]) -> tuple[Segment, ...]:
    """For each stretch of collection times up to now, why its data is denied under the facts of then."""
    covered_since, consented_since = _reach_of_consent(now)
    given = _known(covered_since, consented_since)
    starts = sorted({begin, *(change for change in (*changes, *given) if change > begin)}, reverse=True)
    promised: Reason | None = None
    segments: list[Segment] = []
    for start in starts:
        covered = covered_since is not None and covered_since <= start
        if not covered and consented_since is not None and start < consented_since:
            denied: Reason | None = Reason("before_opt_in", _consent_position(now))
        else:
            then = moment(now.case, now.side, start, collecting=True, covered=covered)
            against = objection(then)
            if against is not None:
                promised = _promise(now, then, against) or promised
            denied = against.reasons[0] if against else promised
        if segments and segments[-1].denied == denied:
            segments.pop()
        segments.append(Segment(start, denied))
    return tuple(reversed(segments))


def _promise(now: Moment, then: Moment, against: Objection) -> Reason | None:
    """What denied the use then for all data collected before, too, although it denies no longer.

    Policy, plan and contract did, and an organisation that was left. An own choice that was taken
    back did not: only what came while it stood stays out.
    """
    if then.attributes.organisation != now.attributes.organisation:
        for reason in against.reasons:
            if "organisation_" in reason.code or reason.code == "unknown_organisation":
                return reason
    return promise(then)


def _reach_of_consent(now: Moment) -> tuple[Micros | None, Micros | None]:
    """From when on an opt-in that holds now covers data from before it, None if none does; and from when on
    needed consent is given, None if none is needed.

    An organisation's reaches no further back than the workspace has belonged to it without a break.
    """
    joined = _joined(now)
    given: list[tuple[OptIn, Micros]] = [
        (opt_in, start)
        for choices, start in zip(_both_choices(now), (BEGINNING, joined), strict=False)
        for opt_in in valid_opt_ins_of(now, choices)
    ]
    covered_since = min((start for one, start in given if one.covers_before), default=None)
    if now.regime != "opt_in":
        return covered_since, None
    return covered_since, min(max(one.since, start) for one, start in given)


def _joined(now: Moment) -> Micros:
    """Since when the workspace has belonged to its organisation of now: the beginning, if it always has."""
    since = BEGINNING
    for earlier, later in pairwise(now.side.facts.attributes):
        if later.since <= now.at and later.organisation != earlier.organisation:
            since = later.since
    return since


def _consent_position(now: Moment) -> int:
    return min(valid_opt_ins(now), key=lambda one: one.since).position


def _beginning(snapshot: Snapshot, side: Side, seen: frozenset[str]) -> Micros:
    """Since when the workspace's data exists: it became a customer, or one did whose data it took over."""
    found = side.facts.customer_since
    for link in side.facts.successions:
        earlier = snapshot.workspace(link.other) if link.predecessor and link.other not in seen else None
        if earlier is not None:
            other = Side(link.other, earlier, {}, as_other=True)
            found = min(found, _beginning(snapshot, other, seen | {link.other}))
    return found


# -- succession ----------------------------------------------------------------------------------------------


def _with_other(
    case: Case,
    snapshot: Snapshot,
    side: Side,
    link: Succession,
    timeline: tuple[Segment, ...],
    at: Micros,
    seen: frozenset[str],
) -> tuple[tuple[Segment, ...], Micros | None]:
    """The timeline with the other workspace's denials for data from before the link."""
    if link.other in seen:
        return timeline, None
    facts = snapshot.workspace(link.other)
    if facts is None or not facts.attributes:
        unknown = Reason("unknown_workspace", link.position, link.other)
        others: tuple[Segment, ...] = (Segment(BEGINNING, unknown),)
        until = None
    else:
        other = _side(snapshot, link.other, facts, as_other=True)
        ruling = _rule_side(case, snapshot, other, at, seen | {link.other})
        until = ruling.valid_until
        others = ruling.timeline or (Segment(BEGINNING, ruling.reasons[0]),)
        others = tuple(one._replace(denied=one.denied and _of(one.denied, link.other)) for one in others)
        if others[0].start > BEGINNING:
            others = (Segment(BEGINNING, others[0].denied), *others[1:])
    return _overlaid(timeline, others, link), until


def _of(reason: Reason, workspace: str) -> Reason:
    return reason if reason.workspace else reason._replace(workspace=workspace)


def _overlaid(
    timeline: tuple[Segment, ...], others: tuple[Segment, ...], link: Succession
) -> tuple[Segment, ...]:
    starts = {segment.start for segment in timeline} | {segment.start for segment in others} | {link.since}
    begin = timeline[0].start
    found: list[Segment] = []
    for start in sorted(start for start in starts if start >= begin):
        denied = _denied_at(timeline, start)
        if denied is None and start < link.since:
            denied = _denied_at(others, start)
        if not found or found[-1].denied != denied:
            found.append(Segment(start, denied))
    return tuple(found)


def _denied_at(timeline: tuple[Segment, ...], at: Micros) -> Reason | None:
    in_effect = timeline[0]
    for segment in timeline:
        if segment.start <= at:
            in_effect = segment
    return in_effect.denied
