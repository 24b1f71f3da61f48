"""A world in memory, driven by one seed: the store, the views, the messenger, the clock, and their faults.

Every call from a part under test ends at `World.pause`, where the seed decides who goes on next,
who crashes, and what is lost. The parts themselves (committer, consumer, follower, gate) are the
real ones. The simulated store passes the same suite as the real one (tests/store_suite.py).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from consent_domain import merkle
from consent_domain.envelope import decode, encode
from consent_domain.events import LOG_STREAM, LogContinued, RecordedBy
from consent_domain.facts import home_of
from consent_domain.feed import FORMAT, Page, Watermark
from consent_domain.feed import Row as FeedRow
from consent_domain.identifiers import Token
from consent_domain.instants import SECOND, Micros, moment_of
from consent_gate.boot import boot_nanoseconds
from consent_gate.replica import Recorded
from consent_gate.sources import Events, Pages, SourceUnavailable, StartAnew
from consent_ledger.seams import (
    Answered,
    CommitUnknown,
    Head,
    Key,
    Known,
    Row,
    Stored,
    StoreRefused,
    StoreUnavailable,
)
from consent_projector import seams as views
from consent_projector.stored import Stored as Read

ORIGIN = "consent.test/ledger"
START: Micros = 20_000 * 86_400 * SECOND


class Actor:
    """A process under test. What a crashed one awaits never comes; all that it held is given up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True


class World:
    """What outlives every process: the log, the keys, the views; and what happens between them."""

    def __init__(self, seed: int, faults: bool = True) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.now: Micros = START
        self.epoch = 1
        self.log: list[Row] = []
        self._range: list[bytes] = []
        self.histories: dict[int, list[bytes]] = {1: []}
        self.known: dict[Key, tuple[Known, int]] = {}
        self.restores = 0
        self.lock: object | None = None
        self.leases: dict[str, tuple[str, Micros]] = {}
        self.cursors: dict[str, views.Cursor] = {}
        self.tables: dict[str, dict[tuple[object, object], views.Row]] = {}
        self.ears: list[Callable[[bytes], None]] = []
        self._on_the_way: list[bytes] = []
        self._paused: list[tuple[Actor, asyncio.Future[None]]] = []

    # -- scheduling ------------------------------------------------------------------------------------------

    async def pause(self, actor: Actor) -> None:
        """Wait until the seed lets `actor` go on. A crashed one waits for ever."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if actor.alive:
            self._paused.append((actor, future))
        await future

    async def go_on(self) -> bool:
        """Let one of those that wait go on, and everything until it waits again; False if nobody waits."""
        await _until_quiet()
        if not self._paused:
            return False
        _, future = self._paused.pop(self.random.randrange(len(self._paused)))
        self.now += self.random.randrange(1, SECOND // 16)
        future.set_result(None)
        await _until_quiet()
        self._deliver()
        return True

    def crash(self, actor: Actor) -> None:
        """End a process between two lines, wherever it stands."""
        actor.alive = False
        self._paused = [(waiting, future) for waiting, future in self._paused if waiting is not actor]
        if isinstance(self.lock, SimulatedTransaction) and self.lock.actor is actor:
            self.lock = None

    def happens(self, chance: float) -> bool:
        """Whether a fault of that probability strikes now."""
        return self.faults and self.random.random() < chance

    # -- the messenger ---------------------------------------------------------------------------------------

    async def publish(self, subject: str, payload: bytes) -> bool:
        """See consent_ledger.committer.Publisher. Messages are lost, doubled, delayed and reordered."""
        if not self.happens(0.2):
            self._on_the_way += [payload] * (2 if self.happens(0.2) else 1)
        return True

    def _deliver(self) -> None:
        for payload in list(self._on_the_way):
            if not self.happens(0.5):
                self._on_the_way.remove(payload)
                for ear in self.ears:
                    ear(payload)
        self.random.shuffle(self._on_the_way)

    # -- the log ---------------------------------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """The head as last committed."""
        recorded_at = decode(self.log[-1].body).time if self.log else 0
        return Head(ORIGIN, self.epoch, len(self.log), recorded_at, merkle.join(self._range), self.now)

    def record(self, rows: Sequence[Row], answered: Iterable[Answered]) -> None:
        """Make rows and keys durable."""
        for row in rows:
            version = sum(1 for earlier in self.log if earlier.stream == row.stream)
            if row.version != version + 1:
                raise StoreRefused(f"version {row.version} of {row.stream} does not follow {version}")
            merkle.append(len(self.log), self._range, row.leaf_hash)
            self.log.append(row)
            self.histories[self.epoch].append(row.body)
        for one in answered:
            self.known[one.key] = (one.known, one.last)

    def check_versions(self, rows: Sequence[Row]) -> None:
        """Raises StoreRefused if a row's version does not follow its stream's last one."""
        versions: dict[str, int] = {}
        for row in rows:
            last = versions.get(row.stream) or sum(1 for kept in self.log if kept.stream == row.stream)
            if row.version != last + 1:
                raise StoreRefused(f"version {row.version} of {row.stream} does not follow {last}")
            versions[row.stream] = row.version

    def stored(self, after: int, rows_max: int) -> list[Stored]:
        """The next events."""
        rows = self.log[after : after + rows_max]
        return [Stored(after + n, row.stream, row.version, row.body) for n, row in enumerate(rows, 1)]

    def restore(self) -> None:
        """An older backup takes the place of everything, and the log goes on in a new epoch."""
        size = self.random.randint(max(0, len(self.log) - 5), len(self.log))
        lost_head = self.head
        self.log, self._range = self.log[:size], []
        for leaf, row in enumerate(self.log):
            merkle.append(leaf, self._range, row.leaf_hash)
        self.known = {key: kept for key, kept in self.known.items() if kept[1] <= size}
        self.lock = None
        self.restores += 1
        self.epoch += 1
        self.histories[self.epoch] = [row.body for row in self.log]
        self.tables.clear()
        self.cursors = {name: views.Cursor(0, 1) for name in self.cursors}
        self.leases.clear()
        body = LogContinued(
            recorded_by=RecordedBy(principal="operator", authentication="shell"),
            origin=ORIGIN,
            epoch=self.epoch,
            size=str(size),
            root=merkle.root(merkle.split(self.head.range)),
        )
        identifier = UUID(int=self.random.getrandbits(128))
        time = max(self.now, lost_head.recorded_at + 1)
        encoded = encode(size + 1, identifier, ORIGIN, LOG_STREAM, time, body)
        version = sum(1 for row in self.log if row.stream == LOG_STREAM) + 1
        row = Row(
            LOG_STREAM,
            version,
            identifier,
            "log-continued.v1",
            moment_of(time),
            encoded,
            merkle.leaf_hash(encoded),
        )
        self.record([row], [])


async def _until_quiet() -> None:
    # Everything that can run without the world's permission runs until it asks for it.
    for _ in range(3):
        await asyncio.sleep(0)


# -- what the committer writes to ------------------------------------------------------------------------


class SimulatedStore:
    """`consent_ledger.seams.Store` of one process."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SimulatedTransaction]:
        transaction = SimulatedTransaction(self._world, self._actor)
        try:
            yield transaction
        finally:
            transaction.end()

    async def read_head(self) -> Head:
        await self._world.pause(self._actor)
        return self._world.head

    async def events_after(self, after: int, rows_max: int) -> list[Stored]:
        await self._world.pause(self._actor)
        return self._world.stored(after, rows_max)

    async def stream_of_request(self, request: UUID) -> str | None:
        await self._world.pause(self._actor)
        begins = ("opt-out-requested.v1", "opt-in-requested.v1")
        return next((row.stream for row in self._world.log if row.id == request and row.type in begins), None)

    async def analyze(self) -> None:
        await self._world.pause(self._actor)

    async def close(self) -> None:
        self._actor.alive = False


class SimulatedTransaction:
    """`consent_ledger.seams.Transaction`: the world's one lock, and rows that wait for `commit`."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self.actor = actor
        self._restores = world.restores
        self._rows: list[Row] = []
        self._answered: list[Answered] = []

    def end(self) -> None:
        if self._world.lock is self:
            self._world.lock = None

    async def _pause(self) -> None:
        await self._world.pause(self.actor)
        if self._world.restores != self._restores or self._world.happens(0.03):
            self.end()
            raise StoreUnavailable("the connection was lost")

    async def lock_head(self) -> Head:
        await self._pause()
        while self._world.lock is not None:
            await self._pause()
        self._world.lock = self
        return self._world.head

    async def known(self, keys: Sequence[Key]) -> dict[Key, Known]:
        await self._pause()
        return {key: self._world.known[key][0] for key in keys if key in self._world.known}

    async def streams(self, names: Sequence[str]) -> list[Stored]:
        await self._pause()
        found = self._world.stored(0, len(self._world.log))
        return sorted(
            (one for one in found if one.stream in names), key=lambda one: (one.stream, one.version)
        )

    async def book(self) -> list[Stored]:
        await self._pause()
        return [one for one in self._world.stored(0, len(self._world.log)) if _is_everybodys(one.stream)]

    async def events_after(self, after: int, rows_max: int) -> list[Stored]:
        await self._pause()
        return self._world.stored(after, rows_max)

    async def append(
        self,
        head: Head,
        rows: Sequence[Row],
        answered: Sequence[Answered],
        recorded_at: Micros,
        merkle_range: bytes,
    ) -> None:
        await self._pause()
        assert self._world.lock is self, "the head is locked first"
        if head.position != len(self._world.log):
            raise StoreRefused(f"the head is at {len(self._world.log)}, and not at {head.position}")
        self._world.check_versions(rows)
        self._rows, self._answered = list(rows), list(answered)

    async def append_many(self, head: Head, rows: AsyncIterable[Row]) -> int:
        self._rows = [row async for row in rows]
        await self._pause()
        self._world.check_versions(self._rows)
        return len(self._rows)

    async def move_head(self, head: Head, position: int, recorded_at: Micros, merkle_range: bytes) -> None:
        await self._pause()
        if position != head.position + len(self._rows):
            raise StoreRefused(f"{position} is not the position of the last row")

    async def commit(self) -> None:
        world = self._world
        await self._pause()
        applied = not world.happens(0.05)
        if applied:
            world.record(self._rows, self._answered)
        self.end()
        await world.pause(self.actor)  # a crash here is one after COMMIT and before its answer
        if not applied or world.happens(0.05):
            raise CommitUnknown("the answer to COMMIT did not come")


def _is_everybodys(stream: str) -> bool:
    home = home_of(stream)
    return home is not None and home[0] == "book"


# -- what consumers write to -----------------------------------------------------------------------------


class SimulatedViews:
    """`consent_projector.seams.Store` of one process."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor

    async def _pause(self) -> None:
        await self._world.pause(self._actor)
        if self._world.happens(0.05):
            raise views.Unavailable("the connection was lost")

    async def take_lease(self, view: str, owner: str) -> views.Cursor | None:
        await self._pause()
        world = self._world
        holder, until = world.leases.get(view, ("", 0))
        if holder != owner and until > world.now:
            return None
        world.leases[view] = (owner, world.now + int(views.LEASE_SECONDS * SECOND))
        return world.cursors.setdefault(view, views.Cursor(0, 1))

    async def release_lease(self, view: str, owner: str) -> None:
        await self._pause()
        if self._world.leases.get(view, ("", 0))[0] == owner:
            del self._world.leases[view]

    async def events_after(self, position: int, events_max: int) -> list[Read]:
        await self._pause()
        return [Read(one.position, one.stream, one.body) for one in self._world.stored(position, events_max)]

    async def load(self, view: views.View, events: Sequence[Read]) -> list[views.Row]:
        await self._pause()
        if view.keys is None:
            return []
        table = self._world.tables.setdefault(view.name, {})
        return [table[key] for key in zip(*view.keys(events), strict=True) if key in table]

    async def save(
        self,
        view: views.View,
        owner: str,
        cursor: views.Cursor,
        upto: int,
        rows: Sequence[views.Row],
        hashes: Sequence[bytes],
    ) -> bool:
        await self._pause()
        actual = [row.leaf_hash for row in self._world.log[cursor.position : cursor.position + len(hashes)]]
        if not self._holds(view.name, owner, cursor) or actual != list(hashes):
            return False
        self._world.tables.setdefault(view.name, {}).update({(row[0], row[1]): row for row in rows})
        self._move(view.name, owner, cursor, upto)
        await self._world.pause(self._actor)  # a crash here is one after COMMIT and before its answer
        return True

    async def move(self, view: str, owner: str, cursor: views.Cursor, upto: int) -> bool:
        await self._pause()
        if not self._holds(view, owner, cursor):
            return False
        self._move(view, owner, cursor, upto)
        return True

    def _holds(self, view: str, owner: str, cursor: views.Cursor) -> bool:
        world = self._world
        return world.leases.get(view, ("", 0))[0] == owner and world.cursors.get(view) == cursor

    def _move(self, view: str, owner: str, cursor: views.Cursor, upto: int) -> None:
        self._world.cursors[view] = views.Cursor(upto, cursor.generation)
        self._world.leases[view] = (owner, self._world.now + int(views.LEASE_SECONDS * SECOND))


class SimulatedClock:
    """`consent_projector.seams.Clock`, and the committer's."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return (self._world.now - START) / SECOND


# -- what followers ask ----------------------------------------------------------------------------------


class _Asked:
    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor

    async def _pause(self) -> None:
        await self._world.pause(self._actor)
        if self._world.happens(0.05):
            raise SourceUnavailable("no answer")

    def _watermark(self) -> Watermark:
        return Watermark(ORIGIN, self._world.epoch, len(self._world.log), self._world.now)


class SimulatedLog(_Asked):
    """`consent_gate.sources.Source` of the ledger's own host: events, a few at a time."""

    async def ask(self, after: Token | None) -> Events:
        await self._pause()
        position = 0 if after is None else after.position
        events = [Recorded(one.position, one.stream, one.body) for one in self._world.stored(position, 3)]
        if after is not None and after.epoch == self._world.epoch and self._world.happens(0.2):
            return Events(events, None, 0)  # as if heard
        asked = boot_nanoseconds()
        await self._pause()  # the log may move, or be restored, between the two questions
        return Events(events, self._watermark(), asked)


class SimulatedFeed(_Asked):
    """`consent_gate.sources.Source` of a remote gate: pages of the view of facts, two rows each."""

    async def ask(self, after: Token | None) -> Pages | StartAnew:
        asked = boot_nanoseconds()
        await self._pause()
        watermark = self._watermark()
        if after is not None and after.epoch != self._world.epoch:
            return StartAnew("another epoch has begun")
        position = 0 if after is None else after.position
        table = self._world.tables.get("facts", {})
        cursor = self._world.cursors.get("facts", views.Cursor(0, 1))
        through = cursor.position
        changed = sorted(
            (FeedRow(*row) for row in table.values() if int(str(row[2])) > position),  # type: ignore[arg-type]
            key=lambda row: row.position,
        )
        more, rows = len(changed) > 2, changed[:2]
        page = Page(
            FORMAT,
            ORIGIN,
            self._world.epoch,
            cursor.generation,
            position,
            rows[-1].position if more else max(position, through),
            more,
            watermark,
            rows,
        )
        await self._pause()
        return Pages(page, asked)
