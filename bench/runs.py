"""Which runs used a workspace's data, and how long it takes to verify a manifest, beside their limits.

The sets are random halves of all workspaces, which no compression makes small. The limit of the question
is reading the runs themselves by their key; that of a verification, reading its workspaces' facts.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import asyncpg
import table
from consent_domain.envelope import encode
from consent_domain.events import PolicyPublished, RecordedBy, WorkspaceEnrolled
from consent_domain.facts import Attributes, WorkspaceFacts, pack
from consent_domain.instants import micros, moment_of
from consent_domain.manifest import Manifest
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_domain.runs import Run
from consent_ledger.books import Books
from consent_ledger.runs.reading import runs_using
from consent_ledger.runs.verification import verify
from consent_plumbing.postgres import open_pool
from consent_projector.views.exposure import dense_or_sparse
from harness import arguments, durable_postgres
from pyroaring import BitMap64
from servers import fresh_database, migrated_template

QUESTION_MS_MAX = 50.0
BY = RecordedBy(principal="bench", authentication="api_key")
START = datetime(2026, 1, 31, 9, tzinfo=UTC)
ORIGIN = "consent.test/ledger"
ORDINALS_A_WORKSPACE = 2
"""An enrolment is followed by the evidence of its defaults."""
PURPOSE = Purpose(
    key="ranking.train",
    processing="train",
    reach="global",
    model_class="non_generative",
    recipient="first_party",
    categories=["messages"],
    legal_basis="legitimate_interest",
    justification="Search results are ordered.",
)
ENROLLED = WorkspaceEnrolled(
    recorded_by=BY, kind="production", plan="business", region="eu", customer_since=START
)
Connection = Any
EVENT_COLUMNS = ("position", "stream", "version", "id", "type", "recorded_at", "body", "leaf_hash")


async def fill_runs(connection: Connection, runs: int, workspaces: int) -> None:
    """Runs whose sets are random halves of the ordinals up to twice the workspaces."""
    containers = -(-workspaces * ORDINALS_A_WORKSPACE // 65_536)
    some = [dense_or_sparse(random.sample(range(65_536), 32_768))[1] for _ in range(32)]
    for number in range(runs):
        name = f"run-{number:06d}"
        run = Run(name, PURPOSE.key, 1, 1, number + 1, 1, "ab" * 32, "cd" * 32)
        await connection.execute(
            "INSERT INTO views.runs VALUES ($1, $2, '', $3, $3, $4)", name, PURPOSE.key, number + 1, pack(run)
        )
        rows = [(container, name, number + 1, True, random.choice(some)) for container in range(containers)]
        await connection.copy_records_to_table("exposure", schema_name="views", records=rows)
    await connection.execute("ANALYZE views.exposure")
    await connection.execute("ANALYZE views.runs")


async def questions(pool: Any, workspaces: int, repeats: int) -> tuple[float, float, int]:
    """Median milliseconds of the question and of its limit, and how many runs were found."""
    took, bare, found = [], [], 0
    async with pool.acquire() as connection:
        for _ in range(repeats):
            ordinal = random.randrange(workspaces * ORDINALS_A_WORKSPACE)
            started = time.perf_counter()
            page = await runs_using(connection, ordinal, "", 0, 1_000_000)
            took.append(time.perf_counter() - started)
            found = len(page.runs)
            started = time.perf_counter()
            await connection.fetch("SELECT position, packed FROM views.runs ORDER BY position")
            bare.append(time.perf_counter() - started)
    return statistics.median(took) * 1e3, statistics.median(bare) * 1e3, found


async def fill_workspaces(connection: Connection, workspaces: int) -> list[int]:
    """A policy and that many plain workspaces, in the log and in the view; their ordinals."""
    rules = PolicyRules(purposes=[PURPOSE], rules=[Rule(selector=Selector(all=True), regime="opt_out")])
    policy = PolicyPublished(
        recorded_by=BY, version="1", title="Bench", text_sha256="ab" * 32, effective_at=START,
        direction="looser", why="bench", rules=rules,
    )  # fmt: skip
    at = micros(START)
    await connection.execute("UPDATE ledger.head SET origin = $1", ORIGIN)
    bodies: list[tuple[str, Any, str]] = [("policy/principles", policy, "policy-published.v1")]
    ordinals, slice_rows = [], 50_000
    position = 0
    waiting: list[tuple[object, ...]] = []
    facts: list[tuple[object, ...]] = []
    since = at
    for number in range(-1, workspaces):
        position += 1
        stream, body, kind = (
            bodies[0] if number < 0 else (f"workspace/w{number}", ENROLLED, "workspace-enrolled.v1")
        )
        moment = at + position
        identifier = f"00000000-0000-7000-8000-{position:012x}"
        encoded = encode(position, identifier, ORIGIN, stream, moment, body)
        waiting.append(
            (position, stream, 1, identifier, kind, moment_of(moment), encoded, secrets.token_bytes(32))
        )
        if number >= 0:
            ordinals.append(position)
            one = WorkspaceFacts(
                "production", position, since, (Attributes(since, position, "business", "eu", "", ""),)
            )
            facts.append(("workspace", f"w{number}", position, pack(one)))
        if len(waiting) >= slice_rows or number == workspaces - 1:
            await connection.copy_records_to_table(
                "events", schema_name="ledger", columns=EVENT_COLUMNS, records=waiting
            )
            await connection.copy_records_to_table("facts", schema_name="views", records=facts)
            waiting, facts = [], []
    await connection.execute(
        "UPDATE ledger.head SET position = $1, recorded_at = $2, range = $3",
        position,
        moment_of(at + position),
        bytes(32 * position.bit_count()),
    )
    await connection.execute(
        "UPDATE views.cursors SET position = $1, leaf_hash = event.leaf_hash FROM ledger.events AS event"
        " WHERE view = 'facts' AND event.position = $1",
        position,
    )
    for name in ("ledger.events", "views.facts"):
        await connection.execute(f"ANALYZE {name}")
    return ordinals


async def verification(pool: Any, ordinals: list[int]) -> tuple[float, float]:
    """Seconds to verify a manifest of all workspaces, and to read their rows."""
    end = ordinals[-1]
    manifest = Manifest(
        run="bench", purpose=PURPOSE.key, categories=[], token=f"{ORIGIN}/1/{end}",
        at=START + timedelta(microseconds=end + 1), policy_version="1", mode="replica", collected="unstated",
        workspaces=str(len(ordinals)), set_sha256="ab" * 32,
    )  # fmt: skip
    started = time.perf_counter()
    await verify(pool, Books(), manifest, BitMap64(ordinals))
    took = time.perf_counter() - started
    started = time.perf_counter()
    async with pool.acquire() as connection:
        await connection.fetch("SELECT position, id, facts FROM views.facts")
    return took, time.perf_counter() - started


async def measured(runs: int, workspaces: int, repeats: int, folder: Path) -> list[table.Row]:
    """The rows of the table."""
    with TemporaryDirectory(dir=folder, prefix="bench-") as data:
        os.chmod(data, 0o711)  # PostgreSQL's account passes through
        with durable_postgres(Path(data)) as url:
            async with migrated_template(url) as template, fresh_database(url, template) as database:
                connection = await asyncpg.connect(database, command_timeout=600)
                await fill_runs(connection, runs, workspaces)
                ordinals = await fill_workspaces(connection, workspaces)
                await connection.close()
                pool = await open_pool(database, "bench", command_seconds_max=60)
                try:
                    await questions(pool, workspaces, 2)
                    ms, bare_ms, found = await questions(pool, workspaces, repeats)
                    seconds, bare_seconds = await verification(pool, ordinals)
                finally:
                    await pool.close()
    return [
        table.Row(
            f"which runs used W: {runs:,} runs × {workspaces:,} workspaces", ms, "ms",
            "reading the runs", bare_ms, f"≤ {QUESTION_MS_MAX:.0f} ms", ms <= QUESTION_MS_MAX,
            f"{found} found",
        ),
        table.Row(
            f"verify a manifest of {workspaces:,} workspaces", seconds, "s",
            "reading their facts", bare_seconds,
        ),
    ]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--workspaces", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=30)
    asked = parser.parse_args()
    rows = asyncio.run(measured(asked.runs, asked.workspaces, asked.repeats, asked.folder))
    table.report("Runs and whose data they used", rows, asked.folder, asked.json)


if __name__ == "__main__":
    main()
