"""Numbering: from a verdict's drafts to rows with position, version, time, bytes and leaf hash."""

from __future__ import annotations

from typing import NamedTuple

from consent_domain import merkle
from consent_domain.envelope import Event, encode
from consent_domain.events import BY_BODY
from consent_domain.handle import Draft
from consent_domain.instants import Micros, moment_of

from consent_ledger.memory import Tentative
from consent_ledger.seams import Head, Row


class Numbered(NamedTuple):
    """What one command records: rows for the store, and the same events for folding."""

    rows: list[Row]
    events: list[Event]


class Numbering:
    """The end of the log while a batch is put behind it. Nothing of it lasts unless the batch commits.

    Times are the store's clock, and strictly increase by at least 1 µs over the whole log.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self.position = head.position
        self.next_time: Micros = max(head.now, head.recorded_at + 1)
        self._hashes = merkle.split(head.range)

    def number(self, drafts: list[Draft], state: Tentative) -> Numbered:
        """The drafts of one command behind the end, which does not move yet.

        Raises Refused `event_too_large`.
        """
        rows: list[Row] = []
        events: list[Event] = []
        versions: dict[str, int] = {}
        position, time = self.position, self.next_time
        for stream, body, event_id in drafts:
            position += 1
            version = versions.get(stream) or state.version(stream)
            versions[stream] = version = version + 1
            written = str(event_id)
            encoded = encode(position, written, self._head.origin, stream, time, body)
            kind = BY_BODY[type(body)].name
            rows.append(
                Row(stream, version, event_id, kind, moment_of(time), encoded, merkle.leaf_hash(encoded))
            )
            events.append(Event(position, written, stream, kind, time, body))
            time += 1
        return Numbered(rows, events)

    def accept(self, numbered: Numbered) -> None:
        """Move the end behind what `number` gave."""
        for row in numbered.rows:
            self.position = merkle.append(self.position, self._hashes, row.leaf_hash)
        self.next_time += len(numbered.rows)

    @property
    def recorded_at(self) -> Micros:
        """The time of the last event accepted."""
        return self.next_time - 1

    def head(self) -> Head:
        """The head as it is once everything accepted is committed."""
        return self._head._replace(
            position=self.position, recorded_at=self.recorded_at, range=merkle.join(self._hashes)
        )
