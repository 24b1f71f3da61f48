"""What must be known to decide a command: the streams concerned, folded, and what holds for everybody.

Two folds, both pure, both built on `evolve` so that commands and checks judge the same facts:

- `fold` takes one workspace's or organisation's stream: its facts, its version (how many events it
  has: what If-Match compares) and its requests by id (`consent_domain.requests`).
- `fold_book` takes the streams of policies, purposes and the log together, in the order of
  positions: the `Book`, the version of each of these streams, and the *proposals*.

Proposals, of what takes two persons, are no facts because they permit nothing: `purpose-resume-proposed`
and `workspace-erasure-proposed` note who proposed, and what settles or overtakes them clears the note.

`fold_stored` and `fold_book_stored` take stored bytes instead, and quarantine what cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from consent_domain import events
from consent_domain.envelope import Event, decode
from consent_domain.errors import Unreadable
from consent_domain.evolve import evolve, quarantine
from consent_domain.facts import Book, OrganisationFacts, Packed, Published, WorkspaceFacts
from consent_domain.instants import Micros
from consent_domain.policy import Profile, turned_on
from consent_domain.purposes import may_train
from consent_domain.requests import Request, fold_request, request_of
from consent_domain.runs import Run, fold_run, position_in

DEFAULTS_MAX = 20_000
"""How many kinds of customers' defaults are remembered; a policy tells apart no more (see `policies`)."""


class ErasureProposal(NamedTuple):
    """Who proposed to erase a workspace, and when."""

    principal: str
    at: Micros


class StreamState(Packed, frozen=True):
    """A workspace, organisation, run or recipient. `version` counts its events, `position` is the last's."""

    version: int = 0
    position: int = 0
    facts: WorkspaceFacts | OrganisationFacts | None = None
    requests: dict[str, Request] = {}
    erasure_proposal: ErasureProposal | None = None
    run: Run | None = None
    applied: int = 0
    """How much of the log a recipient has applied."""


class DefaultSet(NamedTuple):
    """The purposes that are on by default under a policy, for one kind of customer."""

    policy: Published
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BookState:
    """What holds for everybody, with what only deciding commands needs."""

    book: Book = field(default_factory=Book)
    proposals: dict[str, str] = field(default_factory=dict)
    """Purpose → the principal who proposed to resume it."""
    versions: dict[str, int] = field(default_factory=dict)
    """Stream → how many events it has, for the streams of policies, purposes and the log."""
    position: int = 0
    epoch: int = 1
    """The epoch that the log is in: the one that was continued last."""
    _defaults: dict[tuple[int, str, Profile], tuple[str, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    _told_apart: dict[int, tuple[frozenset[str], ...]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Answers of `defaults_at`, a pure function of this very state; a new state begins with none."""

    def policy_at(self, at: Micros) -> Published | None:
        """The policy in force at an instant, as far as is known now; None before the first."""
        return policy_at(self.book, at)

    def defaults_at(self, at: Micros, profile: Profile, kind: str) -> DefaultSet | None:
        """What is on by default at an instant for such a customer; None without a policy in force.

        `kind` is `production` or `sandbox`. Computed once per kind of customer that the policy tells apart.
        """
        policy = policy_at(self.book, at)
        if policy is None:
            return None
        key = (policy.position, kind, self._as_told_apart(policy, profile))
        purposes = self._defaults.get(key)
        if purposes is None:
            never = {one.key for one in policy.rules.purposes if may_train(one)}
            found = turned_on(policy.rules, profile)
            purposes = tuple(one for one in found if kind == "production" or one not in never)
            if len(self._defaults) >= DEFAULTS_MAX:
                self._defaults.clear()
            self._defaults[key] = purposes
        return DefaultSet(policy, purposes)

    def _as_told_apart(self, policy: Published, profile: Profile) -> Profile:
        """The profile without what the policy never looks at, so that few kinds of customers are left."""
        named = self._told_apart.get(policy.position)
        if named is None:
            parts = (*policy.rules.rules, *policy.rules.exclusions)
            named = tuple(
                frozenset(value for part in parts for value in getattr(part, f"{field}s", ()))
                for field in Profile._fields
            )
            self._told_apart[policy.position] = named
        plans, regions, contracts, organisations = named
        return Profile(
            profile.plan if profile.plan in plans else "",
            profile.region if profile.region in regions else "",
            profile.contract if profile.contract in contracts else "",
            profile.organisation if profile.organisation in organisations else "",
        )


def policy_at(book: Book, at: Micros) -> Published | None:
    """The policy in force at an instant, as far as `book` knows; None before the first."""
    return next((policy for policy in reversed(book.policies) if policy.effective <= at), None)


class State(Protocol):
    """What `handle` reads; the shell loads it under the lock of the head, before it decides."""

    @property
    def everybody(self) -> BookState:
        """What holds for everybody, after every event up to the head."""

    def stream(self, name: str) -> StreamState | None:
        """A stream that `streams_of` named, after every event up to the head; None if it has no event."""


def fold(state: StreamState | None, event: Event) -> StreamState:
    """The state of a stream that is not for everybody after its next event. Pure.

    Raises AssertionError for a history that no handler could have written. Cost O(own history).
    """
    known = state or StreamState()
    facts = evolve(known.facts, event)
    assert not isinstance(facts, Book), "what holds for everybody is folded by fold_book"
    about = request_of(event.body)
    requests = known.requests
    if about:
        request = fold_request(requests.get(about), event)
        assert request is not None, "an event about a request folds to a request"
        requests = {**requests, about: request}
    proposal, run, applied = known.erasure_proposal, known.run, known.applied
    match event.body:
        case events.WorkspaceErasureProposed():
            proposal = ErasureProposal(event.body.recorded_by.principal, event.time)
        case events.WorkspaceErased():
            proposal = None
        case events.RunRegistered() | events.RunDischarged():
            run = fold_run(run, event)
        case events.RecipientNotified():
            applied = position_in(event.body.position)
    return StreamState(known.version + 1, event.position, facts, requests, proposal, run, applied)


def fold_book(state: BookState, event: Event) -> BookState:
    """What holds for everybody after the next event of a policy, a purpose or the log. Pure."""
    book = evolve(state.book, event)
    assert isinstance(book, Book), f"{event.stream} is not for everybody"
    purpose = event.stream.partition("/")[2]
    proposals, epoch = state.proposals, state.epoch
    match event.body:
        case events.PurposeResumeProposed():
            proposals = {**proposals, purpose: event.body.recorded_by.principal}
        case events.PurposeSuspended() | events.PurposeResumed():
            proposals = {key: who for key, who in proposals.items() if key != purpose}
        case events.LogContinued():
            epoch = event.body.epoch
    return BookState(book, proposals, _counted(state, event.stream), event.position, epoch)


def fold_stored(state: StreamState | None, stream: str, position: int, stored: bytes) -> StreamState:
    """`fold` from stored bytes; what cannot be read or makes no sense quarantines the stream."""
    known = state or StreamState()
    try:
        return fold(known, decode(stored))
    except (Unreadable, AssertionError):
        facts = quarantine(known.facts, stream, position)
        assert not isinstance(facts, Book), "what holds for everybody is folded by fold_book"
        return replace(known, version=known.version + 1, position=position, facts=facts)


def fold_book_stored(state: BookState, stream: str, position: int, stored: bytes) -> BookState:
    """`fold_book` from stored bytes; what cannot be read or makes no sense is quarantined."""
    try:
        return fold_book(state, decode(stored))
    except (Unreadable, AssertionError):
        book = quarantine(state.book, stream, position)
        assert isinstance(book, Book), f"{stream} is not for everybody"
        return BookState(book, state.proposals, _counted(state, stream), position, state.epoch)


def _counted(state: BookState, stream: str) -> dict[str, int]:
    return {**state.versions, stream: state.versions.get(stream, 0) + 1}
