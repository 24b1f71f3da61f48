"""All events, read once in order: each by itself, against its columns, and the tree that they make.

Of each event: its position follows, its hash is the one beside it, and stream, id, type, time and position
inside its bytes are those of its columns; it is of this ledger and recorded after the one before. Whether
its body can be read is not asked: an older program may meet a newer event. Of all together: the root at every
size that is asked for, the head's own range, versions without a gap in every stream. Memory is bounded: a
page of events, and the right edge of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

import asyncpg
from consent_domain import merkle
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import LogContinued
from consent_domain.instants import micros
from consent_domain.tiles import Tile
from consent_gate.audit.rules import Envelope, Rules
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.growth import Growth
from consent_ledger.recovery.findings import BLOB_DAMAGED, EVENT_DAMAGED, FINDINGS_MAX, HEAD_DAMAGED, Findings
from consent_ledger.seams import Head

PAGE_EVENTS = 2_048
CONTINUED = "log-continued.v1"

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""


class Begun(NamedTuple):
    """An epoch, and how many events of the log before it continues."""

    epoch: int
    size: int


class Watcher(Protocol):
    """Who wants to see the tiles as the events make them."""

    @property
    def size(self) -> int:
        """Where the edge is wanted."""

    def take(self, made: Sequence[tuple[Tile, bytes]]) -> None:
        """Full tiles and bundles, as soon as they are full."""

    def take_edge(self, made: Sequence[tuple[Tile, bytes]]) -> None:
        """The partial ones at `size`."""


class Examination:
    """One examination. `run`, then read what it found."""

    def __init__(
        self, head: Head, sizes: Collection[int], watchers: Sequence[Watcher], findings: Findings
    ) -> None:
        """The root is kept at each of `sizes`, as far as they are not above the head."""
        self.head = head
        self.findings = findings
        self.growth = Growth()
        self.roots: dict[int, bytes] = {}
        self.begun: list[Begun] = []
        self._watchers = watchers
        self._rules = Rules(head.origin)
        self._wanted = sorted({*sizes, *(watcher.size for watcher in watchers)})
        self._whole = True
        self._reached = 0
        self._last: Envelope | None = None

    @property
    def epoch(self) -> int:
        """The epoch that the events themselves say."""
        return self.begun[-1].epoch if self.begun else 1

    async def run(self, connection: Connection, progress: Progress) -> None:
        """Examine everything up to the head. Raises what asyncpg raises."""
        self._keep_roots()
        while self._reached < self.head.position:
            rows_max = min(PAGE_EVENTS, self.head.position - self._reached)
            rows = await connection.fetch(STATEMENTS["events_whole_after"], self._reached, rows_max)
            rows = [row for row in rows if row["position"] <= self.head.position]
            self._take_page(rows)
            if not rows:
                self._missing(self._reached + 1, self.head.position)
                break
            progress(self._reached, self.head.position)
        self._examine_head()
        await self._examine_versions(connection)
        for row in await connection.fetch(STATEMENTS["blobs_damaged"], FINDINGS_MAX):
            said = f"the text kept as {row['sha256'].hex()} has other bytes"
            self.findings.add(BLOB_DAMAGED, 0, said)

    def _take_page(self, rows: Sequence[asyncpg.Record]) -> None:
        bodies: list[bytes] = []
        for row in rows:
            position = row["position"]
            if position != self._reached + 1:
                self._grow(bodies)
                bodies = []
                self._missing(self._reached + 1, position - 1)
            self._reached = position
            envelope = self._examine(row)
            if envelope is not None and envelope.type == CONTINUED:
                self._grow(bodies)
                bodies = []
                self._examine_continuation(position, row["body"])
            bodies.append(row["body"])
            if self._wanted and position == self._wanted[0]:
                self._grow(bodies)
                bodies = []
        self._grow(bodies)

    def _missing(self, first: int, last: int) -> None:
        """What follows has no place in the tree any more: only its columns are compared from here on."""
        self._whole = False
        self._reached = last
        which = f"the event at {first} is" if first == last else f"the events from {first} to {last} are"
        self.findings.add(EVENT_DAMAGED, first, f"{which} missing")

    def _examine(self, row: asyncpg.Record) -> Envelope | None:
        position, body = row["position"], row["body"]
        if merkle.leaf_hash(body) != row["leaf_hash"]:
            self._damaged(position, "its bytes do not have the hash that is kept beside them")
        try:
            envelope = self._rules.envelope(position, body)
        except ConsentError as error:
            self._damaged(position, error.detail)
            return None
        self._last = envelope
        for name, kept, said in (
            ("stream", row["stream"], envelope.subject),
            ("id", str(row["id"]), envelope.id),
            ("type", row["type"], envelope.type),
            ("recorded_at", row["recorded_at"], envelope.time),
        ):
            if kept != said:
                self._damaged(position, f"the column {name} says {kept}, and the event {said}")
        return envelope

    def _examine_continuation(self, position: int, stored: bytes) -> None:
        try:
            body = decode(stored).body
        except Unreadable as error:
            self._damaged(position, error.detail)
            return
        assert isinstance(body, LogContinued), "the type says so"
        self.begun.append(Begun(body.epoch, position - 1))
        if body.epoch <= (self.begun[-2].epoch if len(self.begun) > 1 else 1):
            self._damaged(position, f"it begins epoch {body.epoch}, which had begun before")
        if body.size != str(position - 1) or (self._whole and body.root != self.growth.root()):
            self._damaged(position, "it continues another tree than the events before it make")

    def _damaged(self, position: int, detail: str) -> None:
        self.findings.add(EVENT_DAMAGED, position, f"the event at {position}: {detail}")

    def _grow(self, bodies: list[bytes]) -> None:
        if not self._whole:
            return
        made = list(self.growth.add(bodies)) if bodies else []
        for watcher in self._watchers:
            watcher.take(made)
        self._keep_roots()

    def _keep_roots(self) -> None:
        """What is wanted at the size that the tree has now."""
        size = self.growth.size
        while self._wanted and self._wanted[0] <= size:
            if self._wanted.pop(0) != size:
                continue
            self.roots[size] = self.growth.root()
            for watcher in self._watchers:
                if watcher.size == size:
                    watcher.take_edge(self.growth.edge())

    def _examine_head(self) -> None:
        head = self.head
        if not self._whole:
            return
        if merkle.join(self.growth.range()) != head.range:
            self.findings.add(
                HEAD_DAMAGED,
                0,
                f"the events up to {head.position} lead to another root than the head keeps: since it was "
                "written one of them, or it, was changed",
            )
        if self._last is not None and micros(self._last.time) != head.recorded_at:
            self.findings.add(HEAD_DAMAGED, 0, "the head keeps another time than the last event's")
        if head.epoch != self.epoch:
            said = f"the head is in epoch {head.epoch}, and the events say {self.epoch}"
            self.findings.add(HEAD_DAMAGED, 0, said)

    async def _examine_versions(self, connection: Connection) -> None:
        rows = await connection.fetch(STATEMENTS["versions_out_of_order"], self.head.position, FINDINGS_MAX)
        for row in rows:
            stream, version, expected = row["stream"], row["version"], row["expected"]
            self._damaged(row["position"], f"it is version {version} of {stream}, where {expected} is due")

    def root(self) -> bytes:
        """The root of all events."""
        return self.growth.root()
