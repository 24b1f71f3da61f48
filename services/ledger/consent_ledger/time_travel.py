"""Time travel: the answer that the ledger would have given, folded from the log itself.

Two times are told apart. *Known at* says which events count: all up to a position. *As of* says
which moment is judged, with what was in effect then. A run's manifest keeps both, so that what it
was told can be computed again by anybody who holds the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import asyncpg
from consent_domain.decide import Collected, Decision, decide
from consent_domain.errors import ConsentError
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.identifiers import Token, is_id
from consent_domain.instants import Micros, micros, rfc3339
from consent_domain.state import BookState, StreamState, fold_book_stored, fold_stored
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.database import STATEMENTS

LINKS_MAX = 1_000
"""How many workspaces a chain of successions may lead through before the question is refused."""


class Question(NamedTuple):
    """What is asked of the past. `known_at` None: all that is known; `as_of` None: now."""

    workspaces: Sequence[str]
    purpose: str
    categories: tuple[str, ...]
    collected: Collected | None
    known_at: Token | Micros | None
    as_of: Micros | None


class Past(NamedTuple):
    """The decision, on everything up to the position that `token` names, at ledger time `at`."""

    decision: Decision
    token: Token
    at: Micros


class Folded:
    """The facts as of one position, folded from the log (a `consent_domain.ruling.Snapshot`)."""

    def __init__(self, book: Book, streams: dict[str, StreamState]) -> None:
        self._book = book
        self._streams = streams

    @property
    def book(self) -> Book:
        """What held for everybody."""
        return self._book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """The facts of a workspace, None if it was not enrolled then."""
        state = self._streams.get(f"workspace/{name}")
        return state.facts if state and isinstance(state.facts, WorkspaceFacts) else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        """The facts of an organisation, None if it was not registered then."""
        state = self._streams.get(f"organisation/{name}")
        return state.facts if state and isinstance(state.facts, OrganisationFacts) else None


async def answer(pool: Pool, question: Question) -> Past:
    """The answer to a question about the past.

    Raises ConsentError: `invalid_token` for a token of another log or epoch or of a position that does
    not exist yet, `invalid_time` for a time in the future, and as `consent_plumbing.postgres` does.
    Cost O(events of everybody and of the streams concerned).
    """
    async with (
        acquire(pool) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        head = await connection.fetchrow(STATEMENTS["read_head"])
        assert head is not None, "the head has one row, which nothing deletes"
        now = micros(head["now"])
        as_of = now if question.as_of is None else question.as_of
        if as_of > now:
            raise ConsentError("invalid_time", f"asOf lies in the future: ledger time is {rfc3339(now)}")
        position = await _position(connection, question.known_at, head, now)
        folded = await fold_until(connection, question.workspaces, position)
    decision = decide(
        folded, question.workspaces, question.purpose, question.categories, as_of, question.collected
    )
    return Past(decision, Token(head["origin"], head["epoch"], position), as_of)


async def fold_until(connection: Connection, workspaces: Iterable[str], position: int) -> Folded:
    """Everything that decides about `workspaces`, with the events up to `position` and no other."""
    everybody = BookState()
    for row in await connection.fetch(STATEMENTS["events_of_book_until"], position):
        everybody = fold_book_stored(everybody, row["stream"], row["position"], row["body"])
    streams: dict[str, StreamState] = {}
    wanted = {f"workspace/{name}" for name in workspaces if is_id(name)}
    while wanted:
        if len(streams) > LINKS_MAX:
            raise ConsentError(
                "too_large", f"more than {LINKS_MAX} workspaces and organisations are concerned"
            )
        found = await connection.fetch(STATEMENTS["events_of_streams_until"], sorted(wanted), position)
        for row in found:
            stream = row["stream"]
            streams[stream] = fold_stored(streams.get(stream), stream, row["position"], row["body"])
        looked_up = wanted
        wanted = {link for stream in looked_up if stream in streams for link in _links(streams[stream])}
        wanted -= streams.keys() | looked_up
    return Folded(everybody.book, streams)


def _links(state: StreamState) -> Iterable[str]:
    if isinstance(state.facts, WorkspaceFacts):
        for attributes in state.facts.attributes:
            if attributes.organisation:
                yield f"organisation/{attributes.organisation}"
        for link in state.facts.successions:
            yield f"workspace/{link.other}"


async def _position(
    connection: Connection, known_at: Token | Micros | None, head: asyncpg.Record, now: Micros
) -> int:
    last: int = head["position"]
    if known_at is None:
        return last
    if isinstance(known_at, Token):
        if (known_at.origin, known_at.epoch) != (head["origin"], head["epoch"]):
            raise ConsentError(
                "invalid_token",
                f"{known_at} is of another log or epoch than {head['origin']}/{head['epoch']}",
            )
        if known_at.position > last:
            raise ConsentError("invalid_token", f"{known_at} lies after the last event, which is {last}")
        return known_at.position
    if known_at > now:
        raise ConsentError("invalid_time", f"knownAt lies in the future: ledger time is {rfc3339(now)}")
    return await _last_recorded_until(connection, known_at, last)


async def _last_recorded_until(connection: Connection, at: Micros, last: int) -> int:
    """The last position recorded at `at` or before, 0 if none. Times rise with positions: O(log n)."""
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        recorded_at = await connection.fetchval(STATEMENTS["event_recorded_at"], middle)
        if micros(recorded_at) <= at:
            low = middle
        else:
            high = middle - 1
    return low
