"""`consent-projector run`: a consumer for each view, and the relay, until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from consent_plumbing.nats import COMMITTED_SUBJECT, Bus
from consent_plumbing.postgres import Pool, open_pool
from consent_plumbing.process import EXIT_OK, run_until_stopped, stop_on_signals

from consent_projector import relay
from consent_projector.clock import MonotonicClock
from consent_projector.consumer import Consumer
from consent_projector.hints import Hints
from consent_projector.jetstream import JetStream
from consent_projector.metrics import Metrics
from consent_projector.owners import owner_name
from consent_projector.proofreading import Proofreader, keep_proofreading
from consent_projector.relay import Relay
from consent_projector.runner import keep_running
from consent_projector.seams import Unavailable
from consent_projector.settings import ProjectorSettings
from consent_projector.store import ROLE, PostgresStore
from consent_projector.table import Table
from consent_projector.views import VIEWS
from consent_projector.views.facts import FACTS

CONNECTIONS_MAX = 8
RELEASE_SECONDS_MAX = 2.0

_log = structlog.get_logger()


async def run(settings: ProjectorSettings, names: Sequence[str], events_max: int) -> int:
    """Run a consumer for each name until SIGTERM or SIGINT, then give their leases back."""
    stop = stop_on_signals()
    metrics = Metrics()
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)
    pool = await open_pool(settings.database_url, "consent-projector", CONNECTIONS_MAX, role=ROLE)
    bus = Bus(settings.nats_url, "consent-projector")
    hints = Hints(settings.origin)
    await bus.hint(COMMITTED_SUBJECT, hints.offer)
    consumers = [_consumer(name, settings, pool, bus, hints, events_max) for name in dict.fromkeys(names)]
    _log.info("started", views=[each.sink.name for each in consumers])
    try:
        running = [keep_running(each, hints, metrics) for each in consumers]
        if FACTS.name in names:
            running.append(keep_proofreading(Proofreader(pool), metrics))
        await run_until_stopped(stop, *running)
    finally:
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS_MAX):
                await asyncio.gather(*(each.release() for each in consumers))
        await bus.close()
        pool.terminate()
    _log.info("stopped")
    return EXIT_OK


def _consumer(
    name: str, settings: ProjectorSettings, pool: Pool, bus: Bus, hints: Hints, events_max: int
) -> Consumer:
    store, clock = PostgresStore(pool), MonotonicClock()
    if name == Relay.name:
        sink = Relay(store, JetStream(bus), clock, settings.relay_from)
        # It takes nothing but the ledger's own rows: what was published cannot be taken back.
        nothing = Hints(settings.origin)
        return Consumer(sink, store, clock, nothing, owner_name(), min(events_max, relay.EVENTS_MAX))
    return Consumer(Table(VIEWS[name], store), store, clock, hints, owner_name(), events_max)
