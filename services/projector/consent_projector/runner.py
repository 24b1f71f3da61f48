"""Driving a consumer for ever: at once while there is work, on a hint, else every 250 ms."""

from __future__ import annotations

import asyncio
import random

import structlog

from consent_projector.consumer import Consumer, State, Step
from consent_projector.hints import Hints, wait_for
from consent_projector.metrics import Metrics
from consent_projector.seams import Unavailable

POLL_SECONDS = 0.25
BACK_OFF_SECONDS_MAX = 10.0

_log = structlog.get_logger()


async def keep_running(consumer: Consumer, hints: Hints, metrics: Metrics) -> None:
    """Step until cancelled. No failure ends it: it is logged, counted, and tried again ever more slowly.

    A view that cannot go on falls behind, and what depends on it denies: that is the safe side.
    """
    name, failures = consumer.sink.name, 0
    with structlog.contextvars.bound_contextvars(view=name):
        while True:
            news = hints.news
            try:
                step = await consumer.step()
            except Unavailable as error:
                failures += 1
                _log.warning("unavailable", error=str(error), failures=failures)
            except Exception:
                failures += 1
                _log.exception("step_failed", failures=failures)
            else:
                failures = failures + 1 if step.state is State.REFUSED else 0
                _tell(name, step, metrics)
                if step.state is State.APPLIED:
                    await asyncio.sleep(0)
                elif step.state is not State.REFUSED:
                    await wait_for(news, POLL_SECONDS)
                if not failures:
                    continue
            metrics.failed(name)
            await asyncio.sleep(back_off(failures))


def back_off(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row: 0.05 to 0.1 at first, doubling up to 5 to 10."""
    longest = min(BACK_OFF_SECONDS_MAX, 0.1 * 2.0 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)


def _tell(name: str, step: Step, metrics: Metrics) -> None:
    metrics.stepped(name, step)
    for fault in step.faults:
        _log.error("event_quarantined", position=fault.position, stream=fault.stream, reason=fault.reason)
    if step.state is State.REFUSED:
        _log.info("write_refused", position=step.position)
