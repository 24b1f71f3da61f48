"""How many events a second a view's consumer applies, at batches of 64 and 2,000, each batch durable."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import uvloop
from consent_plumbing.postgres import open_pool
from consent_projector.clock import MonotonicClock
from consent_projector.consumer import Consumer, State
from consent_projector.hints import Hints
from consent_projector.store import ROLE, PostgresStore
from consent_projector.table import Table
from consent_projector.views import VIEWS
from harness import Figure, arguments, report
from projector_ledger import Filled, filled

REACH = {64: 15_000.0, 2_000: 37_000.0}
"""As seen in prototypes."""


async def consumed(ledger: Filled, view: str, batch: int) -> float:
    """Events a second from the first to the head."""
    await ledger.connection.execute(f"TRUNCATE views.{view}")
    await ledger.connection.execute("UPDATE views.cursors SET position = 0, owner = ''")
    pool = await open_pool(ledger.url, "bench", connections_max=2, role=ROLE)
    store = PostgresStore(pool)
    consumer = Consumer(Table(VIEWS[view], store), store, MonotonicClock(), Hints("bench"), "bench", batch)
    started, position = time.perf_counter(), 0
    while (step := await consumer.step()).state is State.APPLIED:
        position = step.position
    took = time.perf_counter() - started
    await consumer.release()
    await pool.close()
    return position / took


async def measured(events: int, folder: Path) -> list[Figure]:
    """A figure for each view and size of batch."""
    async with filled(events, folder) as ledger:
        return [
            Figure(
                f"{view}, batches of {batch}",
                await consumed(ledger, view, batch),
                "events",
                reach=REACH[batch],
            )
            for view in VIEWS
            for batch in REACH
        ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--events", type=int, default=60_000)
    asked = parser.parse_args()
    figures = uvloop.run(measured(asked.events, asked.folder))
    title = f"A view's consumer on {asked.events} events; PostgreSQL shares the cores"
    report(title, figures, asked.folder, asked.json)


if __name__ == "__main__":
    main()
