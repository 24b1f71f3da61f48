"""Running until told to stop: signals become an event, tasks end together, exit codes say why."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""Bad arguments or settings: starting again without changing them cannot help."""


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets. Call it inside the running loop of the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run_until_stopped(
    stop: asyncio.Event, *tasks: Coroutine[object, object, None], grace_seconds_max: float = 10.0
) -> None:
    """Run the tasks until `stop` is set or one of them ends; then cancel the rest and wait for them.

    The first failure of a task is raised. A task that returns by itself stops the others without
    failure. What does not end within `grace_seconds_max` of its cancellation raises TimeoutError.
    """
    running = [asyncio.ensure_future(task) for task in tasks]
    waiting = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (waiting, *running):
            task.cancel()
        _, left = await asyncio.wait([waiting, *running], timeout=grace_seconds_max)
    for future in done:
        future.result()
    if left:
        raise TimeoutError(f"{len(left)} tasks did not end within {grace_seconds_max:.0f} s of being told to")
