"""The publisher's process: stands by, publishes, asks witnesses, and says how it is."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog
from consent_gate.election import Election
from consent_plumbing.nats import CHECKPOINT_WANTED_SUBJECT, COMMITTED_SUBJECT, Bus
from consent_plumbing.postgres import open_pool
from consent_plumbing.process import EXIT_OK, run_until_stopped, stop_on_signals

from consent_ledger.log.folder import LogFolder, Status
from consent_ledger.log.keys import load_seeds
from consent_ledger.log.metrics import Metrics
from consent_ledger.log.publication import Publication, load_policy
from consent_ledger.log.publisher import SPACING_SECONDS, Publisher, State, Step, Unavailable
from consent_ledger.log.signer import SignerState
from consent_ledger.log.witnesses import Witnesses
from consent_ledger.settings import PublisherSettings
from consent_ledger.store import ROLE, PostgresStore

POLL_SECONDS = 0.25
WANTED_SECONDS_MIN = 0.05
"""However many ask, this much lies between two checkpoints."""
STANDBY_SECONDS = 0.5
TELL_SECONDS = 2.0
CHECK_TILES_SECONDS = 1.0
BACK_OFF_SECONDS_MAX = 5.0
CONNECTIONS_MAX = 2

_log = structlog.get_logger()


async def run(settings: PublisherSettings, begin: bool) -> int:
    """Publish until SIGTERM or SIGINT.

    Raises ConsentError for keys or a policy that are missing or wrong and for a log that was not begun,
    OSError for a metrics port that is taken.
    """
    stop = stop_on_signals()
    folder = LogFolder(settings.log_folder)
    policy_file = Path(settings.witness_policy_file) if settings.witness_policy_file else None
    publication = Publication(folder, load_policy(policy_file))
    witnesses = Witnesses(load_policy(policy_file), publication.add_cosignatures)
    seeds = partial(load_seeds, settings.log_key_path)
    seeds()  # what is wrong with the key is said now
    metrics = Metrics()
    if settings.metrics_port:
        metrics.serve(settings.metrics_port)
    pool = await open_pool(settings.database_url, "consent-ledger publish", CONNECTIONS_MAX, role=ROLE)
    bus = Bus(settings.nats_url, "consent-ledger publish")
    store = PostgresStore(pool)
    state = SignerState(Path(settings.signer_state_file))
    publisher = Publisher(
        folder, store, state, seeds, settings.origin, time.monotonic, publication.publish, begin
    )
    running = Running(folder, publisher, publication, witnesses, metrics)
    await bus.hint(COMMITTED_SUBJECT, running.committed)
    await bus.hint(CHECKPOINT_WANTED_SUBJECT, running.want)
    try:
        await run_until_stopped(stop, running.publish(), witnesses.run())
    finally:
        await bus.close()
        await store.close()
        pool.terminate()
    return EXIT_OK


class Running:
    """Steps again and again, for one loop."""

    def __init__(
        self,
        folder: LogFolder,
        publisher: Publisher,
        publication: Publication,
        witnesses: Witnesses,
        metrics: Metrics,
    ) -> None:
        self._folder = folder
        # Held until the process ends: a thread of a step that was cancelled may still be signing.
        self._election = folder.election()
        self._publisher = publisher
        self._publication = publication
        self._witnesses = witnesses
        self._metrics = metrics
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._told_at = 0.0
        self._checked_at = 0.0
        self._next_tile = 0
        self._offered = (0, -1)
        self._published_at = ""

    def committed(self, _: bytes = b"") -> None:
        """Somebody committed something: do not wait for the next poll."""
        self._news.set()

    def want(self, _: bytes = b"") -> None:
        """Somebody wants a checkpoint now."""
        self._wanted.set()

    async def publish(self) -> None:
        """Stand by until no other process publishes, then publish until cancelled.

        Raises ConsentError if this log was not begun; whatever else fails is tried again.
        """
        await _stand_by(self._election)
        self._metrics.leads()
        await asyncio.to_thread(self._folder.sweep)
        _log.info("publishing")
        failures = 0
        while True:
            try:
                step = await self._step()
            except Unavailable as error:
                failures += 1
                _log.warning("unavailable", error=str(error), failures=failures)
                self._metrics.failed()
                await asyncio.sleep(_back_off(failures))
            else:
                failures = 0
                await self._wait(step)

    async def _step(self) -> Step:
        wanted = self._wanted.is_set()
        self._wanted.clear()
        self._news.clear()
        step = await self._publisher.step(wanted)
        self._metrics.stepped(step)
        if step.state is State.PUBLISHED:
            self._published_at = _now()
        if step.state is not State.HALTED and (step.epoch, step.size) != self._offered:
            await self._offer(step)
        if step.state is State.PUBLISHED or time.monotonic() - self._told_at >= TELL_SECONDS:
            await self._tell(step)
        return step

    async def _offer(self, step: Step) -> None:
        offered = await asyncio.to_thread(self._publication.offered, step.epoch)
        if offered is not None:
            self._witnesses.offer(*offered)
            self._offered = (step.epoch, step.size)

    async def _wait(self, step: Step) -> None:
        """Until there may be something to do."""
        if step.state is State.PUBLISHED and step.size < step.position:
            return
        if step.state is State.PUBLISHED:
            await asyncio.sleep(WANTED_SECONDS_MIN)
            await _until(self._wanted, SPACING_SECONDS - WANTED_SECONDS_MIN)
        elif step.state is State.WAITING:
            await _until(self._wanted, POLL_SECONDS / 5)
        elif step.state is State.HALTED:
            await asyncio.sleep(SPACING_SECONDS)
        else:
            await self._check_tiles()
            if not self._wanted.is_set():
                await _until(self._news, POLL_SECONDS)

    async def _check_tiles(self) -> None:
        if time.monotonic() - self._checked_at >= CHECK_TILES_SECONDS:
            self._next_tile = await self._publisher.check_tiles(self._next_tile)
            self._checked_at = time.monotonic()

    async def _tell(self, step: Step) -> None:
        if step.state is State.HALTED:
            return
        self._told_at = time.monotonic()
        status = Status(
            at=_now(),
            epoch=step.epoch,
            position=step.position,
            size=step.size,
            published_at=self._published_at,
            witnessed_size=await asyncio.to_thread(self._publication.witnessed_size, step.epoch),
            lacking=self._witnesses.lacking,
            witnesses=[witness.status for witness in self._witnesses.witnesses],
        )
        self._metrics.told(status)
        with suppress(OSError):  # the disk is full: what is published stands all the same
            await asyncio.to_thread(self._folder.tell, status)


async def _stand_by(election: Election) -> None:
    standing_by = False
    while not election.lead():
        if not standing_by:
            _log.info("standing_by")
            standing_by = True
        await asyncio.sleep(STANDBY_SECONDS)


async def _until(event: asyncio.Event, seconds_max: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds_max)


def _back_off(failures: int) -> float:
    """Seconds to wait after the n-th failure in a row."""
    return min(BACK_OFF_SECONDS_MAX, 0.1 * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
