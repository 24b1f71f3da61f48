"""Erasures: of a person, which one of the staff can do, and of a workspace, which takes two.

The event says which keys are destroyed; the shell destroys them once it is recorded. An erasure that
has nothing to destroy any more records nothing, so that it may be sent again.
"""

from __future__ import annotations

import re

from consent_domain.commands import ErasePerson, EraseWorkspace, RepeatErasure
from consent_domain.errors import Refused
from consent_domain.events import (
    LOG_STREAM,
    Body,
    PersonErased,
    WorkspaceErased,
    WorkspaceErasureProposed,
)
from consent_domain.facts import WorkspaceFacts
from consent_domain.handlers.checks import id_of, text_of
from consent_domain.handlers.lookups import known_workspace, workspace_stream
from consent_domain.handlers.terms import Context, Verdict, spoken, verdict
from consent_domain.instants import DAY, Micros
from consent_domain.state import State

PROPOSAL_VALID: Micros = 7 * DAY
"""How long somebody else may confirm. Later the same call proposes anew: what cannot be undone must not
hang on a proposal that everybody has forgotten."""
KEYS_AN_EVENT = 1_000
"""How many keys an event names: more would not fit into one."""
PERSON_EVENTS_MAX = 16
"""How many events one erasure of a person makes. Whoever has more keys is erased again until none stands."""
REPEATED = "repeated"
"""The provenance of an erasure that the log lost and the key store remembered."""

_PERSON = re.compile(r"[0-9a-f]{64}")


def erase_person(state: State, command: ErasePerson, context: Context) -> Verdict:
    """Everything that is sealed for the person, on every stream, becomes unreadable for ever."""
    person = person_of(command.person)
    named = context.key_ids[: PERSON_EVENTS_MAX * KEYS_AN_EVENT]
    said = spoken(command, context)
    bodies: list[tuple[str, Body]] = [
        (LOG_STREAM, PersonErased(person=person, key_ids=list(named[start : start + KEYS_AN_EVENT]), **said))
        for start in range(0, len(named), KEYS_AN_EVENT)
    ]
    return verdict(context, bodies, {"person": person, "keys": len(named)})


def person_of(text: str) -> str:
    """`text` itself if it is a person's ref."""
    if _PERSON.fullmatch(text) is None:
        raise Refused("invalid_id", "person must be the ref that finding the person answered")
    return text


def erase_workspace(state: State, command: EraseWorkspace, context: Context) -> Verdict:
    """The first person's command proposes, and a second person's erases, closed workspaces too."""
    name = id_of(command.workspace, "workspace")
    stream = workspace_stream(name)
    if _is_erased(state, stream):
        return verdict(context, [], {"workspace": name, "erased": True})
    known, _ = known_workspace(state, name)
    reason = text_of(command.reason, "reason")
    said = spoken(command, context)
    proposal = known.erasure_proposal
    if proposal is None or proposal.at + PROPOSAL_VALID < context.now:
        body = WorkspaceErasureProposed(reason=reason, **said)
        return verdict(context, [(stream, body)], {"workspace": name, "erased": False, "proposed": True})
    if proposal.principal == context.recorded_by.principal:
        raise Refused(
            "second_person_required",
            f"{proposal.principal} proposed to erase workspace {name}; somebody else must agree to it",
        )
    # Keys that are not named are destroyed all the same: all of the stream are.
    named = list(context.key_ids[:KEYS_AN_EVENT])
    erased = WorkspaceErased(reason=reason, approved_by=proposal.principal, key_ids=named, **said)
    answer: dict[str, object] = {"workspace": name, "erased": True, "keys": len(context.key_ids)}
    return verdict(context, [(stream, erased)], answer)


def repeat(state: State, command: RepeatErasure, context: Context) -> Verdict:
    """An erasure that was decided and recorded once, and is not in the log any more."""
    said = {**spoken(command, context), "provenance": REPEATED}
    if not command.workspace:
        person = PersonErased(person=person_of(command.person), key_ids=command.key_ids, **said)
        return verdict(context, [(LOG_STREAM, person)], {"person": command.person})
    name = id_of(command.workspace, "workspace")
    stream = workspace_stream(name)
    if _is_erased(state, stream):
        return verdict(context, [], {"workspace": name, "erased": True})
    known_workspace(state, name)
    erased = WorkspaceErased(
        reason=command.reason, approved_by=command.approved_by, key_ids=command.key_ids, **said
    )
    return verdict(context, [(stream, erased)], {"workspace": name, "erased": True})


def _is_erased(state: State, stream: str) -> bool:
    known = state.stream(stream)
    return known is not None and isinstance(known.facts, WorkspaceFacts) and known.facts.erased_position > 0
