"""The publisher: turns committed events into tiles and signed checkpoints, one `step` at a time.

1. What it knows it reads back from what is durable: the signer's memory, and the tiles. Nothing is kept
   beside them, so a crash anywhere costs nothing but the step that was under way.
2. Events are taken in order and without a gap; each must have the hash that was stored beside it, and
   all together the root that the head says. Otherwise an event was changed: halt, and sign nothing.
3. Order of writing: tiles, durable; the signer's memory; the checkpoint. What is signed can be proven.
4. A head behind what was signed is a database from a backup: halt. It is never signed again.
5. A tile that is missing or damaged is made again from the events, if those still lead to the root that
   was signed; if they do not, halt.
6. A large backlog is signed as it goes, at sizes where the head's own compact range can be compared:
   those of its set bits from the largest on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

import structlog
from consent_domain import merkle, tiles
from consent_domain.checkpoints import Checkpoint, epoch_of, log_name
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import LOG_STREAM, LogContinued
from consent_domain.notes import parse_note
from consent_domain.proofs import ProofInvalid, consistency, verify_consistency
from consent_domain.tiles import WIDTH, Tile, TileHashes
from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import Verifier

from consent_ledger.log.folder import LogFolder, PublicKeys
from consent_ledger.log.growth import Growth
from consent_ledger.log.keys import LogHistory, LogKeys, read_history
from consent_ledger.log.seams import Entry, LogStore
from consent_ledger.log.signer import NOTHING_SIGNED, RECOVER, Signed, SignerState, SigningRefused, sign
from consent_ledger.seams import Clock, Head, StoreUnavailable

CHUNK_EVENTS = 4_096
SPACING_SECONDS = 1.0
"""Between two checkpoints, unless somebody wants one."""
BACKLOG_EVENTS = 65_536
"""More than this is signed as it goes."""

_log = structlog.get_logger()


class Unavailable(Exception):
    """A step could not be done; the same may work later."""


class NotBegun(ConsentError):
    """Nothing says that this log may be signed from its first event on."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "unavailable",
            f"neither the signer's state nor a published checkpoint knows the log {name}: if both were "
            "lost, put one back; if this key never signed, run `consent-ledger publish --begin` once",
        )


class Damaged(Exception):
    """The log cannot go on. `reason` is the halt's."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class State(Enum):
    """What became of a step."""

    PUBLISHED = "published"
    IDLE = "idle"
    """Everything committed is published."""
    WAITING = "waiting"
    """There is more, and it is too early for another checkpoint; or the ledger has no name yet."""
    HALTED = "halted"


class Step(NamedTuple):
    """`size` is the published checkpoint's, `position` the head's; both 0 while halted."""

    state: State
    epoch: int
    size: int
    position: int
    events: int


HALTED = Step(State.HALTED, 0, 0, 0, 0)


class _Log(NamedTuple):
    """The log of one epoch, as far as it is signed."""

    epoch: int
    name: str
    signed: Signed
    growth: Growth
    published: bool


class Publisher:
    """For the one process that holds the folder's lock."""

    def __init__(
        self,
        folder: LogFolder,
        store: LogStore,
        state: SignerState,
        load_seeds: Callable[[], Sequence[bytes]],
        origin: str,
        clock: Clock,
        publish: Callable[[int, Checkpoint, bytes], None],
        begin: bool = False,
    ) -> None:
        """`publish` is given the epoch, the checkpoint and its signed note, and writes it, in a thread.
        `load_seeds` is called again after each rotation. `begin` allows a log of which nothing is known."""
        self._folder = folder
        self._store = store
        self._state = state
        self._load_seeds = load_seeds
        self._origin = origin
        self._clock = clock
        self._publish_note = publish
        self._begin = begin
        self._log: _Log | None = None
        self._keys: LogKeys | None = None
        self._published_at: float | None = None
        self._suspect = False

    async def step(self, wanted: bool = False) -> Step:
        """Publish what was committed, once; `wanted` lets no spacing hold it back.

        Raises Unavailable if something cannot be reached, NotBegun. Everything else that is wrong halts.
        """
        if await asyncio.to_thread(self._folder.halted) is not None:
            self._log = None
            return HALTED
        try:
            return await self._step(wanted)
        except NotBegun:
            self._log = None
            raise
        except (Damaged, SigningRefused) as error:
            await self._halt(error.reason, error.detail)
        except ConsentError as error:
            if error.code != "damaged":
                self._log = None
                raise Unavailable(error.detail) from error
            await self._halt("damaged", error.detail)
        except (StoreUnavailable, OSError) as error:
            self._log = None
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self._log = None  # its growth may be ahead of what is signed
            raise
        return HALTED

    async def _halt(self, reason: str, detail: str) -> None:
        self._log = None
        _log.critical("log_halted", reason=reason, detail=detail)
        await asyncio.to_thread(self._folder.halt, reason, detail)

    async def check_tiles(self, index: int) -> int:
        """Compare the full tile `index` of level 0 with its bundle and with the tiles above it; the index of
        the next one, from 0 on again at the end. If something does not fit, the next step resumes, and makes
        all tiles again that differ from the events."""
        log = self._log
        if log is None or log.signed.size < WIDTH:
            return 0
        index %= log.signed.size // WIDTH
        try:
            await asyncio.to_thread(_require_fits, self._folder, log.epoch, log.signed.size, index)
        except (Unreadable, ConsentError) as error:
            _log.error("tile_damaged", epoch=log.epoch, index=index, error=str(error))
            self._log, self._suspect = None, True
        return index + 1

    async def _step(self, wanted: bool) -> Step:
        head = await self._store.read_head()
        if not head.origin:
            return Step(State.WAITING, head.epoch, 0, 0, 0)  # a new ledger that nobody has claimed yet
        if head.origin != self._origin:
            raise StoreUnavailable(f"the ledger's origin is {head.origin!r}, and not {self._origin!r}")
        log = self._log
        if log is None or log.epoch != head.epoch:
            log = self._log = await self._resume(head)
        if head.position < log.signed.size:
            raise Damaged(
                "behind",
                f"{log.signed.size} events were signed, and the head is at {head.position}: {RECOVER}",
            )
        if head.position == log.signed.size and log.published:
            await self._require_same_root(head, log)
            return Step(State.IDLE, log.epoch, log.signed.size, head.position, 0)
        now = self._clock()
        if not (wanted or self._published_at is None or now - self._published_at >= SPACING_SECONDS):
            return Step(State.WAITING, log.epoch, log.signed.size, head.position, 0)
        size = next_size(log.signed.size, head.position)
        await self._grow(log, size)
        await self._require_same_root(head, log)
        self._log = await self._publish(log, head)
        self._published_at = now
        return Step(State.PUBLISHED, log.epoch, size, head.position, size - log.signed.size)

    # -- going on from what is durable

    async def _resume(self, head: Head) -> _Log:
        """Where the log of the head's epoch stands: what was signed, with its tiles in order."""
        await self._reload_keys()
        latest = await asyncio.to_thread(self._folder.current_epoch)
        if latest > head.epoch:
            raise Damaged(
                "behind", f"epoch {latest} is published, and the head is in epoch {head.epoch}: {RECOVER}"
            )
        name = log_name(self._origin, head.epoch)
        published = await asyncio.to_thread(self._published, head.epoch)
        signed = await self._signed(head, name, published)
        if head.position < signed.size:
            raise Damaged(
                "behind", f"{signed.size} events were signed, and the head is at {head.position}: {RECOVER}"
            )
        growth = await self._growth(head.epoch, signed)
        return _Log(head.epoch, name, signed, growth, published == signed)

    async def _reload_keys(self) -> LogHistory:
        history = read_history(await self._store.events_of_stream(LOG_STREAM))
        self._keys = LogKeys(self._origin, await asyncio.to_thread(self._load_seeds), history.rotations)
        return history

    def _published(self, epoch: int) -> Signed | None:
        """The published checkpoint, if one of our keys signed it; one that is damaged is made anew."""
        assert self._keys is not None, "keys are loaded first"
        note = self._folder.note(epoch)
        if note is None:
            return None
        known = self._keys.verifiers(epoch)
        try:
            checkpoint = open_checkpoint(note, known).checkpoint
        except (ConsentError, Unreadable) as error:
            _require_our_key(note, known)
            _log.error("published_checkpoint_damaged", epoch=epoch, error=str(error))
            return None
        if epoch_of(self._origin, checkpoint.name) != epoch:
            return None
        return Signed(checkpoint.size, checkpoint.root)

    async def _signed(self, head: Head, name: str, published: Signed | None) -> Signed:
        """What was signed last: the signer's memory, or, where that was lost, what was published."""
        known = await asyncio.to_thread(self._state.last, name)
        if known is None and published is None:
            known = await self._begin_log(head, name)
        if published is None:
            assert known is not None, "a log that is begun is known"
            return known
        if known is None or known.size < published.size:
            return await self._remember(head, name, known, published)
        if known.size == published.size and known.root != published.root:
            raise Damaged("forked", f"two trees of {known.size} events of {name} were signed")
        return known

    async def _remember(self, head: Head, name: str, known: Signed | None, published: Signed) -> Signed:
        """Give the signer back what it forgot: its own signature on the published checkpoint says it."""
        _log.error("signer_forgot", log=name, size=published.size)
        if known is None:
            await asyncio.to_thread(self._state.begin, name, head.now, published)
            return published
        await self._require_prefix(head.epoch, known, published)
        await asyncio.to_thread(self._state.swap, name, known, published, head.now)
        return published

    async def _begin_log(self, head: Head, name: str) -> Signed:
        """Begin a log of which nothing is known: because we are told to, or as the next epoch."""
        if not self._begin:
            history = await self._reload_keys()
            continued = next((one for one in history.continued if one.epoch == head.epoch), None)
            if continued is None or head.epoch == 1:
                raise NotBegun(name)
            await self._require_continued(head, continued)
        _log.info("log_begun", log=name)
        await asyncio.to_thread(self._state.begin, name, head.now)
        return NOTHING_SIGNED

    async def _require_continued(self, head: Head, continued: LogContinued) -> None:
        """The tree that the new epoch continues must be what the older one signed, as far as both go.

        Where the older one's tiles are gone, nothing proves it: whoever knows better says `--begin`.
        """
        older = log_name(self._origin, head.epoch - 1)
        last = await asyncio.to_thread(self._state.last, older)
        kept = Signed(int(continued.size), continued.root)
        growth, _ = await self._fold(kept.size)
        if growth.root() != kept.root:
            raise Damaged(
                "continuation_false",
                f"log-continued names a tree of {kept.size} events that the ledger does not begin with",
            )
        if last is None:
            raise NotBegun(log_name(self._origin, head.epoch))
        if last.size > kept.size:
            await self._require_prefix(head.epoch - 1, kept, last)
            return
        growth, _ = await self._fold(last.size)
        if growth.root() != last.root:
            raise Damaged("forked", f"epoch {head.epoch} does not begin with what {older} signed: {RECOVER}")

    async def _require_prefix(self, epoch: int, part: Signed, whole: Signed) -> None:
        """By the tiles of the epoch, the tree `whole` must begin with the tree `part`."""

        def verify() -> None:
            subtree = TileHashes(lambda tile: self._folder.read_tile(epoch, tile), whole.size)
            proof = consistency(subtree, 0, part.size, whole.size)
            verify_consistency(0, part.size, whole.size, proof, part.root, whole.root)

        try:
            await asyncio.to_thread(verify)
        except (ProofInvalid, Unreadable, ConsentError) as error:
            raise Damaged(
                "forked",
                f"nothing proves that the tree of {whole.size} events begins with the one of {part.size}: "
                f"{error}",
            ) from error

    # -- tiles

    async def _growth(self, epoch: int, signed: Signed) -> Growth:
        """The right edge of the signed tree, from its tiles; all of them are made again if one is missing."""

        def read() -> Growth:
            growth = Growth.resume(signed.size, lambda tile: self._folder.read_tile(epoch, tile))
            if growth.root() != signed.root:
                raise Unreadable("the tiles at the edge lead to another root than was signed")
            missing = self._folder.missing_tile(epoch, signed.size)
            if missing is not None:
                raise Unreadable(f"{tiles.path(missing)} is missing, or too short")
            return growth

        if self._suspect:
            return await self._repair(epoch, signed)
        try:
            return await asyncio.to_thread(read)
        except (Unreadable, ConsentError) as error:
            if isinstance(error, ConsentError) and error.code == "unavailable":
                raise
            _log.error("tiles_damaged", epoch=epoch, size=signed.size, error=str(error))
        return await self._repair(epoch, signed)

    async def _repair(self, epoch: int, signed: Signed) -> Growth:
        """Make the tiles of the signed tree from the events, once those are proven to be the right ones."""
        growth, differing = await self._fold(signed.size, epoch)
        if growth.root() != signed.root:
            first = f"; the first that differs is at position {differing}" if differing else ""
            raise Damaged(
                "event_damaged", f"the events up to {signed.size} lead to another root than was signed{first}"
            )
        await self._fold(signed.size, epoch, write=True)
        self._suspect = False
        _log.warning("tiles_repaired", epoch=epoch, size=signed.size)
        return growth

    async def _fold(self, size: int, epoch: int = 0, write: bool = False) -> tuple[Growth, int]:
        """The tree over the first events; with `write` its tiles are written, else the position of the first
        event that does not fit the tiles of the epoch is found (0: none, or they do not say)."""
        growth, differing = Growth(), 0
        while growth.size < size:
            entries = await self._entries(growth.size, min(CHUNK_EVENTS, size - growth.size))
            made = list(growth.add([entry.body for entry in entries]))
            if growth.size == size:
                made += growth.edge()
            if write:
                await asyncio.to_thread(self._folder.write_tiles, epoch, made)
            elif epoch and not differing:
                differing = await asyncio.to_thread(_first_difference, self._folder, epoch, made)
        return growth, differing

    async def _grow(self, log: _Log, size: int) -> None:
        """Append events up to `size`, and write the tiles: full ones as they come, the edge at the end."""
        growth = log.growth
        while growth.size < size:
            entries = await self._entries(growth.size, min(CHUNK_EVENTS, size - growth.size))
            if any(entry.stream == LOG_STREAM for entry in entries):
                self._keys = None
            made = list(growth.add([entry.body for entry in entries]))
            if growth.size == size:
                made += growth.edge()
            await asyncio.to_thread(self._write, log.epoch, made)

    def _write(self, epoch: int, made: list[tuple[Tile, bytes]]) -> None:
        self._folder.write_tiles(epoch, made)
        self._folder.drop_partials(epoch, (tile for tile, _ in made if tile.width == WIDTH))

    async def _entries(self, after: int, count: int) -> list[Entry]:
        """The next `count` events, each as it was when it was recorded."""
        entries = await self._store.entries_after(after, count)
        for position, entry in enumerate(entries, after + 1):
            if entry.position != position:
                raise Damaged("event_damaged", f"the event at position {position} is missing")
            if merkle.leaf_hash(entry.body) != entry.leaf_hash:
                raise Damaged(
                    "event_damaged",
                    f"the event at position {position} does not have the hash it was stored with",
                )
        if len(entries) < count:
            position = after + len(entries) + 1
            raise Damaged("event_damaged", f"the event at position {position} is missing, below the head")
        return entries

    async def _require_same_root(self, head: Head, log: _Log) -> None:
        """The tree must be what the head says, or what the head says of its largest parts."""
        found = log.growth.range()
        if merkle.split(head.range)[: len(found)] == found:
            return
        before, _ = await self._fold(log.signed.size)
        if before.root() != log.signed.root:
            raise Damaged(
                "forked",
                f"the ledger does not begin with the {log.signed.size} events that were signed: {RECOVER}",
            )
        raise Damaged(
            "event_damaged",
            f"of the events after {log.signed.size}, up to {log.growth.size}, one was changed: they lead to "
            f"another root than the head of {head.position} says",
        )

    # -- signing

    async def _publish(self, log: _Log, head: Head) -> _Log:
        if self._keys is None or not log.published:
            await self._reload_keys()
        assert self._keys is not None, "they were just loaded"
        keys, growth = self._keys, log.growth
        checkpoint = Checkpoint(log.name, growth.size, growth.root())

        def publish() -> None:
            _keep_keys(self._folder, keys.public(log.epoch))
            subtree = TileHashes(lambda tile: self._folder.read_tile(log.epoch, tile), growth.size)
            signing = keys.signing(log.epoch, head.now)
            note = sign(self._state, checkpoint, subtree, signing, head.now)
            self._publish_note(log.epoch, checkpoint, note)

        await asyncio.to_thread(publish)
        return log._replace(signed=Signed(growth.size, checkpoint.root), published=True)


def next_size(size: int, position: int) -> int:
    """The size to sign next on the way from `size` to the head: the head's, or, where that is far, the
    first size on the way that the head's compact range says something about."""
    reached, bit = 0, 1 << position.bit_length()
    while bit:
        reached += position & bit
        if reached - size >= BACKLOG_EVENTS:
            return reached
        bit >>= 1
    return position


def _require_our_key(note: bytes, known: Sequence[Verifier]) -> None:
    """Raise ConsentError `unavailable` if another key than ours signed a published checkpoint."""
    names = {key.name for key in known}
    hashes = {key.key_hash for key in known}
    try:
        signatures = parse_note(note).signatures
    except ConsentError:
        return
    others = [f"{one.name}+{one.key_hash.hex()}" for one in signatures if one.name in names]
    if others and not any(one.key_hash in hashes for one in signatures):
        raise ConsentError(
            "unavailable",
            f"the published checkpoint is signed by {others[0]}, which is not the key at hand: put that one "
            "back; a key is changed with `consent-ledger keys rotate`",
        )


def _keep_keys(folder: LogFolder, keys: PublicKeys) -> None:
    try:
        if folder.keys(keys.epoch) == keys:
            return
    except ConsentError as error:
        if error.code != "damaged":
            raise
    folder.write_keys(keys)


def _first_difference(folder: LogFolder, epoch: int, made: Sequence[tuple[Tile, bytes]]) -> int:
    """The position of the first event whose hash is not the one in the tiles that are there; 0 if none."""
    for tile, data in made:
        if tile.level != 0:
            continue
        try:
            kept = folder.read_tile(epoch, tile)
        except ConsentError:
            continue
        for at in range(0, min(len(kept), len(data)), merkle.HASH_BYTES):
            if kept[at : at + merkle.HASH_BYTES] != data[at : at + merkle.HASH_BYTES]:
                return tile.index * WIDTH + at // merkle.HASH_BYTES + 1
    return 0


def _require_fits(folder: LogFolder, epoch: int, size: int, index: int) -> None:
    """Raise Unreadable or ConsentError unless a full tile fits its bundle, and each tile above it."""
    bundle = tiles.decode_entries(folder.read_tile(epoch, Tile(tiles.ENTRIES, index, WIDTH)), WIDTH)
    level, data = 0, tiles.tile_bytes(Tile(0, index, WIDTH), folder.read_tile(epoch, Tile(0, index, WIDTH)))
    if tiles.leaf_hashes(bundle) != data:
        raise Unreadable(f"bundle {index} does not fit its hashes")
    while len(data) == WIDTH * merkle.HASH_BYTES:
        level, (index, at) = level + 1, divmod(index, WIDTH)
        count = (size >> (tiles.HEIGHT * level)) - index * WIDTH
        above = Tile(level, index, min(WIDTH, count))
        hash_, data = tiles.reduce_tile(data), tiles.tile_bytes(above, folder.read_tile(epoch, above))
        if data[at * merkle.HASH_BYTES : (at + 1) * merkle.HASH_BYTES] != hash_:
            raise Unreadable(f"tile {index} of level {level} does not fit the one below")
