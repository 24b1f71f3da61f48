"""Questions about the past of a workspace with 50 events, beside fetching the same rows alone.

.venv/bin/python bench/time_travel.py [--events 50] [--others 20000] [--questions 300] [--json FILE]

The question folds the workspace's events, and what held for everybody, up to a moment of the past; of the
latter as much is kept between questions as the ledger keeps. Positions asked about are drawn at random.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]

from consent_domain.commands import ChangeWorkspace, ImportPolicy, ImportWorkspace, SuspendPurpose  # noqa: E402
from consent_domain.decide import Collected  # noqa: E402
from consent_domain.ever import ever  # noqa: E402
from consent_domain.identifiers import Token  # noqa: E402
from consent_domain.instants import DAY, moment_of  # noqa: E402
from consent_ledger.books import Books  # noqa: E402
from consent_ledger.database import STATEMENTS  # noqa: E402
from consent_ledger.opening import migrate_database  # noqa: E402
from consent_ledger.time_travel import Question, When, answer, viewing  # noqa: E402
from consent_plumbing.postgres import Pool, acquire  # noqa: E402
from harness import arguments, durable_postgres  # noqa: E402
from scenario import START, purpose, rules  # noqa: E402
from table import Row, report  # noqa: E402
from writing import ADMIN, Desk, desk, enrol  # noqa: E402

ORIGIN = "test.local/ledger"
POLICIES, STOPS = 8, 12
KEYS = tuple(f"purpose.{number:02}" for number in range(STOPS))
REACH_MS = 5.0
WORKSPACE = "asked"


async def fill(ledger: Desk, events: int, others: int) -> None:
    """Eight versions of a policy, stops, others' events, and a workspace with a history among them."""
    for number in range(POLICIES):
        published = moment_of(START + number * DAY)
        await ledger.write(
            ImportPolicy(
                version=str(number), title="Principles", text_sha256="ab" * 32, published_at=published,
                effective_at=published, direction="looser", why="so that there are several",
                rules=rules(purposes=tuple(purpose(key) for key in KEYS)),
            )
        )  # fmt: skip
    since = moment_of(START)
    for start in range(0, others, 100):
        many = [
            ImportWorkspace(workspace=f"other-{number}", plan="free", region="eu", customer_since=since)
            for number in range(start, min(start + 100, others))
        ]
        outcomes = await ledger.writer.write_many(many, ADMIN, idempotency_keys=None, dry_run=False)
        assert outcomes[-1].status == "applied", outcomes[-1]
    await ledger.write(enrol(WORKSPACE))
    written = 2  # the enrolment, and the default that it turned on
    for number in range(events - written):
        outcome = await ledger.write(ChangeWorkspace(workspace=WORKSPACE, plan=f"plan-{number}"))
        assert outcome.status == "applied", outcome
        if number % (events // STOPS + 1) == 0:
            stop = SuspendPurpose(purpose=KEYS[number % STOPS], reason="incident")
            assert (await ledger.write(stop)).status == "applied"


async def rows_alone(pool: Pool, position: int) -> None:
    """What any answer needs: the same rows, and nothing made of them."""
    async with acquire(pool) as connection:
        await connection.fetchrow(STATEMENTS["read_head"])
        await connection.fetch(STATEMENTS["events_of_streams_until"], [f"workspace/{WORKSPACE}"], position)


async def took_ms(ask: Callable[[int], Awaitable[object]], positions: list[int]) -> list[float]:
    """Milliseconds of each question, sorted. The first ones prepare statements and are left out."""
    took = []
    for position in (*positions[:20], *positions):
        started = time.perf_counter()
        await ask(position)
        took.append((time.perf_counter() - started) * 1000)
    return sorted(took[20:])


async def measure(url: str, events: int, others: int, questions: int) -> list[Row]:
    await migrate_database(url)
    async with desk(url) as ledger:
        await fill(ledger, events, others)
        books = Books()
        async with viewing(ledger.pool, books, When()) as view:
            last, now = view.token.position, view.at
            own = (await view.streams([f"workspace/{WORKSPACE}"]))[f"workspace/{WORKSPACE}"]
        assert own.version == events, own.version
        assert own.facts is not None
        positions = random.Random(1).choices(range(own.facts.position, last + 1), k=questions)

        async def asked(when: When) -> None:
            collected = Collected(now, now)
            past = await answer(ledger.pool, books, Question((WORKSPACE,), KEYS[0], (), collected, when))
            assert past.decision.policy_version

        async def whether_ever(_: int) -> None:
            async with viewing(ledger.pool, books, When()) as view:
                folded = await view.facts((WORKSPACE,))
            assert ever(folded, WORKSPACE, KEYS[0], view.at).periods

        alone = await took_ms(lambda position: rows_alone(ledger.pool, position), positions)
        rows = []
        for what, ask, reach_ms in (
            ("asOf", lambda _: asked(When(as_of=now)), REACH_MS),
            ("knownAt a token", lambda position: asked(When(known_at=Token(ORIGIN, 1, position))), REACH_MS),
            ("knownAt a time", lambda _: asked(When(known_at=now)), REACH_MS),
            ("was it ever opted in", whether_ever, None),
        ):
            rows.append(_row(f"{what}, {events} events", await took_ms(ask, positions), alone, reach_ms))
        return rows


def _row(what: str, took: list[float], alone: list[float], reach_ms: float | None) -> Row:
    median, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    limit = alone[len(alone) // 2]
    return Row(
        what, median, "ms", "fetching its rows alone", limit,
        "" if reach_ms is None else f"< {reach_ms:.0f} ms", None if reach_ms is None else median < reach_ms,
        f"p99 {p99:.2f} ms; alone {alone[len(alone) * 99 // 100]:.2f} ms",
    )  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--others", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=300)
    asked = parser.parse_args()
    with TemporaryDirectory(dir=asked.folder) as folder, durable_postgres(Path(folder)) as url:
        rows = asyncio.run(measure(url, asked.events, asked.others, asked.questions))
    report("The past of a workspace", rows, asked.folder, asked.json)


if __name__ == "__main__":
    main()
