"""What held for everybody at a position: folded once, and kept for the next question about the past.

Policies, stops and erasures are few beside what workspaces do, but every question needs all of them.
What was folded up to one of these events stands for every position until the next one. It is used
again only if the log still has that very event there: its leaf hash says so.
"""

from __future__ import annotations

from collections import OrderedDict

from consent_domain.state import BookState, fold_book_stored
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS

KEPT_MAX = 32
"""How many states are kept. They share what did not change between them."""


class Books:
    """The states asked for last, by the position of the event that led to them. For one loop."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._kept: OrderedDict[int, tuple[bytes, BookState]] = OrderedDict()

    async def until(self, connection: Connection, position: int) -> BookState:
        """What held for everybody, by the events up to `position` and no other.

        Cost O(such events since one that is kept); raises as the connection does.
        """
        known = max((kept for kept in self._kept if kept <= position), default=0)
        leaf_hash, state = self._kept.get(known, (b"", BookState()))
        rows = await connection.fetch(STATEMENTS["events_of_book_between"], known, position)
        if known:
            if not rows or (rows[0]["position"], rows[0]["leaf_hash"]) != (known, leaf_hash):
                self._kept.clear()  # it is not the log that was folded: a database restored from a backup
                return await self.until(connection, position)
            if known in self._kept:  # while the rows were read, others may have put it out
                self._kept.move_to_end(known)
            rows = rows[1:]
        for row in rows:
            state = fold_book_stored(state, row["stream"], row["position"], row["body"])
        if rows:
            self._keep(rows[-1]["position"], rows[-1]["leaf_hash"], state)
        return state

    def _keep(self, position: int, leaf_hash: bytes, state: BookState) -> None:
        self._kept[position] = (leaf_hash, state)
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
