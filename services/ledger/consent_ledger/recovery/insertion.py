"""Events put into the ledger byte for byte, as they once were: positions, versions and times too.

Each is checked as `examination` checks those that are there. All of it is one transaction, the caller's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
from consent_domain import merkle
from consent_domain.commands import Command
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import LogContinued, RecordedBy
from consent_domain.handle import Context, handle, ids_needed
from consent_domain.instants import Micros, micros, moment_of
from consent_domain.proofs import ProofInvalid
from consent_domain.state import BookState, fold_book_stored
from consent_gate.audit.rules import Envelope, Rules
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.identity import SystemIds
from consent_ledger.log.growth import Growth
from consent_ledger.memory import Tentative
from consent_ledger.numbering import Numbering
from consent_ledger.recovery.examination import CONTINUED, Begun
from consent_ledger.seams import Head

OPERATOR = RecordedBy(principal="operator", authentication="shell")
_COLUMNS = ("position", "stream", "version", "id", "type", "recorded_at", "body", "leaf_hash")


class Insertion:
    """Events behind a head that is locked. `growth` is the tree up to it, and grows; `finish` moves it."""

    def __init__(
        self, connection: Connection, head: Head, origin: str, growth: Growth, sizes: Collection[int] = ()
    ) -> None:
        """The root is kept at each of `sizes` that is passed."""
        assert growth.size == head.position, "the tree ends where the head is"
        self._connection = connection
        self._head = head
        self._origin = origin
        self._rules = Rules(origin)
        self._wanted = sorted(size for size in sizes if size > head.position)
        self.growth = growth
        self.time: Micros = head.recorded_at
        self.epoch = head.epoch
        self.begun: list[Begun] = []
        self.roots: dict[int, bytes] = {}

    @property
    def position(self) -> int:
        """The position of the last event."""
        return self.growth.size

    async def add(self, entries: Sequence[bytes]) -> None:
        """Put the next events in.

        Raises ProofInvalid and Unreadable for what cannot be the next event, asyncpg.PostgresError for
        what the database refuses: the transaction is lost then.
        """
        first = self.position + 1
        envelopes = [self._envelope(position, entry) for position, entry in zip(count(first), entries)]
        versions = await self._versions(envelopes)
        rows = [
            (
                position,
                envelope.subject,
                version,
                _uuid(position, envelope),
                envelope.type,
                envelope.time,
                entry,
                merkle.leaf_hash(entry),
            )
            for position, envelope, version, entry in zip(count(first), envelopes, versions, entries)
        ]
        self._grow(entries)
        await self._copy(rows)

    def _envelope(self, position: int, entry: bytes) -> Envelope:
        envelope = self._rules.envelope(position, entry)
        if micros(envelope.time) <= self.time and position == self._head.position + 1:
            said = f"event {position} was recorded before the one that the ledger ends with"
            raise ProofInvalid(said, position=position)
        self.time = micros(envelope.time)
        if envelope.type == CONTINUED:
            body = decode(entry).body
            assert isinstance(body, LogContinued), "the type says so"
            if body.epoch <= self.epoch or body.size != str(position - 1):
                raise ProofInvalid(
                    f"event {position} begins epoch {body.epoch} where it cannot", position=position
                )
            self.epoch = body.epoch
            self.begun.append(Begun(body.epoch, position - 1))
        return envelope

    async def _versions(self, envelopes: Sequence[Envelope]) -> list[int]:
        streams = list(dict.fromkeys(envelope.subject for envelope in envelopes))
        rows = await self._connection.fetch(STATEMENTS["versions_of_streams"], streams)
        known = {row["stream"]: row["version"] for row in rows}
        found = []
        for envelope in envelopes:
            known[envelope.subject] = version = known.get(envelope.subject, 0) + 1
            found.append(version)
        return found

    def _grow(self, entries: Sequence[bytes]) -> None:
        """Append to the tree, and keep the roots that are wanted on the way."""
        done = 0
        while self._wanted and self._wanted[0] <= self.growth.size + len(entries) - done:
            size = self._wanted.pop(0)
            taken = entries[done : done + size - self.growth.size]
            done += len(taken)
            _consume(self.growth, taken)
            self.roots[size] = self.growth.root()
        _consume(self.growth, entries[done:])

    async def _copy(self, rows: list[tuple[Any, ...]]) -> None:
        await self._connection.copy_records_to_table(
            "events", schema_name="ledger", columns=_COLUMNS, records=rows
        )

    async def record(self, command: Command, now: Micros) -> None:
        """Decide an operator's command about the log, and put in what it leads to. Raises Refused."""
        state = Tentative(await self._everybody(), {})
        head = Head(self._origin, self.epoch, self.position, self.time, merkle.join(self.growth.range()), now)
        numbering = Numbering(head)
        context = Context(
            now=numbering.next_time,
            event_ids=SystemIds().next(ids_needed(command)),
            recorded_by=OPERATOR,
            role="operator",
            next_position=self.position + 1,
        )
        verdict = handle(state, command, context)
        await self.add([row.body for row in numbering.number(verdict.drafts, state).rows])

    async def _everybody(self) -> BookState:
        state = BookState()
        for row in await self._connection.fetch(STATEMENTS["events_of_book"]):
            state = fold_book_stored(state, row["stream"], row["position"], row["body"])
        return state

    async def finish(self) -> None:
        """Move the head behind what was put in. Raises ConsentError if it is not where it was."""
        moved = await self._connection.fetchval(
            STATEMENTS["refill_head"],
            self._head.position,
            self._origin,
            self.epoch,
            self.position,
            moment_of(self.time),
            merkle.join(self.growth.range()),
        )
        if moved is None:
            raise ConsentError(
                "version_conflict", "somebody else wrote to the ledger meanwhile; run it again"
            )


def refused(error: asyncpg.PostgresError) -> ConsentError:
    """What the database says of rows that it does not take."""
    return ConsentError("invalid_value", f"the database refuses it: {error}; nothing was put in")


def _uuid(position: int, envelope: Envelope) -> UUID:
    try:
        found: UUID | None = UUID(envelope.id)
    except ValueError:
        found = None
    if found is None or str(found) != envelope.id:
        raise Unreadable(
            f"event {position} has the id {envelope.id[:40]!r}, which is no UUID", position=position
        )
    return found


def _consume(growth: Growth, entries: Sequence[bytes]) -> None:
    for _ in growth.add(entries):
        pass  # its tiles are the publisher's to write
