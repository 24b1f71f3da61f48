"""One ledger in processes of its own, with customers of all kinds, for gates of both modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio
from consent_gate.gate import Gate
from consent_gate.server_mode import ServerGate
from http_service import Caller, enrol, publish_first_policy
from servers import temporary_folder
from stack import Stack, running_stack, until

PURPOSE = "ranking.train"
AGE_MAX = 60.0
"""Seconds: this host may be busy, and nothing here is about how fast it is."""
OWNER = {"role": "owner", "authority": "verified"}
ALL = {"all": True}
OPT_OUT = {"selector": ALL, "applicant": OWNER}


class Served(NamedTuple):
    """Where the ledger answers, the keys, and what happened last."""

    url: str
    keys: dict[str, str]
    position: int


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with temporary_folder() as folder, running_stack(folder, workers=1) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def served(stack: Stack) -> Served:
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        call = Caller(client, stack.keys)
        await publish_first_policy(call)
        return Served(stack.url, stack.keys, await _customers(call))


async def _customers(call: Caller) -> int:
    """Some who permit, and some who have a record and permit nothing; the position of the last event."""
    for name in ("acme", "second", "asked-out", "out", "asked-in", "elsewhere"):
        await enrol(call, name)
    await enrol(call, "play", kind="sandbox")
    for name in ("asked-out", "out"):
        told = await call.done("POST", f"/v1/workspaces/{name}/opt-outs", json=OPT_OUT)
    await call.done("POST", f"/v1/requests/{told['request']}/process", json={})
    opting_in = {"keys": ["assistant.train"], "applicant": OWNER}
    told = await call.done("POST", "/v1/workspaces/asked-in/opt-ins", json=opting_in)
    return int(told["position"])


def connected(mode: str, served: Served, folder: Path) -> Gate | ServerGate:
    """A live gate of a mode that knows all customers."""
    key = served.keys["pipeline"]
    gate: Gate | ServerGate
    if mode == "server":
        gate = Gate.connect(served.url, key, purpose=PURPOSE, max_staleness=AGE_MAX, mode="server")
    else:
        gate = Gate.connect(served.url, key, purpose=PURPOSE, max_staleness=AGE_MAX, replica_dir=folder)
    assert gate.wait_until_live(30), gate.status()
    until(lambda: gate.position() >= served.position, "it knows everybody")
    return gate


@pytest.fixture(scope="session", params=["replica", "server"])
def gate(
    request: pytest.FixtureRequest, served: Served, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate | ServerGate]:
    """A gate of either mode, for tests that leave it as it is."""
    with connected(request.param, served, tmp_path_factory.mktemp("replica")) as made:
        yield made


@pytest.fixture(params=["replica", "server"])
def own_gate(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> Gate | ServerGate:
    """A gate of the test's own, which closes it."""
    return connected(request.param, served, tmp_path)
