"""How many events a second a rebuild folds, beside copying the same events out and the same rows in.

The whole rebuild is timed: starting processes, folding, indexes, comparing, switching.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Figure, arguments, report
from projector_ledger import Filled, filled

REACH = 150_000
EVENTS = "SELECT position, stream, body FROM ledger.events"


async def copy_out(ledger: Filled, events: int) -> float:
    """Events a second of one COPY OUT whose bytes are dropped."""

    async def drop(_: bytes) -> None:
        pass

    started = time.perf_counter()
    await ledger.connection.copy_from_query(EVENTS, output=drop, format="binary")
    return events / (time.perf_counter() - started)


async def copy_in(ledger: Filled) -> float:
    """Rows a second of COPY IN of the view's own rows into an empty table with its indexes."""
    rows = await ledger.connection.fetch("TABLE views.facts")
    await ledger.connection.execute("CREATE TABLE copied (LIKE views.facts INCLUDING ALL)")
    started = time.perf_counter()
    await ledger.connection.copy_records_to_table("copied", records=[tuple(row) for row in rows])
    return len(rows) / (time.perf_counter() - started)


async def measured(events: int, processes: int, folder: Path) -> list[Figure]:
    """A figure for each view, beside COPY OUT of the events, and of COPY IN of the rows."""
    # Imported here: a process that folds imports this file again, and needs none of it.
    from consent_projector.rebuild import rebuild
    from consent_projector.views import VIEWS

    async with filled(events, folder) as ledger:
        limit = await copy_out(ledger, events)
        figures = [Figure("limit: COPY OUT of the events", limit, "events")]
        for view in VIEWS.values():
            if view.reads_beside:  # its ordinary consumer builds it
                continue
            started = time.perf_counter()
            result = await rebuild(ledger.url, view, "bench", processes)
            took = time.perf_counter() - started
            assert result.switched, "a view that was never built differs from nothing"
            figures.append(
                Figure(f"rebuild of {view.name}, {result.rows} rows", events / took, "events", reach=REACH)
            )
        figures.append(Figure("limit: COPY IN of the rows of facts", await copy_in(ledger), "rows"))
    return figures


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    figures = asyncio.run(measured(asked.events, asked.processes, asked.folder))
    title = f"Rebuild of {asked.events} events, {asked.processes} processes; PostgreSQL shares the cores"
    report(title, figures, asked.folder, asked.json)


if __name__ == "__main__":
    main()
