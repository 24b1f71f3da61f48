"""The sink of a view: load the rows concerned, fold, save. Three lines, and all of them matter."""

from __future__ import annotations

from collections.abc import Sequence

from consent_domain.merkle import leaf_hash

from consent_projector.seams import Cursor, Fault, Store, View
from consent_projector.stored import Stored


class Table:
    """A view's table, as a sink of the ordered consumer."""

    def __init__(self, view: View, store: Store) -> None:
        self._view = view
        self._store = store

    @property
    def name(self) -> str:
        """The view's name."""
        return self._view.name

    async def check(self, owner: str, cursor: Cursor) -> Cursor | None:
        """A table is where its cursor says: they are written together."""
        return cursor

    async def apply(
        self, owner: str, cursor: Cursor, events: Sequence[Stored], heard: bool
    ) -> tuple[Cursor, list[Fault]] | None:
        """Rows read before the cursor is compared are still true when it is found unmoved."""
        rows = await self._store.load(self._view, events)
        changes = self._view.fold(rows, events)
        upto = events[-1].position
        hashes = [leaf_hash(event.body) for event in events] if heard else []
        if not await self._store.save(self._view, owner, cursor, upto, changes.rows, hashes):
            return None
        return Cursor(upto, cursor.generation), changes.faults
