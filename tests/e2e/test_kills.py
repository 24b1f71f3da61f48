"""Every process is killed under a steady load: nothing acknowledged is lost, nobody is told a wrong yes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from http_service import Caller
from recorded_log import bytes_of_log, head_of, require_gapless_and_proven
from stack import Stack
from steady_load import STALENESS_ASKED, Load, command

BEFORE, AFTER = 40, 80
"""How many commands are answered before a process is killed, and after that."""
OUTAGE_SECONDS = 2.5
AGAIN = 10
"""How many commands are given once more with their Idempotency-Key."""


async def require_recorded_once(load: Load, stack: Stack, call: Caller) -> None:
    """Every acknowledged event is where the answer said, once, also if its command had to be given again."""
    log = await bytes_of_log(call)
    events = require_gapless_and_proven(log, await head_of(stack))
    found = Counter((event["subject"], event["type"]) for event in events)
    for one in load.acknowledged:
        event = events[one.position - 1]
        named = (f"workspace/{one.workspace}", one.type)
        assert (event["subject"], event["type"]) == named
        assert found[named] == 1
    retried = [one for one in load.acknowledged if one.tries > 1]
    for one in [*retried[:AGAIN], *load.acknowledged[-AGAIN:]]:
        path, body, key = command(one.workspace, one.type)
        told = await call.done("POST", path, json=body, headers=key)
        assert (told["replayed"], int(told["firstPosition"])) == (True, one.position)
    assert (await head_of(stack)).position == len(log)


@pytest.mark.parametrize("victim", ["postgres", "nats", "worker", "ledger", "projector"])
async def test_given_load_when_a_process_is_killed_9_then_all_that_was_acknowledged_is_in_the_log(
    stack: Stack, call: Caller, victim: str
) -> None:
    load = Load(stack.url, stack.keys, f"kill-{victim}")
    supervised = "ledger" if victim == "worker" else victim
    workers, restarts = set(stack.workers()), stack.restarts(supervised)
    async with load.going():
        await load.until_acknowledged(BEFORE)
        stack.kill(victim)
        await load.until_acknowledged(AFTER)
    load.require_sound()
    assert stack.restarts(supervised) == restarts + (victim != "worker")
    assert (workers <= set(stack.workers())) == (victim not in ("worker", "ledger"))
    await require_recorded_once(load, stack, call)
    assert any(check.decision == "permit" for check in load.checks)
    assert any(check.code.startswith("opt_out") for check in load.checks)
    if victim in ("postgres", "ledger"):
        assert any(one.tries > 1 for one in load.acknowledged), "nothing was under way when it was killed"


async def test_given_load_when_postgresql_is_gone_for_long_then_checks_permit_while_fresh_and_not_after(
    stack: Stack, call: Caller
) -> None:
    load = Load(stack.url, stack.keys, "outage")
    fresh_seconds = min(one for one in STALENESS_ASKED if one is not None) / 1000
    async with load.going():
        await load.until_acknowledged(BEFORE)
        with stack.unsupervised():
            stack.kill("postgres")
            killed = time.monotonic()
            await asyncio.sleep(OUTAGE_SECONDS)
            ended = time.monotonic()
        await load.until_acknowledged(AFTER)
    load.require_sound()
    await require_recorded_once(load, stack, call)
    outage = [check for check in load.checks if killed < check.sent < ended]
    impatient = [check for check in outage if check.staleness_max == fresh_seconds]
    assert any(check.decision == "permit" for check in outage)
    assert {check.decision for check in outage} <= {"permit", "deny", "undecided"}
    late = [check for check in impatient if check.sent > killed + fresh_seconds]
    assert late and {(check.decision, check.code) for check in late} == {("undecided", "stale")}
    assert not [one for one in load.acknowledged if killed + 0.5 < one.at < ended]


async def test_given_the_loads_so_far_then_every_worker_answered(stack: Stack) -> None:
    load = Load(stack.url, stack.keys, "workers")
    async with load.going():
        await load.until_acknowledged(BEFORE)
    load.require_sound()
    assert len({check.answered_by for check in load.checks}) == 2
