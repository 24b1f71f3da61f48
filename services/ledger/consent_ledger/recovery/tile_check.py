"""The published tiles of one epoch, compared with those that the events make; and made again from them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import asyncpg
from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError
from consent_domain.merkle import HASH_BYTES
from consent_domain.tiles import WIDTH, Tile
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trees import VerifiedTree
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.growth import Growth
from consent_ledger.recovery.examination import PAGE_EVENTS, Progress

DIFFERING_MAX = 64
"""So many tiles of hashes are kept to find out which events differ."""


class TileCheck:
    """A `Watcher` that compares. `bad` are the tiles that are missing or other than the events make them."""

    def __init__(self, folder: LogFolder, epoch: int, checkpoint: Checkpoint, shared: int) -> None:
        """`shared`: the first so many events of the tree are the ledger's; only their tiles are compared."""
        self.epoch = epoch
        self.size = shared
        self.bad: set[Tile] = set()
        self._folder = folder
        self._checkpoint = checkpoint
        self._differing: dict[int, bytes] = {}

    def take(self, made: Sequence[tuple[Tile, bytes]]) -> None:
        """See Watcher."""
        for tile, data in made:
            if (tile.index + 1) * WIDTH ** (max(tile.level, 0) + 1) <= self.size:
                self._compare(tile, data)

    def take_edge(self, made: Sequence[tuple[Tile, bytes]]) -> None:
        """See Watcher. Only where the tree ends there has it such tiles."""
        if self.size == self._checkpoint.size:
            for tile, data in made:
                self._compare(tile, data)

    def _compare(self, tile: Tile, data: bytes) -> None:
        try:
            if self._folder.read_tile(self.epoch, tile) == data:
                return
        except ConsentError as error:
            if error.code == "unavailable":
                raise
        self.bad.add(tile)
        if tile.level == 0 and len(self._differing) < DIFFERING_MAX:
            self._differing[tile.index] = data

    async def differing_events(self, connection: Connection) -> list[tuple[int, str]]:
        """Which events are not what was signed, and what differs, as far as the tiles prove it.

        Raises ConsentError if they prove nothing.
        """
        tree = VerifiedTree(FolderSource(self._folder.path / str(self.epoch)), self._checkpoint)
        found = []
        for index, ours in sorted(self._differing.items()):
            signed = tree.hashes(0, index)
            positions = [
                index * WIDTH + at // HASH_BYTES + 1
                for at in range(0, len(ours), HASH_BYTES)
                if ours[at : at + HASH_BYTES] != signed[at : at + HASH_BYTES]
            ]
            for position in positions:
                found.append((position, await _what_differs(connection, tree, position)))
        return found

    async def repair(self, connection: Connection, progress: Progress) -> int:
        """Write the tiles that are bad anew; how many. The events must have proven good before."""
        growth, size = Growth(), self.size
        while growth.size < size:
            rows_max = min(PAGE_EVENTS, size - growth.size)
            rows: list[asyncpg.Record] = await connection.fetch(
                STATEMENTS["events_whole_after"], growth.size, rows_max
            )
            made = list(growth.add([row["body"] for row in rows]))
            if growth.size == size == self._checkpoint.size:
                made += growth.edge()
            self._folder.write_tiles(self.epoch, [one for one in made if one[0] in self.bad])
            progress(growth.size, size)
        return len(self.bad)


async def _what_differs(connection: Connection, tree: VerifiedTree, position: int) -> str:
    rows = await connection.fetch(STATEMENTS["events_whole_after"], position - 1, 1)
    try:
        signed = tree.bundle((position - 1) // WIDTH)[(position - 1) % WIDTH]
        before, after = json.loads(signed), json.loads(rows[0]["body"])
    except (ConsentError, ValueError, RecursionError):
        return "its hash is not the one that was signed"
    names = sorted(_differences(before, after, ""))
    return (
        f"what was signed has another {', '.join(names)}"
        if names
        else "it is written otherwise than it was signed"
    )


def _differences(before: object, after: object, name: str) -> set[str]:
    """The names of the members that differ. Their values are for nobody who only checks."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: set[str] = set()
        for key in before.keys() | after.keys():
            found |= _differences(before.get(key), after.get(key), f"{name}.{key}" if name else key)
        return found
    return set() if before == after else {name or "value"}
