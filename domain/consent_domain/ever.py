"""Has a workspace ever been opted in, or on by default; when, by whom, under which words? Pure.

A *period* is a stretch of time in which data that came in could be used at once: the answer of `decide`
at each of its instants is the same permission, for the same reasons. A *consent* is an opt-in that was
granted, whether anything ever rested on it or not: a purpose may have been suspended all the while.

All is told with what is known now: what was backdated counts from when it took effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from consent_domain import events
from consent_domain.decide import Collected, Decision, settle
from consent_domain.envelope import Event
from consent_domain.errors import ConsentError
from consent_domain.facts import Choices, WorkspaceFacts
from consent_domain.grounds import Reason
from consent_domain.instants import Micros, rfc3339
from consent_domain.ruling import BEGINNING, Snapshot, rule

ON = "defaulted_on"
IN = "opted_in"
CHANGES_MAX = 500


class Period(NamedTuple):
    """From `since` to `until` (exclusive; None: it lasts) data that came in could be used.

    `followed_by` are the reasons of what was so afterwards, permitted or denied; none while it lasts.
    """

    since: Micros
    until: Micros | None
    standing: str
    reasons: tuple[Reason, ...]
    policy_version: str
    followed_by: tuple[Reason, ...]

    def rests_on(self, code: str) -> bool:
        """Whether a reason with this code is among its reasons."""
        return any(reason.code == code for reason in self.reasons)


class Consent(NamedTuple):
    """An opt-in by the workspace or one of its organisations (`scope`), granted at `position`.

    It counted from `since` to `until` (None: it still does); `ended_position` 0: nobody ended it, it ran out.
    """

    scope: str
    position: int
    since: Micros
    until: Micros | None
    ended_position: int


class Ever(NamedTuple):
    """All that was ever permitted up to `at`, oldest first, and every consent."""

    at: Micros
    periods: tuple[Period, ...]
    consents: tuple[Consent, ...]

    @property
    def opted_in(self) -> bool:
        """Whether anything was ever permitted because of an opt-in."""
        return any(period.rests_on(IN) for period in self.periods)

    @property
    def defaulted_on(self) -> bool:
        """Whether anything was ever permitted by default, nobody having been asked."""
        return any(period.rests_on(ON) for period in self.periods)

    @property
    def positions(self) -> set[int]:
        """The positions of all events that begin or end anything here."""
        reasons = (reason for one in self.periods for reason in (*one.reasons, *one.followed_by))
        found = {reason.position for reason in reasons}
        found |= {one.position for one in self.consents} | {one.ended_position for one in self.consents}
        return {position for position in found if position > 0}


def ever(snapshot: Snapshot, workspace: str, purpose: str, at: Micros) -> Ever:
    """What was permitted until `at`, an instant that has come. No category: all that the purpose takes.

    Cost O(changes³): each instant at which anything changed is decided anew, over all of them; a second
    for 400 choices. Raises ConsentError `too_large` above CHANGES_MAX.
    """
    facts = snapshot.workspace(workspace)
    _require_few(snapshot, facts)
    consents = () if facts is None else tuple(_consents(snapshot, facts, purpose, at))
    return Ever(at, tuple(_periods(snapshot, workspace, purpose, at)), consents)


def _require_few(snapshot: Snapshot, facts: WorkspaceFacts | None) -> None:
    """Whoever may choose may do so without end; nobody else should have to wait for the answer."""
    if facts is None:
        return
    names = {one.organisation for one in facts.attributes if one.organisation}
    organisations = [found for name in names if (found := snapshot.organisation(name)) is not None]
    choices = [facts.choices, *(one.choices for one in organisations)]
    count = len(facts.attributes) + sum(len(one.opt_outs) + len(one.opt_ins) for one in choices)
    if count > CHANGES_MAX:
        raise ConsentError(
            "too_large",
            f"there are {count} choices and changes, and {CHANGES_MAX} are looked through at once: ask as of "
            "single times (asOf), or replay the history",
        )


# -- periods -------------------------------------------------------------------------------------------------


def _periods(snapshot: Snapshot, workspace: str, purpose: str, at: Micros) -> Iterator[Period]:
    lasting: Period | None = None
    for since, decision in _decisions(snapshot, workspace, purpose, at):
        if lasting is not None and decision.permit and _says_the_same(lasting, decision):
            continue
        if lasting is not None:
            yield lasting._replace(until=since, followed_by=decision.reasons)
            lasting = None
        if decision.permit:
            lasting = Period(since, None, decision.standing, decision.reasons, decision.policy_version, ())
    if lasting is not None:
        yield lasting


def _says_the_same(period: Period, decision: Decision) -> bool:
    return (period.standing, period.reasons) == (decision.standing, decision.reasons)


def _decisions(
    snapshot: Snapshot, workspace: str, purpose: str, at: Micros
) -> Iterator[tuple[Micros, Decision]]:
    """Each instant at which the decision on data that comes in may change, and the decision from then on."""
    now: Micros | None = BEGINNING
    while now is not None and now <= at:
        ruling = rule(snapshot, workspace, purpose, (), now)
        yield now, settle(ruling, Collected(now, now), now)
        # A ruling holds until it says; what it says of collection times may change before that.
        changes = [segment.start for segment in ruling.timeline if segment.start > now]
        changes += [] if ruling.valid_until is None else [ruling.valid_until]
        now = min(changes, default=None)


def _consents(snapshot: Snapshot, facts: WorkspaceFacts, purpose: str, at: Micros) -> Iterator[Consent]:
    names = dict.fromkeys(one.organisation for one in facts.attributes if one.organisation)
    found = [*_granted("workspace", facts.choices, purpose, at)]
    for name in names:
        organisation = snapshot.organisation(name)
        if organisation is not None:
            found += _granted("organisation", organisation.choices, purpose, at)
    yield from sorted(found, key=lambda one: (one.since, one.position))


def _granted(scope: str, choices: Choices, purpose: str, at: Micros) -> Iterator[Consent]:
    for one in choices.opt_ins:
        if one.refused or purpose not in one.keys or one.since > at:
            continue
        ends = [
            (end, by) for end, by in ((one.expires, 0), (one.ended, one.ended_position)) if end is not None
        ]
        until, by = min(ends, default=(None, 0))
        if until is not None and until > at:
            until, by = None, 0
        yield Consent(scope, one.position, one.since, until, by)


# -- by whom, under which words ------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """What an event proves: who asked and who typed, under which words. Empty where it does not say."""

    position: int
    stream: str
    type: str
    recorded: Micros
    role: str = ""
    authority: str = ""
    is_sealed: bool = False
    """Who asked is kept, sealed."""
    principal: str = ""
    on_behalf_of: str = ""
    policy_version: str = ""
    text_sha256: str = ""
    """Of the policy's text, or of the notice that was shown."""
    notice: events.Notice | None = None
    provenance: str = ""


def evidence_of(event: Event) -> Evidence:
    """What `event` says of by whom and under which words. Sealed fields stay sealed."""
    body = event.body
    bare = Evidence(event.position, event.stream, event.type, event.time)
    if body is None:
        return bare
    requester: events.Requester | None = getattr(body, "requester", None)
    notice: events.Notice | None = getattr(body, "notice", None)
    version: str = getattr(body, "policy_version", "")
    text_sha256 = "" if notice is None else notice.text_sha256
    if isinstance(body, events.PolicyPublished):
        version, text_sha256 = body.version, body.text_sha256
    return bare._replace(
        role="" if requester is None else requester.role,
        authority="" if requester is None else requester.authority,
        is_sealed=requester is not None and requester.sealed is not None,
        principal=body.recorded_by.principal,
        on_behalf_of=body.on_behalf_of,
        policy_version=version,
        text_sha256=text_sha256,
        notice=notice,
        provenance=body.provenance,
    )


def is_default_of(event: Event, purpose: str) -> bool:
    """Whether `event` is evidence that the purpose was turned on by default."""
    return isinstance(event.body, events.DefaultOn) and purpose in event.body.purposes


# -- in a sentence -------------------------------------------------------------------------------------------


def sentence(found: Ever, workspace: str, purpose: str, evidence: dict[int, Evidence]) -> str:
    """The answer for a person; `evidence` by position, as far as it may be told."""
    consented = [period for period in found.periods if period.rests_on(IN)]
    if consented:
        said = f"Yes: {workspace} was opted in to {purpose} {_when(consented)}{_by(consented[0], evidence)}"
    elif found.consents:
        at = found.consents[0]
        said = (
            f"No: an opt-in of {workspace} to {purpose} was granted {_second(at.since)} "
            f"(event {at.position}), but nothing was ever permitted because of it"
        )
    else:
        said = f"No: {workspace} was never opted in to {purpose}"
    on = [period for period in found.periods if period.rests_on(ON)]
    by_default = (
        f"it was on by default {_when(on)}{_words(on[0])}: nobody was asked"
        if on
        else "it was never on by default"
    )
    others = len(found.periods) - len(consented) - len(on)
    required = "; the policy required it besides" if others > 0 else ""
    return f"{said}; {by_default}{required}."


def _when(periods: list[Period]) -> str:
    first, last = periods[0], periods[-1]
    times = "" if len(periods) == 1 else f", {len(periods)} times,"
    until = "until now" if last.until is None else f"to {_second(last.until)}"
    return f"from {_second(first.since)} {until}{times}".rstrip(",")


def _by(period: Period, evidence: dict[int, Evidence]) -> str:
    position = next(reason.position for reason in period.reasons if reason.code == IN)
    by = evidence.get(position)
    if by is None or not by.role:
        return f" (event {position})"
    words = f", under the notice {by.text_sha256[:12]}…" if by.text_sha256 else ""
    return f" by {by.role} ({by.authority}; event {position}){words}"


def _words(period: Period) -> str:
    return f" under version {period.policy_version}" if period.policy_version else ""


def _second(instant: Micros) -> str:
    return f"{rfc3339(instant)[:19]}Z"
