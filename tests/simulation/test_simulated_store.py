"""The simulated store passes the suite of all stores, so what is proven on it is proven of the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from simulated import Actor, SimulatedStore, World
from store_suite import StoreSuite


class TestSimulatedStore(StoreSuite):
    @pytest_asyncio.fixture
    async def stores(self) -> AsyncIterator[tuple[SimulatedStore, SimulatedStore]]:
        world = World(1, faults=False)
        going = asyncio.create_task(_go_on(world))
        try:
            yield SimulatedStore(world, Actor("one")), SimulatedStore(world, Actor("other"))
        finally:
            going.cancel()
            await asyncio.wait([going])


async def _go_on(world: World) -> None:
    while True:
        await world.go_on()
        await asyncio.sleep(0)
