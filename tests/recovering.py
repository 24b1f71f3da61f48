"""What tests of damage and loss share: a host and its ledger, that can be published, hurt and put back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from consent_domain import merkle
from consent_gate.audit.export import Wanted, export
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trust import Trust
from consent_gate.seeds import read_seed
from consent_gate.signatures import Signer, Verifier
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.keys import load_seeds, make_log_key
from consent_ledger.log.publication import NO_WITNESSES, Publication
from consent_ledger.log.publisher import Publisher, State, Step
from consent_ledger.log.signer import SignerState
from consent_ledger.recovery.backup import backup
from consent_ledger.recovery.fsck import Checked, fsck
from consent_ledger.recovery.recover import Asked, Recovered, recover
from consent_ledger.recovery.restore import restore
from consent_ledger.settings import BackupSettings, RecoverySettings
from consent_ledger.store import PostgresStore
from consent_plumbing.postgres import open_pool
from ledger_events import ORIGIN, Appender, append_all, enrolled, history

NOWHERE = "nats://127.0.0.1:1"


def unseen(done: int, total: int) -> None:
    """Progress that nobody watches."""


class Host:
    """The files of one host, and a database, which may be changed for another one."""

    def __init__(self, folder: Path, database_url: str, nats_url: str = NOWHERE) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database_url = database_url
        self.nats_url = nats_url
        self.log = LogFolder(folder / "log")
        self.state = SignerState(folder / "signer.sqlite")
        self.key_file = folder / "log.key"
        make_log_key(self.key_file, self.state, ORIGIN)
        self._connections: list[asyncpg.Connection[asyncpg.Record]] = []

    @property
    def verifier(self) -> Verifier:
        return Signer(ORIGIN, read_seed(self.key_file, "log key")).verifier

    @property
    def settings(self) -> RecoverySettings:
        return RecoverySettings(
            database_url=self.database_url,
            nats_url=self.nats_url,
            origin=ORIGIN,
            log_key_file=str(self.key_file),
            signer_state_file=str(self.folder / "signer.sqlite"),
            log_folder=str(self.log.path),
        )

    async def publish(self, begin: bool = False) -> Step:
        """As the publisher does, until everything committed is published, or the log is halted."""
        pool = await open_pool(self.database_url, "tests", 2)
        publication = Publication(self.log, NO_WITNESSES)
        publisher = Publisher(
            self.log,
            PostgresStore(pool),
            self.state,
            lambda: load_seeds(self.key_file, {}),
            ORIGIN,
            lambda: 0.0,
            publication.publish,
            begin,
        )
        try:
            while True:
                step = await publisher.step(wanted=True)
                if step.state in (State.IDLE, State.HALTED):
                    return step
        finally:
            pool.terminate()

    async def fsck(self, clear: bool = False) -> Checked:
        return await fsck(self.settings, [], clear, unseen)

    async def backup(self, name: str) -> Path:
        settings = BackupSettings(
            database_url=self.database_url, origin=ORIGIN, log_folder=str(self.log.path)
        )
        await backup(settings, self.folder / name, unseen)
        return self.folder / name

    async def restore(self, source: Path) -> None:
        await restore(self.settings, source, [], unseen)

    async def recover(self, **asked: Any) -> Recovered:
        nothing = {
            "keys": [],
            "exports": [],
            "from_jetstream": False,
            "without_jetstream": self.nats_url == NOWHERE,
            "same_epoch": False,
            "epoch": 0,
            "dry_run": False,
        }
        return await recover(self.settings, Asked(**(nothing | asked)), unseen)

    def export(self, name: str, epoch: int = 1, **wanted: Any) -> Path:
        """What `consent export` makes of the published log."""
        source = FolderSource(self.log.path / str(epoch))
        out = self.folder / name
        export(source, Trust((self.verifier,)), Wanted(ORIGIN, **wanted), out, unseen)
        source.close()
        return out

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A superuser's connection."""
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=60)
        try:
            yield connection
        finally:
            await connection.close(timeout=10)

    async def append(self, count: int, seed: int = 1) -> Appender:
        """A lawful history in an empty ledger, published; the appender goes on with it."""
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=60)
        self._connections.append(connection)
        appender = Appender(connection, seed)
        await append_all(appender, history(count))
        await self.publish()
        return appender

    async def append_more(self, appender: Appender, count: int) -> None:
        """Events that no history so far has, published."""
        first = appender.position
        await append_all(appender, [enrolled(f"more-{first + n}") for n in range(count)])
        await self.publish()

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close(timeout=10)

    async def tamper(self, *statements: str, **values: object) -> None:
        """What a superuser can do whom no trigger stops; `{name}` in a statement is a value."""
        async with self.database() as connection:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement.format(**values))

    async def make_head_fit(self) -> None:
        """The head's range as the events make it, whoever changed them."""
        hashes: list[bytes] = []
        for size, event in enumerate(await self.events()):
            merkle.append(size, hashes, event[7])
        await self.tamper("UPDATE ledger.head SET range = '\\x{range}'", range=merkle.join(hashes).hex())

    async def events(self) -> list[tuple[Any, ...]]:
        """All that is kept of all events, in order."""
        async with self.database() as connection:
            return [tuple(row) for row in await connection.fetch("TABLE ledger.events ORDER BY position")]

    async def head(self) -> tuple[Any, ...]:
        async with self.database() as connection:
            return tuple(await connection.fetchrow("TABLE ledger.head") or ())


def kinds(checked: Checked) -> set[str]:
    return {one.kind for one in checked.findings}


def positions(checked: Checked) -> Sequence[int]:
    return sorted({one.position for one in checked.findings if one.position})
