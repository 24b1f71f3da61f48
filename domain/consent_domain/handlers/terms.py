"""What handlers take and give: the context of a command, drafts of events, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from consent_domain.commands import Applicant, Command
from consent_domain.events import Body, RecordedBy, Requester, Sealed
from consent_domain.handlers.checks import authority_of, name_of, no_later
from consent_domain.instants import Micros, moment_of


class Context(NamedTuple):
    """Everything that a command depends on beside the state and itself.

    `now` is the ledger time its events get. `event_ids` are as many as `ids_needed` says; the first
    becomes the id of the primary event, hence of the request or opt-in that it begins. `sealed` is
    the applicant's subject, sealed for the primary stream and the first id. `expected_version` is
    If-Match. `request_stream` is where the request that the command names lives (None: nowhere).
    `next_position` is the position that the first event recorded for this command would get.
    `key_ids` are the keys that stand for the person or workspace which the command erases.
    """

    now: Micros
    event_ids: Sequence[UUID]
    recorded_by: RecordedBy
    role: str
    sealed: Sealed | None = None
    expected_version: int | None = None
    request_stream: str | None = None
    next_position: int = 1
    key_ids: tuple[str, ...] = ()


class Draft(NamedTuple):
    """An event that should be recorded: on which stream, what, and under which id."""

    stream: str
    body: Body
    event_id: UUID


class Verdict(NamedTuple):
    """What a command leads to: events for one commit, in order, and what the caller is told."""

    drafts: list[Draft]
    answer: dict[str, object]


def verdict(context: Context, bodies: list[tuple[str, Body]], answer: dict[str, object]) -> Verdict:
    """The verdict that records `bodies` on their streams, the primary one first."""
    assert len(context.event_ids) >= len(bodies), "a command gets as many ids as ids_needed says"
    ids = context.event_ids
    return Verdict([Draft(stream, body, ids[n]) for n, (stream, body) in enumerate(bodies)], answer)


def spoken(command: Command, context: Context) -> dict[str, Any]:
    """The members that every live event has: who typed, for whom, and when the requester acted."""
    said: dict[str, Any] = {"recorded_by": context.recorded_by}
    if command.on_behalf_of:
        said["on_behalf_of"] = name_of(command.on_behalf_of, "onBehalfOf")
    if command.occurred_at is not None:
        said["occurred_at"] = moment_of(no_later(command.occurred_at, context.now, "occurredAt"))
    return said


def backfilled(command: Command, context: Context, at: Micros) -> dict[str, Any]:
    """The members that every imported event has: it happened at `at`, and is recorded late."""
    said = {"recorded_by": context.recorded_by, "provenance": "backfilled", "occurred_at": moment_of(at)}
    if command.on_behalf_of:
        said["on_behalf_of"] = name_of(command.on_behalf_of, "onBehalfOf")
    return said


def requester_of(applicant: Applicant, context: Context) -> Requester:
    """Who asked, as events say it: the subject only sealed, never in the clear."""
    return Requester(
        role=name_of(applicant.role, "applicant.role"),
        authority=authority_of(applicant.authority, context.role, "applicant.authority"),
        sealed=context.sealed,
    )
