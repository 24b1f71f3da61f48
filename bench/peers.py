"""One of the checkers that others use, asked as often as it can in a few seconds, by the peers' own Python.

    PEER_PYTHON bench/peers.py openfeature 1000000

Each holds the workspaces that objected, one of a hundred, which is the small and quick way to say it: whom
they were never told of, they permit. Cedar knows no such list, so each workspace is an entity of it.
Prints JSON: `a_second` (by the processor's time), `megabytes` (what holding it took), `seconds` (to load).
"""

from __future__ import annotations

import json
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 3.0
SLICE = 50
OBJECTED_EVERY = 100
PURPOSE = "train"
Check = Callable[[str], bool]


def name(number: int) -> str:
    return f"ws-{number:08d}"


def has_objected(number: int) -> bool:
    return number % OBJECTED_EVERY == 0


def objected(count: int) -> list[str]:
    return [name(number) for number in range(count) if has_objected(number)]


def openfeature(count: int) -> Check:
    """The in-memory provider, whose flag looks into a set."""
    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagResolutionDetails
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    denied = frozenset(objected(count))

    def evaluate(_: object, context: EvaluationContext) -> FlagResolutionDetails[bool]:
        return FlagResolutionDetails(value=context.targeting_key not in denied)

    flag = InMemoryFlag("on", {"on": True, "off": False}, context_evaluator=evaluate)
    api.set_provider(InMemoryProvider({PURPOSE: flag}))
    client = api.get_client()
    return lambda workspace: client.get_boolean_value(
        PURPOSE, False, EvaluationContext(targeting_key=workspace)
    )


def growthbook(count: int) -> Check:
    """A feature with a condition on a saved group."""
    from growthbook import GrowthBook

    off = {"condition": {"id": {"$inGroup": "objected"}}, "force": False}
    features = {PURPOSE: {"defaultValue": True, "rules": [off]}}
    client = GrowthBook(features=features, savedGroups={"objected": objected(count)})

    def check(workspace: str) -> bool:
        client.set_attributes({"id": workspace})
        return bool(client.is_on(PURPOSE))

    return check


def launchdarkly(count: int) -> Check:
    """The SDK without a network, on a file that targets contexts one by one."""
    import ldclient
    from ldclient import Context
    from ldclient.config import Config
    from ldclient.integrations import Files

    flag = {
        "key": PURPOSE,
        "on": True,
        "variations": [True, False],
        "targets": [{"variation": 1, "values": objected(count)}],
        "fallthrough": {"variation": 0},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"flags": {PURPOSE: flag}}, file)
        file.flush()
        source = Files.new_data_source(paths=[file.name])
        ldclient.set_config(Config("none", update_processor_class=source, send_events=False))
        client = ldclient.get()
    return lambda workspace: bool(client.variation(PURPOSE, Context.create(workspace), False))


def cedar(count: int) -> Check:
    """A policy and entities, both parsed before."""
    import cedarpy

    policies = cedarpy.PolicySet.from_str(
        f'permit(principal, action == Action::"{PURPOSE}", resource) when {{ !principal.objected }};'
    )
    told = [
        {"uid": {"type": "W", "id": name(number)}, "attrs": {"objected": has_objected(number)}, "parents": []}
        for number in range(count)
    ]
    entities = cedarpy.Entities.from_json_str(json.dumps(told))
    action, thing = {"type": "Action", "id": PURPOSE}, {"type": "Data", "id": "all"}

    def check(workspace: str) -> bool:
        request = {
            "principal": {"type": "W", "id": workspace},
            "action": action,
            "resource": thing,
            "context": {},
        }
        return bool(cedarpy.is_authorized(request, policies, entities).allowed)

    return check


PEERS = {one.__name__: one for one in (openfeature, growthbook, launchdarkly, cedar)}


def main() -> None:
    logging.disable()
    peer, count = sys.argv[1], int(sys.argv[2])
    before = megabytes()
    began = time.perf_counter()
    check = PEERS[peer](count)
    seconds = time.perf_counter() - began
    held = megabytes() - before
    for number in (0, 1, count // 2 + 1):
        assert check(name(number)) != has_objected(number), f"{peer} is not asked as it should be"
    told = {"a_second": rate(check, count), "megabytes": held, "seconds": seconds}
    print(json.dumps(told))


def rate(check: Check, count: int) -> float:
    """Checks in a second of the processor's time, in the best slice of some seconds."""
    source = random.Random(count)
    asked = [[name(source.randrange(count)) for _ in range(SLICE)] for _ in range(200)]
    best, until, turn = 0.0, time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        began = time.process_time()
        for one in asked[turn % len(asked)]:
            check(one)
        best = max(best, SLICE / max(time.process_time() - began, 1e-9))
        turn += 1
    return best


def megabytes() -> float:
    """The largest that this process has been so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
