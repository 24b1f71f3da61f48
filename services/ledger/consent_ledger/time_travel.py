"""Time travel: the answer that the ledger would have given, folded from the log itself.

Two times are told apart. *Known at* says which events count: all up to a position. *As of* says
which moment is judged, with what was in effect then. Both default to now. A run's manifest keeps both,
so that what it was told can be computed again by anybody who holds the log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
from consent_domain.decide import Collected, Decision, decide
from consent_domain.errors import ConsentError
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.identifiers import Token, is_id, parse_token
from consent_domain.instants import Micros, micros, moment_of, parse_rfc3339, rfc3339
from consent_domain.requests import Request
from consent_domain.state import BookState, StreamState, fold_stored
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.books import Books
from consent_ledger.database import STATEMENTS

LINKS_MAX = 1_000
"""How many workspaces a chain of successions may lead through before the question is refused."""


class When(NamedTuple):
    """Which moment is asked about. `known_at` None: all that is known; `as_of` None: now."""

    known_at: Token | Micros | None = None
    as_of: Micros | None = None


def parse_when(known_at: str | None, as_of: str | None) -> When:
    """The moment that a caller writes: a token or a time, and a time; None where it writes none.

    Raises ConsentError `invalid_token` or `invalid_time`.
    """
    return When(
        None if known_at is None else parse_token(known_at) if "/" in known_at else _instant(known_at),
        None if as_of is None else _instant(as_of),
    )


def _instant(text: str) -> Micros:
    instant = parse_rfc3339(text)
    if instant < 0:
        raise ConsentError("invalid_time", "the time lies before 1970, where nothing is known")
    return instant


class Question(NamedTuple):
    """What is asked of the past."""

    workspaces: Sequence[str]
    purpose: str
    categories: tuple[str, ...]
    collected: Collected | None
    when: When


class Past(NamedTuple):
    """The decision, on everything up to the position that `token` names, at ledger time `at`."""

    decision: Decision
    token: Token
    at: Micros


class View:
    """The log as it was known at `token`; `at` is judged.

    It needs no transaction: up to a position that is committed the log never changes.
    """

    def __init__(self, connection: Connection, books: Books, token: Token, at: Micros) -> None:
        self.connection = connection
        self.token = token
        self.at = at
        self._books = books

    async def everybody(self) -> BookState:
        """What held for everybody."""
        return await self._books.until(self.connection, self.token.position)

    async def streams(self, names: Sequence[str]) -> dict[str, StreamState]:
        """These streams, each named once. Those that had no event are left out."""
        found = await self.connection.fetch(STATEMENTS["events_of_streams_until"], names, self.token.position)
        streams: dict[str, StreamState] = {}
        for row in found:
            stream = row["stream"]
            streams[stream] = fold_stored(streams.get(stream), stream, row["position"], row["body"])
        return streams

    async def facts(self, workspaces: Iterable[str]) -> Folded:
        """Everything that decides about `workspaces`.

        Raises ConsentError `too_large` if more than LINKS_MAX others are concerned. Cost O(own events),
        and what `everybody` costs.
        """
        everybody = await self.everybody()
        streams: dict[str, StreamState] = {}
        wanted = {f"workspace/{name}" for name in workspaces if is_id(name)}
        while wanted:
            if len(streams) > LINKS_MAX:
                raise ConsentError(
                    "too_large", f"more than {LINKS_MAX} workspaces and organisations are concerned"
                )
            streams |= await self.streams(sorted(wanted))
            looked_up = wanted
            wanted = {link for stream in looked_up if stream in streams for link in _links(streams[stream])}
            wanted -= streams.keys() | looked_up
        return Folded(everybody.book, streams)


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

    @property
    def workspaces(self) -> list[str]:
        """Everybody asked about and all that they share data with, as far as they were enrolled; sorted."""
        names = (stream.partition("/") for stream in self._streams)
        return sorted(name for kind, _, name in names if kind == "workspace" and self.workspace(name))

    @property
    def requests(self) -> dict[str, Request]:
        """The requests of all workspaces and organisations concerned, by their ids."""
        return {key: one for state in self._streams.values() for key, one in state.requests.items()}

    def version(self, workspace: str) -> int:
        """How many events a workspace had."""
        state = self._streams.get(f"workspace/{workspace}")
        return 0 if state is None else state.version


@asynccontextmanager
async def viewing(pool: Pool, books: Books, when: When) -> AsyncIterator[View]:
    """The log at a moment, on a connection of its own.

    Raises ConsentError `invalid_token` for a token of another log or epoch or of a position that does
    not exist yet, `invalid_time` for a time in the future, and as `consent_plumbing.postgres` does.
    """
    async with acquire(pool) as connection:
        head = await connection.fetchrow(STATEMENTS["read_head"])
        assert head is not None, "the head has one row, which nothing deletes"
        now = micros(head["now"])
        if when.as_of is not None and when.as_of > now:
            raise ConsentError("invalid_time", f"asOf lies in the future: ledger time is {rfc3339(now)}")
        position = await _position(connection, when.known_at, head, now)
        token = Token(head["origin"], head["epoch"], position)
        yield View(connection, books, token, now if when.as_of is None else when.as_of)


async def answer(pool: Pool, books: Books, question: Question) -> Past:
    """The answer to a question about the past. Raises as `viewing` and `View.facts` do."""
    async with viewing(pool, books, question.when) as view:
        folded = await view.facts(question.workspaces)
    decision = decide(
        folded, question.workspaces, question.purpose, question.categories, view.at, question.collected
    )
    return Past(decision, view.token, view.at)


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
    position: int = await connection.fetchval(STATEMENTS["last_recorded_until"], moment_of(known_at), last)
    return position
