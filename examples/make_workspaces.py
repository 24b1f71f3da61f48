"""Print the 10,000 invented workspaces of `workspaces.csv`.

    python examples/make_workspaces.py > examples/workspaces.csv

Seeded, and drawing on `Random.random()` alone, whose sequence Python promises to keep: the same
bytes everywhere. Nobody real is in it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple, TextIO

SEED = 20_230_915
WORKSPACES = 10_000
ORGANISATIONS = 60
IN_ORGANISATIONS = 900
OPTED_OUT = 540
SANDBOXES = 24
NO_TRAINING = 16
PUBLIC_SECTOR = 12

FIRST_CUSTOMER = datetime(2015, 3, 2, 8, tzinfo=UTC)
LAST_CUSTOMER = datetime(2026, 9, 30, 18, tzinfo=UTC)
# Version 2023-09 of the principles, which first trained on everybody's data, and the day of the import.
TRAINING_BEGAN = datetime(2023, 9, 15, tzinfo=UTC)
LAST_OPT_OUT = datetime(2026, 10, 15, tzinfo=UTC)

PLANS = (("free", 46), ("pro", 31), ("business", 17), ("enterprise", 6))
REGIONS = (("us", 41), ("eu", 28), ("uk", 9), ("us-ca", 8), ("apac", 14))
REQUESTERS = (("owner", 78), ("admin", 14), ("privacy_officer", 5), ("member", 3))
_ID_CHARACTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Row(NamedTuple):
    """One workspace. Times are RFC 3339; what does not apply is empty."""

    workspace: str
    kind: str
    plan: str
    region: str
    contract: str
    organisation: str
    customer_since: str
    opted_out_at: str
    opted_out_by: str


def rows() -> list[Row]:
    """The workspaces in the order of becoming customers."""
    random = Random(SEED)
    since = sorted(_between(random, FIRST_CUSTOMER, LAST_CUSTOMER) for _ in range(WORKSPACES))
    chosen = _shuffled(random, WORKSPACES)
    opted_out, sandboxes, no_training, public_sector, organised = (
        set(_take(chosen, count))
        for count in (OPTED_OUT, SANDBOXES, NO_TRAINING, PUBLIC_SECTOR, IN_ORGANISATIONS)
    )
    made = []
    for number, customer_since in enumerate(since):
        plan = _weighted(random, PLANS)
        if number in public_sector:
            plan = "public_sector"
        elif number in organised or number in no_training:
            plan = "enterprise"
        asked_at = asked_by = ""
        if number in opted_out:
            asked_at = _text(_between(random, max(customer_since, TRAINING_BEGAN), LAST_OPT_OUT))
            asked_by = _weighted(random, REQUESTERS)
        made.append(
            Row(
                f"W{number:05d}{''.join(_one(random, _ID_CHARACTERS) for _ in range(5))}",
                "sandbox" if number in sandboxes else "production",
                plan,
                _weighted(random, REGIONS),
                "no_training" if number in no_training else "",
                f"O{1 + int(ORGANISATIONS * random.random() ** 2):03d}" if number in organised else "",
                _text(customer_since),
                asked_at,
                asked_by,
            )
        )
    return made


def write(file: TextIO) -> None:
    """Write all rows as CSV, a header first, lines ended by a line feed alone."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows())


def _one(random: Random, choices: str) -> str:
    return choices[int(random.random() * len(choices))]


def _weighted(random: Random, choices: Sequence[tuple[str, int]]) -> str:
    left = random.random() * sum(weight for _, weight in choices)
    for value, weight in choices:
        left -= weight
        if left < 0:
            return value
    return choices[-1][0]


def _between(random: Random, first: datetime, last: datetime) -> datetime:
    return first + timedelta(seconds=int(random.random() * (last - first).total_seconds()))


def _shuffled(random: Random, count: int) -> list[int]:
    return [number for _, number in sorted((random.random(), number) for number in range(count))]


def _take(from_end_of: list[int], count: int) -> list[int]:
    return [from_end_of.pop() for _ in range(count)]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    write(sys.stdout)
