"""A change of a workspace's attributes: what follows from it, and whether it narrows or widens.

Changes that were announced for later are events with all attributes. A change that takes effect
before them must not be undone by them, so they are announced again with what it changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from consent_domain.commands import ChangeWorkspace
from consent_domain.errors import Refused
from consent_domain.events import Body, WorkspaceChanged
from consent_domain.facts import Book, Choices, Published, WorkspaceFacts
from consent_domain.grounds import prepare
from consent_domain.handlers.checks import instant_of
from consent_domain.handlers.defaults import default_on
from consent_domain.handlers.lookups import known_organisation
from consent_domain.instants import Micros, moment_of, rfc3339
from consent_domain.policy import Profile, exclusions_of, regime_of, told_apart
from consent_domain.purposes import Purpose
from consent_domain.state import State

ANNOUNCED_MAX = 8
"""How many changes may lie ahead of one that is made now."""

_OPENNESS = {"opt_in": 1, "opt_out": 2, "required": 3}
_FOR_EVER: Micros = 1 << 62


class Move(NamedTuple):
    """From an instant on, the attributes are others than was known before."""

    since: Micros
    was: Profile
    becomes: Profile


def change_bodies(
    state: State, facts: WorkspaceFacts, command: ChangeWorkspace, now: Micros, said: dict[str, Any]
) -> list[Body]:
    """The change, the changes announced for later as they are now, and what the change turns on.

    Raises Refused `backdated`, `postdated`, `invalid_value` if nothing changes, `wrong_state` if too
    many changes lie ahead.
    """
    effective = now if command.effective_at is None else instant_of(command.effective_at, "effectiveAt")
    before = _attributes_at(facts, effective)
    after = _changed(before, command)
    if after == before:
        raise Refused(
            "invalid_value", f"nothing of workspace {command.workspace} would change; name what does"
        )
    moves = [Move(effective, before, after), *_later(facts, effective, before, after)]
    _check_time(state, effective, now, moves)
    bodies: list[Body] = [
        WorkspaceChanged(
            effective_at=moment_of(since),
            plan=becomes.plan,
            region=becomes.region,
            contract=becomes.contract,
            organisation=becomes.organisation,
            **said,
        )
        for since, was, becomes in moves
        if was != becomes
    ]
    on = state.everybody.defaults_at(effective, after, facts.kind)
    was_on = state.everybody.defaults_at(effective, before, facts.kind)
    if on is not None and was_on is not None:
        newly = sorted(set(on.purposes) - set(was_on.purposes))
        if newly:
            bodies.append(default_on(newly, on.policy.version, on.policy.position, said))
    return bodies


def _attributes_at(facts: WorkspaceFacts, at: Micros) -> Profile:
    in_effect = facts.attributes[0]
    for attributes in facts.attributes:
        if attributes.since <= at:
            in_effect = attributes
    return in_effect.profile


def _changed(before: Profile, command: ChangeWorkspace) -> Profile:
    given = (command.plan, command.region, command.contract, command.organisation)
    return Profile(*(was if new is None else new for was, new in zip(before, given, strict=True)))


def _later(facts: WorkspaceFacts, effective: Micros, before: Profile, after: Profile) -> Iterator[Move]:
    """The changes that take effect later: each keeps what it changed itself, and takes over the rest."""
    ahead = {one.since: one.profile for one in facts.attributes if one.since > effective}
    if len(ahead) > ANNOUNCED_MAX:
        raise Refused(
            "wrong_state",
            f"{len(ahead)} changes take effect after {rfc3339(effective)}, at most {ANNOUNCED_MAX} may; "
            "name a later time",
        )
    for since, was in ahead.items():
        becomes = Profile(
            *(new if old == changed else old for old, changed, new in zip(was, before, after, strict=True))
        )
        yield Move(since, was, becomes)
        before, after = was, becomes


def _check_time(state: State, effective: Micros, now: Micros, moves: list[Move]) -> None:
    if effective == now:
        return
    judged = [_compared(state, move) for move in moves]
    wider = any(widens for widens, _ in judged)
    narrower = any(narrows for _, narrows in judged)
    if effective < now and (wider or not narrower):
        raise Refused(
            "backdated",
            f"effectiveAt is {rfc3339(effective)}; only a change that narrows use may reach back, "
            "and this one does not: leave it out, or name a later time",
        )
    if effective > now and narrower and not wider:
        raise Refused(
            "postdated",
            f"effectiveAt is {rfc3339(effective)}; a change that narrows use counts at once: leave it out",
        )


def _compared(state: State, move: Move) -> tuple[bool, bool]:
    """Whether a move widens use, and whether it narrows it, under any policy from then on."""
    book = state.everybody.book
    differences = [
        _openness(policy, purpose, lineage, category, move.becomes)
        - _openness(policy, purpose, lineage, category, move.was)
        for policy in in_force_since(book, move.since)
        for purpose in policy.rules.purposes
        for lineage in (prepare(book, purpose.key, (), _FOR_EVER).lineage,)
        for category in told_apart(purpose.categories, policy.rules)
    ]
    left = move.was.organisation != "" and move.becomes.organisation != move.was.organisation
    joined = move.becomes.organisation if move.becomes.organisation != move.was.organisation else ""
    choices = known_organisation(state, joined)[1].choices if joined else Choices()
    widens = left or bool(choices.opt_ins) or any(one > 0 for one in differences)
    return widens, bool(choices.opt_outs) or any(one < 0 for one in differences)


def in_force_since(book: Book, since: Micros) -> Iterator[Published]:
    """The policies in force at an instant and after it, the announced ones too, in order."""
    ends = [policy.effective for policy in book.policies[1:]]
    for policy, end in zip(book.policies, [*ends, _FOR_EVER], strict=False):
        if end > since:
            yield policy


def _openness(
    policy: Published, purpose: Purpose, lineage: tuple[Purpose, ...], category: str, profile: Profile
) -> int:
    if any(exclusions_of(policy.rules, (*lineage, purpose), (category,), profile)):
        return 0
    return _OPENNESS.get(regime_of(policy.rules, purpose, profile) or "", 0)
