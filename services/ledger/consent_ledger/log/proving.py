"""Proofs of inclusion, made from the published files alone: never from the tables that the write path uses.

The proof leads to the latest checkpoint with the witnesses that the policy asks for, or, where that does
not cover the event yet, to the latest one. It is verified before anybody gets it.

Files are read in a thread, so that a disk that is slow holds nothing else up. Those who wait are served
together: a thread's beginning and end cost as much as a proof.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import structlog
from consent_domain import tiles
from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.errors import ConsentError
from consent_domain.merkle import leaf_hash
from consent_domain.notes import parse_note
from consent_domain.proofs import inclusion, verify_inclusion
from consent_domain.tiles import ENTRIES, HEIGHT, WIDTH, Tile, TileHashes
from consent_domain.tlog_proofs import TlogProof, format_proof

from consent_ledger.log.folder import CHECKPOINT, WITNESSED, LogFolder
from consent_ledger.seams import Clock

READ_SECONDS = 1.0
TOGETHER_MAX = 32

_log = structlog.get_logger()


class Proven(NamedTuple):
    """An event's bytes as they were published, and the `.tlog-proof` that holds them."""

    entry: bytes
    proof: bytes


class _Tree:
    """A checkpoint that proofs lead to, and the tiles below it."""

    def __init__(self, folder: LogFolder, epoch: int, note: bytes, checkpoint: Checkpoint) -> None:
        self.epoch = epoch
        self.note = note
        self.checkpoint = checkpoint
        self._hashes = TileHashes(partial(folder.read_tile, epoch), checkpoint.size)
        self._above = lru_cache(tiles.TILES_KEPT)(self._path_of_tile)

    def path(self, index: int) -> tuple[bytes, ...]:
        """The proof of leaf `index`: within its tile eight hashes, above it what all of the tile share."""
        number = index // WIDTH
        if (number + 1) * WIDTH > self.checkpoint.size:
            return tuple(inclusion(self._hashes, index, 0, self.checkpoint.size))
        within = tuple([self._hashes(height, (index >> height) ^ 1) for height in range(HEIGHT)])
        return within + self._above(number)

    def _path_of_tile(self, number: int) -> tuple[bytes, ...]:
        return tuple(inclusion(self._hashes, number * WIDTH, 0, self.checkpoint.size)[HEIGHT:])


def _first_with(trees: Sequence[_Tree], position: int) -> _Tree | None:
    return next((tree for tree in trees if tree.checkpoint.size >= position), None)


class Proofs:
    """Makes proofs; keeps the tiles that it read last, 8 MiB for each of two checkpoints. Any thread."""

    def __init__(self, folder: LogFolder, clock: Clock = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._trees: dict[str, _Tree] = {}
        self._latest: tuple[_Tree, ...] = ()
        self._read_at = -READ_SECONDS

    def prove(self, position: int) -> Proven:
        """The event at `position` (from 1) and its proof. Reads up to six small files: call it in a thread.

        Raises ConsentError `beyond_checkpoint` for an event that no checkpoint covers yet, or that does not
        exist; `damaged` if the files do not prove what the checkpoint says; `unavailable`. Where the files
        lie is logged, and not told: the caller may be a customer.
        """
        try:
            return self._prove(position)
        except ConsentError as error:
            if error.code != "unavailable":
                raise
            _log.error("published_file_unreadable", position=position, detail=error.detail)
            raise ConsentError("unavailable", "the published files cannot be read here now") from error

    def _prove(self, position: int) -> Proven:
        tree = self._covering(position)
        size, index = tree.checkpoint.size, position - 1
        try:
            entry = self._entry(tree, index)
            hashes = tree.path(index)
            verify_inclusion(leaf_hash(entry), index, 0, size, hashes, tree.checkpoint.root)
        except ConsentError as error:
            if error.code == "unavailable":
                raise
            raise ConsentError(
                "damaged", f"event {position} cannot be proven from the published files; run fsck"
            ) from error
        return Proven(entry, format_proof(TlogProof(index, hashes, tree.note, entry)))

    def _covering(self, position: int) -> _Tree:
        """The tree to prove with. What was read in the last second is as good as what is there now."""
        found = _first_with(self._latest, position)
        now = self._clock()
        if found is None or now - self._read_at >= READ_SECONDS:
            epoch = self._folder.current_epoch()
            trees = [self._tree(epoch, path) for path in (WITNESSED, CHECKPOINT)]
            self._latest = tuple(tree for tree in trees if tree is not None)
            self._read_at = now
            found = _first_with(self._latest, position)
        if found is None:
            size = self._latest[-1].checkpoint.size if self._latest else 0
            raise ConsentError(
                "beyond_checkpoint", f"the latest checkpoint covers the events up to {size}", size=str(size)
            )
        return found

    def _tree(self, epoch: int, path: str) -> _Tree | None:
        note = self._folder.note(epoch, path) if epoch else None
        if note is None:
            return None
        known = self._trees.get(path)
        if known is not None and (known.epoch, known.note) == (epoch, note):
            return known
        try:
            checkpoint = parse_checkpoint(parse_note(note).text)
        except ConsentError as error:
            raise ConsentError("damaged", f"the published {path} cannot be read") from error
        self._trees[path] = tree = _Tree(self._folder, epoch, note, checkpoint)
        return tree

    def _entry(self, tree: _Tree, index: int) -> bytes:
        number, at = divmod(index, WIDTH)
        width = min(WIDTH, tree.checkpoint.size - number * WIDTH)
        bundle = self._folder.read_tile(tree.epoch, Tile(ENTRIES, number, width))
        return tiles.entry_of(bundle, at)


class Prover:
    """`Proofs` for one loop."""

    def __init__(self, proofs: Proofs) -> None:
        self._proofs = proofs
        self._waiting: deque[tuple[int, asyncio.Future[Proven]]] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def prove(self, position: int) -> Proven:
        """As `Proofs.prove`."""
        wanted: asyncio.Future[Proven] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, wanted))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await wanted

    async def _serve(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(TOGETHER_MAX, len(self._waiting)))]
            found = await asyncio.to_thread(self._prove_all, [position for position, _ in together])
            for (_, wanted), proven in zip(together, found, strict=True):
                if wanted.done():
                    continue  # whoever asked has gone
                if isinstance(proven, Proven):
                    wanted.set_result(proven)
                else:
                    wanted.set_exception(proven)

    def _prove_all(self, positions: list[int]) -> list[Proven | Exception]:
        found: list[Proven | Exception] = []
        for position in positions:
            try:
                found.append(self._proofs.prove(position))
            except Exception as error:  # it is whose position it was who gets it
                found.append(error)
        return found
