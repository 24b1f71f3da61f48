"""Rotating the log's key: the next key's file, then the event that both sign from then on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from consent_domain.batch import Committed
from consent_domain.commands import RotateKey
from consent_domain.errors import ConsentError
from consent_domain.events import LOG_STREAM, RecordedBy
from consent_domain.handle import ids_needed, streams_of
from consent_domain.instants import Micros, moment_of, rfc3339
from consent_gate.seeds import make_seed
from consent_gate.signatures import Signer
from consent_plumbing.postgres import open_pool

from consent_ledger.committer import Committer, Submission, Waiting
from consent_ledger.floors import Floors
from consent_ledger.identity import SystemIds
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.guard import Guard
from consent_ledger.log.keys import LogKeys, Rotation, load_seeds, next_file, read_history
from consent_ledger.outcome import Outcome
from consent_ledger.seams import Store, StoreUnavailable
from consent_ledger.settings import LogKeySettings
from consent_ledger.store import ROLE, PostgresStore

OPERATOR = RecordedBy(principal="operator", authentication="shell")
CONNECTIONS_MAX = 2


async def rotate(settings: LogKeySettings, overlap: timedelta) -> RotateKey:
    """Record that the log's key gives way to a new one; what was recorded.

    The new key's file is there before the event is, so that the publisher can sign with it at once. A
    rotation that was interrupted between the two is taken up again. Raises ConsentError `wrong_state`
    while another one's overlap lasts, and for whatever keeps the event from being recorded.
    """
    pool = await open_pool(settings.database_url, "consent-ledger keys", CONNECTIONS_MAX, role=ROLE)
    store = PostgresStore(pool)
    try:
        head = await store.read_head()
        rotations = read_history(await store.events_of_stream(LOG_STREAM)).rotations
        seeds = _next_seed(settings.log_key_path, settings.origin, rotations, head.now)
        command = RotateKey(
            old_key=LogKeys(settings.origin, seeds, rotations).newest,
            new_key=str(Signer(settings.origin, seeds[-1]).verifier),
            overlap_until=_after(head.now, overlap),
        )
        outcome = await record(store, settings, command)
    except StoreUnavailable as error:
        raise ConsentError("unavailable", f"the ledger cannot be read: {error}") from error
    finally:
        await store.close()
        pool.terminate()
    if outcome.status != "applied":
        raise ConsentError(
            outcome.error_code or "outcome_unknown",
            outcome.error_detail or "the COMMIT was not answered; run the same again",
        )
    return command


def _next_seed(
    path: Path | None, origin: str, rotations: Sequence[Rotation], now: Micros
) -> tuple[bytes, ...]:
    """The seeds at hand, the last of them that of the new key, which is in the log of no rotation yet."""
    seeds = load_seeds(path)
    until = rotations[-1].until if rotations else 0
    if now < until:
        raise ConsentError("wrong_state", f"the last rotation's overlap lasts until {rfc3339(until)}")
    known = {one.new for one in rotations}
    if path is not None:
        following = next_file(path)
        if len(seeds) == 2 and str(Signer(origin, seeds[1]).verifier) in known:
            os.replace(following, path)  # its time has come: the old key signs nothing any more
        make_seed(following)
        seeds = load_seeds(path)
    if len(seeds) != 2:
        raise ConsentError(
            "wrong_state", "CONSENT_LOG_KEY must hold the key and, after a space, the one that follows it"
        )
    if str(Signer(origin, seeds[1]).verifier) in known | {one.old for one in rotations}:
        # Its time is over for ever: were it taken back, no key at all would sign in the end.
        raise ConsentError("wrong_state", "the key that is to follow signed this log before; make a new one")
    return seeds


async def record(store: Store, settings: LogKeySettings, command: RotateKey) -> Outcome:
    """Append an operator's command to the ledger, by a committer of this process's own."""
    guard = Guard(LogFolder(settings.log_folder))
    committer = Committer(
        store,
        settings.origin,
        Floors(lambda: 0),
        _Nobody(),
        _forget,
        require_current=guard.require_current,
    )
    waiting = Waiting(1)
    submission = Submission(
        command=command,
        recorded_by=OPERATOR,
        role="operator",
        event_ids=SystemIds().next(ids_needed(command)),
        waiting=waiting,
        expected_version=None,
        key=None,
        dry_run=False,
    )
    submission.streams = streams_of(command, None)
    committer.submit([submission])
    await asyncio.shield(asyncio.ensure_future(committer.step()))
    assert submission.outcome is not None, "a step settles what it drained"
    return submission.outcome


class _Nobody:
    """Hears of commits, and tells nobody: whoever follows reads PostgreSQL within a moment."""

    async def publish(self, subject: str, payload: bytes) -> bool:
        """See committer.Publisher."""
        return False


def _forget(_: Committed) -> None:
    """There is no replica in this process."""


def _after(now: Micros, overlap: timedelta) -> datetime:
    return moment_of(now) + overlap
