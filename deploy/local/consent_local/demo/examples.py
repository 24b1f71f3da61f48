"""What the story starts from: the invented vendor's policies and customers, and a file of their data."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from consent_local.children import ServerError

compute: Any = pc
"""The kernels, whose stubs know of no Python number or text beside an array."""
TRAINING_BEGAN = datetime(2023, 9, 15, tzinfo=UTC)
"""When version 2 took effect, which first trained on everybody's data."""
ROWS = 1_000_000
SHARED_EVERY = 40
"""Of how many rows one comes from a channel that two workspaces share."""
_SEED = 20_230_915
_DATA_BEGAN = datetime(2023, 6, 1, tzinfo=UTC)
_PROCESSED_AFTER = timedelta(days=12)


class Customer(NamedTuple):
    """A row of `workspaces.csv`, as far as the story needs it."""

    workspace: str
    kind: str
    plan: str
    region: str
    contract: str
    organisation: str
    since: datetime
    opted_out_at: str
    opted_out_by: str

    @property
    def is_on(self) -> bool:
        """Whether version 2 trains with its data: by its words, without asking the ledger."""
        return self.kind == "production" and not self.contract and not self.opted_out_at


class Examples:
    """The folder `examples/` of the project."""

    def __init__(self, folder: Path) -> None:
        """Raises ServerError if it is not there."""
        self._folder = folder
        if not (folder / "workspaces.csv").is_file():
            raise ServerError(f"{folder} has no workspaces.csv; run this in a clone, or name its examples/")

    def policy(self, name: str) -> dict[str, Any]:
        """The command in `policies/NAME.json`."""
        found: dict[str, Any] = json.loads((self._folder / "policies" / f"{name}.json").read_text())
        return found

    def customers(self) -> list[Customer]:
        """The 10,000 invented customers."""
        with open(self._folder / "workspaces.csv", newline="") as file:
            return [
                Customer(
                    row["workspace"], row["kind"], row["plan"], row["region"], row["contract"],
                    row["organisation"], datetime.fromisoformat(row["customer_since"]),
                    row["opted_out_at"], row["opted_out_by"],
                )
                for row in csv.DictReader(file)
            ]  # fmt: skip


def import_lines(policies: Iterable[dict[str, Any]], customers: list[Customer]) -> list[dict[str, Any]]:
    """The commands that import the past, in an order in which each finds what it depends on."""
    organisations = sorted({customer.organisation for customer in customers if customer.organisation})
    return [
        *policies,
        *({"command": "import-organisation", "organisation": name} for name in organisations),
        *map(_import_line, customers),
    ]


def _import_line(customer: Customer) -> dict[str, Any]:
    line: dict[str, Any] = {
        "command": "import-workspace",
        "workspace": customer.workspace,
        "kind": customer.kind,
        "plan": customer.plan,
        "region": customer.region,
        "contract": customer.contract,
        "organisation": customer.organisation,
        "customerSince": rfc3339(customer.since),
    }
    if customer.opted_out_at:
        processed = datetime.fromisoformat(customer.opted_out_at) + _PROCESSED_AFTER
        line["optOuts"] = [
            {
                "selector": {"class": {"processing": "train"}},
                "receivedAt": customer.opted_out_at,
                "processedAt": rfc3339(processed),
                "channel": "email",
                "applicant": {"role": customer.opted_out_by, "authority": "verified"},
            }
        ]
    return {name: value for name, value in line.items() if value != ""}


def rfc3339(moment: datetime) -> str:
    """An aware moment as the API takes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# -- a file of data ------------------------------------------------------------------------------------------


def write_messages(path: Path, customers: list[Customer], until: datetime) -> pa.Table:
    """Write a million messages of all customers to `path`, as a pipeline would find them; the table.

    `workspace_ids` lists the owners of a message: two where it comes from a shared channel.
    """
    random = Random(_SEED)
    offsets = [0, *accumulate(2 if row % SHARED_EVERY == 0 else 1 for row in range(ROWS))]
    owners = pa.array(random.choices(range(len(customers)), k=offsets[-1]))
    names = pa.array([customer.workspace for customer in customers])
    table = pa.table(
        {
            "workspace_ids": pa.ListArray.from_arrays(offsets, names.take(owners)),
            "collected_at": _collected(customers, owners, offsets, until),
            "message": compute.binary_join_element_wise(
                "message", pa.array([str(row) for row in range(ROWS)]), " "
            ),
        }
    )
    pq.write_table(table, path, row_group_size=131_072)
    return table


def _collected(customers: list[Customer], owners: Any, offsets: list[int], until: datetime) -> Any:
    """For each row some time since all its owners are customers."""
    began: list[Any] = [max(one.since, _DATA_BEGAN) for one in customers]
    begins: Any = pa.array(began, pa.timestamp("us", "UTC"))
    begin_of_owner = begins.cast(pa.int64()).take(owners)
    first = begin_of_owner.take(pa.array(offsets[:-1]))
    last = begin_of_owner.take(compute.subtract(pa.array(offsets[1:]), 1))
    begin = compute.max_element_wise(first, last)
    span = compute.subtract(int(until.timestamp() * 1_000_000), begin)
    passed = compute.floor(compute.multiply(compute.random(ROWS, initializer=_SEED), span)).cast(pa.int64())
    return compute.add(begin, passed).cast(pa.timestamp("us", "UTC"))


def count_with(table: pa.Table, workspace: str) -> int:
    """In how many rows the workspace is an owner."""
    owners: Any = table["workspace_ids"].combine_chunks()
    rows = compute.list_parent_indices(owners).filter(compute.equal(owners.flatten(), workspace))
    return int(compute.count_distinct(rows).as_py())


def count_permitted(table: pa.Table, on: Iterable[str]) -> int:
    """How many rows belong to none but the workspaces named, and are of data that version 2 covers."""
    owners: Any = table["workspace_ids"].combine_chunks()
    others = compute.invert(compute.is_in(owners.flatten(), value_set=pa.array(sorted(on))))
    denied = compute.unique(compute.list_parent_indices(owners).filter(others))
    covered = compute.greater_equal(
        table["collected_at"], pa.scalar(TRAINING_BEGAN, pa.timestamp("us", "UTC"))
    )
    permitted = compute.invert(compute.is_in(pa.array(range(len(table)), pa.int64()), value_set=denied))
    return int(compute.sum(compute.and_(covered, permitted)).as_py() or 0)
