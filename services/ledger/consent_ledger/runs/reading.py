"""Registered runs, of the projector's views: they may be some milliseconds behind the log."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import msgspec
from consent_domain.errors import ConsentError
from consent_domain.facts import WorkspaceFacts
from consent_domain.runs import Run
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.runs.sets import holds, set_of
from consent_ledger.time_travel import View

CONTAINER_BITS = 16
LOOK_ROWS = 1_000
DESCENDANTS_MAX = 10_000

unpack_run = msgspec.msgpack.Decoder(Run).decode


class Page(NamedTuple):
    """Runs in the order of their registration; `last` is the position after which to go on, 0 at the end."""

    runs: list[Run]
    last: int


async def runs_after(connection: Connection, purpose: str, after: int, runs_max: int) -> Page:
    """A page of all runs; an empty purpose asks for any."""
    rows = await connection.fetch(STATEMENTS["runs_after"], purpose, after, runs_max)
    last = rows[-1]["position"] if len(rows) == runs_max else 0
    return Page([unpack_run(row["packed"]) for row in rows], last)


async def runs_using(connection: Connection, ordinal: int, purpose: str, after: int, runs_max: int) -> Page:
    """A page of the runs that used the data of the workspace with this ordinal, or may have.

    Cost: about 20 µs for each run that used data of anybody with an ordinal near.
    """
    found: list[Run] = []
    container, low = ordinal >> CONTAINER_BITS, ordinal & 0xFFFF
    while True:
        rows = await connection.fetch(
            STATEMENTS["runs_using_container"], container, low, purpose, after, LOOK_ROWS
        )
        for position, packed, bits in rows:
            after = position
            if bits is None or holds(bits, low):
                found.append(unpack_run(packed))
                if len(found) == runs_max:
                    return Page(found, after)
        if len(rows) < LOOK_ROWS:
            return Page(found, 0)


async def descendants(connection: Connection, names: set[str]) -> list[Run]:
    """All runs that used outputs of these, or outputs of runs that did, and so on.

    Raises ConsentError `too_large` above DESCENDANTS_MAX.
    """
    seen, found, wanted = set(names), list[Run](), set(names)
    while wanted:
        rows = await connection.fetch(STATEMENTS["runs_by_parents"], sorted(wanted))
        runs = [run for row in rows if (run := unpack_run(row["packed"])).id not in seen]
        wanted = {run.id for run in runs}
        seen |= wanted
        found += runs
        if len(found) > DESCENDANTS_MAX:
            raise ConsentError("too_large", f"more than {DESCENDANTS_MAX} runs followed from these")
    return found


async def ancestors(connection: Connection, run: Run) -> list[Run]:
    """All runs whose outputs a run used, directly or not. Raises as `descendants` does."""
    seen, found, wanted = {run.id}, list[Run](), set(run.parents)
    while wanted:
        rows = await connection.fetch(STATEMENTS["runs_by_name"], sorted(wanted))
        seen |= wanted
        runs = [unpack_run(row["packed"]) for row in rows]
        found += runs
        wanted = {parent for one in runs for parent in one.parents} - seen
        if len(found) > DESCENDANTS_MAX:
            raise ConsentError("too_large", f"this run followed from more than {DESCENDANTS_MAX}")
    return found


async def run_named(view: View, name: str) -> Run:
    """A run, folded from its stream: nothing is more recent. Raises ConsentError `unknown_run`."""
    stream = f"run/{name}"
    state = (await view.streams([stream])).get(stream)
    if state is None or state.run is None:
        raise ConsentError("unknown_run", f"there is no run {name!r}")
    return state.run


async def set_kept(pool: Pool, run: Run) -> Any:
    """The set of workspaces that a run names. Raises ConsentError `damaged` if it cannot be had."""
    data = await kept(pool, run.set_sha256)
    try:
        return await asyncio.to_thread(set_of, data)
    except ConsentError as error:
        raise ConsentError("damaged", f"the set of run {run.id} cannot be read: {error.detail}") from error


async def kept(pool: Pool, sha256: str) -> bytes:
    """What is kept under a hash that an event names. Raises ConsentError `damaged` if it is not there."""
    async with acquire(pool) as connection:
        row = await connection.fetchrow(STATEMENTS["read_blob"], bytes.fromhex(sha256))
    if row is None:
        raise ConsentError("damaged", f"what an event names by its SHA-256 {sha256} is not kept")
    body: bytes = row["body"]
    return body


def organisations_of(facts: WorkspaceFacts) -> list[str]:
    """Every organisation that a workspace ever belonged to."""
    return sorted({one.organisation for one in facts.attributes if one.organisation})
