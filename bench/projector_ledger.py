"""For the projector's benches: a durable PostgreSQL whose ledger holds lawful histories."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

import asyncpg  # noqa: E402
from harness import durable_postgres  # noqa: E402
from ledger_events import Appender, append_all, history  # noqa: E402
from servers import fresh_database, migrated_template  # noqa: E402


class Filled(NamedTuple):
    """A ledger, and a connection with all rights."""

    url: str
    connection: asyncpg.Connection[asyncpg.Record]


@asynccontextmanager
async def filled(events: int, folder: Path) -> AsyncIterator[Filled]:
    """A ledger with that many events, of workspaces with up to 6 each; analysed, as after an import."""
    with TemporaryDirectory(dir=folder, prefix="bench-") as data:
        os.chmod(data, 0o711)  # PostgreSQL's account passes through
        with durable_postgres(Path(data)) as url:
            async with migrated_template(url) as template, fresh_database(url, template) as database:
                connection = await asyncpg.connect(database, command_timeout=600)
                await append_all(Appender(connection), history(events))
                await connection.execute("ANALYZE ledger.events")
                await connection.execute("CHECKPOINT")
                yield Filled(database, connection)
                await connection.close()
