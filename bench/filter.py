"""The filter of datasets: rows a second, with counts per reason, beside pyarrow's bare semi-join.

    python bench/filter.py

The limit knows the permitted ids beforehand and counts nothing: `is_in` and `filter`, batch by batch.
Ours decides about every workspace first, which is part of its time, and counts each reason. Both go
through the same batches in turns, and the best round of each counts: the cores are shared with others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.facts import (
    Attributes,
    Book,
    Choices,
    OptOut,
    OrganisationFacts,
    Published,
    WorkspaceFacts,
)
from consent_domain.instants import DAY
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_gate.filter import Filter
from consent_gate.formats.columnar import BATCH_ROWS
from consent_gate.verdicts import Verdicts
from harness import Figure, arguments, report

ROWS = 40 * BATCH_ROWS
WORKSPACES = 10_000
OUT_EVERY = 20
ROUNDS = 5
NOW = 20_000 * DAY
PURPOSE = "train"
COUNTED_SHARE_MIN = 1 / 2.2
ALL = Selector(all=True)


class Customers:
    """A snapshot in which every twentieth workspace is out."""

    def __init__(self, count: int) -> None:
        purpose = Purpose(
            key=PURPOSE,
            processing="train",
            reach="global",
            model_class="non_generative",
            recipient="first_party",
            categories=["messages"],
            legal_basis="legitimate_interest",
            justification="To be measured.",
        )
        rules = PolicyRules(purposes=[purpose], rules=[Rule(selector=ALL, regime="opt_out")])
        self.book = Book(policies=(Published("1", 1, DAY, "looser", rules),), opened=2)
        self.all = {f"ws-{number:08}": _facts(number, count) for number in range(count)}

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """The facts of a workspace."""
        return self.all.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        """There is none."""
        return None


def _facts(number: int, count: int) -> WorkspaceFacts:
    since, position = 100 * DAY + number, number + 3
    out = Choices((OptOut("r", ALL, 200 * DAY, count + 9, 2),)) if number % OUT_EVERY == 0 else Choices()
    return WorkspaceFacts(
        "production", position, since, (Attributes(since, position, "pro", "eu", "", ""),), out
    )


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    customers = Customers(WORKSPACES)
    batches = made()
    allowed = pa.array([f"ws-{number:08}" for number in range(WORKSPACES) if number % OUT_EVERY])

    def bare() -> int:
        return sum(
            batch.filter(pc.is_in(batch["workspace_id"], value_set=allowed)).num_rows for batch in batches
        )

    def ours(collected_column: str) -> Callable[[], int]:
        def run() -> int:
            rows = Filter(Verdicts(customers, NOW, PURPOSE), ["workspace_id"], collected_column)
            return sum(rows.apply(batch).num_rows for batch in batches)

        return run

    counted, windowed = ours(""), ours("collected_at")
    assert bare() == counted() == windowed(), "all three keep the same rows"
    best = {run: float("inf") for run in (bare, counted, windowed)}
    for _ in range(ROUNDS):
        for run in best:
            began = time.perf_counter()
            run()
            best[run] = min(best[run], time.perf_counter() - began)
    limit = ROWS / best[bare]
    name = "bare semi-join"
    figures = [
        Figure("bare semi-join, counts nothing", limit, "rows"),
        Figure("counts per reason", ROWS / best[counted], "rows", name, limit, COUNTED_SHARE_MIN),
        Figure("counts per reason, by collection time", ROWS / best[windowed], "rows", name, limit),
    ]
    report(f"Filter, {ROWS:,} rows of {WORKSPACES:,} workspaces", figures, given.folder, given.json)


def made() -> list[pa.RecordBatch]:
    """Rows of random workspaces, each with a collection time after all of them became customers."""
    chosen = random.Random(1)
    names = pa.array([f"ws-{number:08}" for number in range(WORKSPACES)])
    batches = []
    for _ in range(ROWS // BATCH_ROWS):
        numbers = pa.array(chosen.choices(range(WORKSPACES), k=BATCH_ROWS))
        times = pa.array(chosen.choices(range(101 * DAY, NOW, 1_000_003), k=BATCH_ROWS), pa.int64())
        times = times.cast(pa.timestamp("us", "UTC"))
        batches.append(pa.record_batch({"workspace_id": names.take(numbers), "collected_at": times}))
    return batches


if __name__ == "__main__":
    main()
