"""What plain workspaces are answered: per purpose, one ruling for each class of them.

An entry is a pure function of the class's bytes, the book, the class's organisation and ledger
time. `Tables` belong to one generation of book and organisations and to one ledger time, both
read in the transaction that the check itself reads in; so there is nothing to expire and
nothing to invalidate. What still holds at a later time of the same generation is taken over.
"""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.decide import Collected, Decision, settle
from consent_domain.grounds import Case, prepare
from consent_domain.instants import Micros
from consent_domain.ruling import Ruling, for_member, rule_class

from consent_gate.cells import (
    PREFIX_BYTES,
    SINCE_END,
    WorkspaceClass,
    decode_plain,
    encode_instant,
    plain_facts,
)
from consent_gate.store import Snapshot

TABLES_MAX = 1024
"""Questions (purpose and categories) remembered at a time; callers choose them, so they are bounded."""
NEVER = b"\xff" * (SINCE_END - PREFIX_BYTES)


class Entry(NamedTuple):
    """The ruling on a class, and whom it permits whatever the collection time.

    A member that has been a customer since `permit_from` (bytes of an instant, as they stand in
    cells) or later may have all its past used; `permit_after` is the same as an instant. One that
    came at `nothing_from` or later may have nothing used. `permitting`, `nothing` and (for the others)
    `unstated` are whether it is permitted, and the first reason.
    """

    ruling: Ruling
    permit_from: bytes
    permit_after: Micros
    nothing_from: bytes
    permitting: tuple[bool, str]
    unstated: tuple[bool, str]
    nothing: tuple[bool, str]
    shared: WorkspaceClass

    def decision_on(self, cell: bytes, collected: Collected | None, at: Micros) -> Decision:
        """The whole decision on the member with this cell. About 10 µs."""
        _, ordinal, since = decode_plain(cell)
        return settle(for_member(self.ruling, ordinal, since), collected, at)


class Table:
    """The entries for one question, by the first bytes of a plain workspace's cell."""

    def __init__(self, case: Case, entries: dict[bytes, Entry]) -> None:
        self.case = case
        self.entries = entries

    def entry_of(self, cell: bytes, snapshot: Snapshot, at: Micros) -> Entry:
        """The entry for a plain cell, made if this is the first of its class. About 30 µs then."""
        prefix = cell[:PREFIX_BYTES]
        known = self.entries.get(prefix)
        if known is not None:
            return known
        shared = snapshot.class_of(decode_plain(cell)[0])
        organisation = snapshot.organisation(shared.organisation) if shared.organisation else None
        ruling = rule_class(self.case, organisation, plain_facts(cell, shared), at)
        entry = self.entries[prefix] = _entry(ruling, shared)
        return entry


def _entry(ruling: Ruling, shared: WorkspaceClass) -> Entry:
    code = ruling.reasons[0].code
    if not ruling.permit:
        denied = (False, code)
        return Entry(ruling, NEVER, 0, b"", denied, denied, denied, shared)
    last, start = ruling.timeline[-1].denied, _start_of_the_end(ruling)
    permit_from, nothing_from = (_bytes_of(start), NEVER) if last is None else (NEVER, _bytes_of(start))
    return Entry(
        ruling,
        permit_from,
        start,
        nothing_from,
        (True, code),
        (False, "collected_unstated"),
        (False, code if last is None else last.code),
        shared,
    )


def _start_of_the_end(ruling: Ruling) -> Micros:
    """From which instant on every collection time up to now is permitted, or every one is denied."""
    permitted = ruling.timeline[-1].denied is None
    start = ruling.timeline[-1].start
    for segment in reversed(ruling.timeline):
        if (segment.denied is None) != permitted:
            break
        start = segment.start
    return start


def _bytes_of(instant: Micros) -> bytes:
    try:
        return encode_instant(instant)
    except OverflowError:
        # Before anything that a cell can hold, as the beginning of a class is, or after all of it.
        return b"" if instant < 0 else NEVER


class Tables:
    """The tables of one generation at one ledger time."""

    def __init__(self, older: Tables | None, at: Micros, until: Micros | None = None) -> None:
        """`until`: see `consent_domain.grounds.Case`; nothing older is taken over then."""
        assert older is None or until is None, "what held before may not hold until then"
        self._at = at
        self.until = until
        """By then, too, what these tables permit is permitted; None: for as long as they are asked."""
        self._tables: dict[tuple[str | None, tuple[str, ...]], Table] = {}
        self._older = {} if older is None else older._tables
        self.find = self._tables.get
        """The table for (purpose, categories), or None if it was not asked for yet."""

    def table(self, purpose: str, categories: tuple[str, ...], snapshot: Snapshot) -> Table:
        """The table for a question; `snapshot` is of the generation these tables are of."""
        question = (purpose, categories)
        known = self._tables.get(question)
        if known is None:
            if len(self._tables) >= TABLES_MAX:
                self._tables.clear()
            known = self._tables[question] = self._new(question, snapshot)
        return known

    def _new(self, question: tuple[str, tuple[str, ...]], snapshot: Snapshot) -> Table:
        older = self._older.get(question)
        if (
            older is not None
            and older.case.valid_from <= self._at
            and _holds(older.case.valid_until, self._at)
        ):
            still = {
                prefix: entry
                for prefix, entry in tuple(older.entries.items())
                if _holds(entry.ruling.valid_until, self._at)
            }
            return Table(older.case, still)
        return Table(prepare(snapshot.book, *question, self._at)._replace(until=self.until), {})


def _holds(valid_until: Micros | None, at: Micros) -> bool:
    return valid_until is None or at < valid_until
