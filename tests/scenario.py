"""A ledger for tests of the rules: the real handlers and folds, without a database.

Every event goes through its stored bytes before anybody reads it, as it does in the real one.
Given what happened (`given`), when a command comes (`when`), then these events, or (`refused`) this code.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from consent_domain.commands import (
    Applicant,
    Command,
    EnrolWorkspace,
    OpenLedger,
    PublishPolicy,
    RegisterOrganisation,
    RequestOptIn,
    RequestOptOut,
)
from consent_domain.decide import Collected, Decision, decide
from consent_domain.envelope import decode, encode
from consent_domain.errors import Refused
from consent_domain.events import Body, Notice, RecordedBy, Scope
from consent_domain.evolve import evolve
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.handle import Context, Verdict, handle, ids_needed, streams_of
from consent_domain.instants import DAY, SECOND, Micros, moment_of
from consent_domain.policy import DeadlineRule, PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_domain.state import BookState, StreamState, fold, fold_book

START: Micros = 20_000 * DAY
ORIGIN = "consent.test/ledger"
ALL = Selector(all=True)
OWNER = Applicant(role="owner", authority="verified")
MEMBER = Applicant(role="member", authority="plausible")
STRANGER = Applicant(role="unknown", authority="unverified")


class Ledger:
    """The log so far, and the state folded from its bytes. It is the `State` and the `Snapshot`."""

    def __init__(self) -> None:
        self.everybody = BookState()
        self.streams: dict[str, StreamState] = {}
        self.log: list[bytes] = []
        self.now: Micros = START
        self.answer: dict[str, Any] = {}
        self._born: dict[str, str] = {}

    # what handle and decide read

    def stream(self, name: str) -> StreamState | None:
        return self.streams.get(name)

    @property
    def book(self) -> Book:
        return self.everybody.book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        state = self.streams.get(f"workspace/{name}")
        return state.facts if state and isinstance(state.facts, WorkspaceFacts) else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        state = self.streams.get(f"organisation/{name}")
        return state.facts if state and isinstance(state.facts, OrganisationFacts) else None

    # what tests say

    def given(self, *commands: Command) -> Ledger:
        """Each command has been, by somebody of the staff."""
        for command in commands:
            self.when(command)
        return self

    def when(self, command: Command, **how: Any) -> list[Body]:
        """The events that a command leads to, recorded; `answer` is what its caller was told."""
        verdict = self.verdict(command, **how)
        for draft in verdict.drafts:
            self._record(draft.stream, draft.body, draft.event_id)
        self.answer = verdict.answer
        return [draft.body for draft in verdict.drafts]

    def refused(self, command: Command, code: str, **how: Any) -> Refused:
        """The refusal of a command, which must have that code."""
        try:
            verdict = self.verdict(command, **how)
        except Refused as refusal:
            assert refusal.code == code, refusal
            return refusal
        raise AssertionError(f"not refused: {verdict.drafts}")

    def verdict(
        self,
        command: Command,
        by: str = "staff-1",
        role: str = "admin",
        if_match: int | None = None,
        keys: tuple[str, ...] = (),
    ) -> Verdict:
        named = getattr(command, "request", "") or getattr(command, "opt_in", "")
        born = self._born.get(named)
        loaded = set(streams_of(command, born))
        state = _Loaded(self, loaded)
        context = Context(
            now=self.now + 1,
            event_ids=tuple(UUID(int=len(self.log) * 1_000 + n + 1) for n in range(ids_needed(command))),
            recorded_by=RecordedBy(principal=by, authentication="api-key"),
            role=role,
            expected_version=if_match,
            request_stream=born,
            next_position=len(self.log) + 1,
            key_ids=keys,
        )
        return handle(state, command, context)

    def wait(self, micros: Micros) -> None:
        """Ledger time goes on."""
        self.now += micros

    def decide(
        self, workspace: str = "acme", purpose: str = "train", collected: Micros | None = None
    ) -> Decision:
        """Whether data collected then (default: at this very time) may be used now."""
        when = self.now if collected is None else collected
        return decide(self, [workspace], purpose, (), self.now, Collected(when, when))

    def request(self) -> str:
        """The id of the request or opt-in that the last command began."""
        return str(self.answer.get("request") or self.answer.get("optIn"))

    def _record(self, stream: str, body: Body, event_id: UUID) -> None:
        self.now += 1
        stored = encode(len(self.log) + 1, event_id, ORIGIN, stream, self.now, body)
        event = decode(stored)
        assert event.body == body, "an event reads back as it was written"
        self.log.append(stored)
        self._born[event.id] = stream
        if stream.startswith(("workspace/", "organisation/", "run/", "recipient/")):
            before = self.streams.get(stream)
            after = fold(before, event)
            assert after.version == (before.version if before else 0) + 1
            assert after.position == len(self.log)
            assert after.facts == evolve(before.facts if before else None, event)
            self.streams[stream] = after
        else:
            self.everybody = fold_book(self.everybody, event)


class _Loaded:
    """The state with only the streams that were asked for, so that a forgotten one is noticed."""

    def __init__(self, ledger: Ledger, loaded: set[str]) -> None:
        self._ledger = ledger
        self._loaded = loaded

    @property
    def everybody(self) -> BookState:
        return self._ledger.everybody

    def stream(self, name: str) -> StreamState | None:
        assert name in self._loaded, f"{name} was read and not asked for: {self._loaded}"
        return self._ledger.stream(name)


# -- words to tell a story with ------------------------------------------------------------------------------


def purpose(key: str = "train", **changes: Any) -> Purpose:
    attributes: dict[str, Any] = {
        "processing": "train",
        "reach": "global",
        "model_class": "non_generative",
        "recipient": "first_party",
        "categories": ["messages", "files"],
        "legal_basis": "legitimate_interest",
        "justification": "to rank search results",
    }
    return Purpose(key=key, **(attributes | changes))


def rule(regime: str, *keys: str, **whom: Any) -> Rule:
    return Rule(selector=Selector(keys=list(keys)) if keys else ALL, regime=regime, **whom)


def rules(*given: Rule, purposes: tuple[Purpose, ...] = (purpose(),), **more: Any) -> PolicyRules:
    said: dict[str, Any] = {
        "deadlines": [DeadlineRule(id="gdpr", days=30, extension_days=60, law="GDPR 12(3)")],
        "rejection_reasons": ["duplicate", "no_authority", "required_by_policy", "unfounded"],
    }
    return PolicyRules(purposes=list(purposes), rules=list(given) or [rule("opt_out")], **(said | more))


def policy(version: str = "1", effective: Micros = START + SECOND, **more: Any) -> PublishPolicy:
    said: dict[str, Any] = {
        "title": "Principles",
        "text_sha256": "ab" * 32,
        "direction": "looser",
        "why": "first of all",
        "rules": rules(),
    }
    return PublishPolicy(version=version, effective_at=moment_of(effective), **(said | more))


def notice(given: Micros) -> Notice:
    return Notice(given_at=moment_of(given), channel="email")


def at(instant: Micros) -> datetime:
    return moment_of(instant)


def workspace(name: str = "acme", **more: Any) -> EnrolWorkspace:
    return EnrolWorkspace(workspace=name, **({"plan": "free", "region": "eu"} | more))


def scope(name: str = "acme", kind: str = "workspace") -> Scope:
    return Scope(kind=kind, id=name)


def opt_out(*keys: str, by: Applicant = OWNER, **more: Any) -> RequestOptOut:
    said: dict[str, Any] = {
        "scope": scope(),
        "selector": Selector(keys=list(keys)) if keys else ALL,
        "applicant": by,
    }
    return RequestOptOut(**(said | more))


def opt_in(*keys: str, **more: Any) -> RequestOptIn:
    return RequestOptIn(**({"scope": scope(), "keys": list(keys or ("train",)), "applicant": OWNER} | more))


def opened() -> Ledger:
    """A ledger with nothing in it."""
    return Ledger().given(OpenLedger())


def enrolled(**more: Any) -> Ledger:
    """Policy version 1 (all on by default) has been in force for a day, and acme is a customer."""
    ledger = opened().given(policy(**more))
    ledger.wait(DAY)
    return ledger.given(RegisterOrganisation(organisation="corp"), workspace())
