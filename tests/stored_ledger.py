"""A story in a real PostgreSQL: for tests of what follows it, by its events or by the view of its facts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from consent_domain import merkle
from consent_domain.envelope import decode
from consent_domain.events import BY_NAME
from consent_domain.identifiers import Token
from consent_domain.instants import moment_of
from consent_ledger.opening import claim_origin
from consent_ledger.seams import Row
from consent_ledger.store import PostgresStore
from consent_plumbing.postgres import Pool, acquire, open_pool
from gate_ledger import EPOCH, rows
from scenario import ORIGIN, Ledger, enrolled, workspace


class Stored:
    """A story in PostgreSQL: its events, and the view of facts if it is projected."""

    def __init__(self, url: str, pool: Pool) -> None:
        self.url, self.pool = url, pool
        self.ledger: Ledger = enrolled().given(workspace("w2"))
        self.store = PostgresStore(pool)
        self._versions: dict[str, int] = {}
        self._range: list[bytes] = []
        self.saved = 0

    async def save(self) -> None:
        """Commit what happened since."""
        async with self.store.transaction() as transaction:
            head = await transaction.lock_head()
            new = []
            for body in self.ledger.log[head.position :]:
                event = decode(body)
                self._versions[event.stream] = version = self._versions.get(event.stream, 0) + 1
                leaf = merkle.leaf_hash(body)
                merkle.append(head.position + len(new), self._range, leaf)
                identity = UUID(int=event.position << 64)
                assert event.type in BY_NAME
                new.append(
                    Row(event.stream, version, identity, event.type, moment_of(event.time), body, leaf)
                )
            at = decode(self.ledger.log[-1]).time
            await transaction.append(head, new, [], at, merkle.join(self._range))
            await transaction.commit()
        self.saved = len(self.ledger.log)

    async def project(self) -> None:
        """Bring the view of facts up to what was saved."""
        async with acquire(self.pool) as connection, connection.transaction():
            for row in rows(self.ledger):
                await connection.execute(
                    "INSERT INTO views.facts VALUES ($1, $2, $3, $4) "
                    "ON CONFLICT (kind, id) DO UPDATE SET position = $3, facts = $4",
                    *row,
                )
            await connection.execute(
                "UPDATE views.cursors SET position = $1 WHERE view = 'facts'", self.saved
            )

    def token(self, position: int | None = None, epoch: int = EPOCH, origin: str = ORIGIN) -> Token:
        return Token(origin, epoch, self.saved if position is None else position)


@asynccontextmanager
async def stored_ledger(url: str) -> AsyncIterator[Stored]:
    """The story in a migrated database, its first events saved."""
    pool = await open_pool(url, "gate tests", 4)
    await claim_origin(pool, ORIGIN)
    made = Stored(url, pool)
    await made.save()
    yield made
    await made.store.close()
    pool.terminate()
