"""Snapshots for gates: files of all facts as of one position, made when somebody asks, and kept for a while.

    <sha256>.parquet      what `consent_gate.snapshots` says
    <sha256>.note         its note, signed; there once the file is whole
    making.lock           held by the process of this host that makes one

A snapshot is read in one transaction of the database, by a process of its own: it takes a minute for ten
million workspaces, and nothing else waits for it. The two newest are kept, so that who has begun to
fetch one can go on while the next is there.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog
from consent_domain.errors import ConsentError
from consent_gate.election import Election
from consent_gate.signatures import Signer
from consent_gate.snapshots.note import SnapshotNote, read_note, sign_note
from consent_plumbing.postgres import Pool

from consent_ledger.facts_pages import Stand, read_stand
from consent_ledger.snapshot_making import Made, make_apart
from consent_ledger.watermarks import LedgerTime

KEPT = 2
WAIT_SECONDS_MAX = 15.0
"""How long a request waits for a snapshot that is being made, before it is told to come again."""
LOOK_SECONDS = 0.2
AGAIN_SECONDS = 1
FAILURE_SECONDS = 10.0
"""How long a failure is told again instead of trying again: making one is work, and asking is not."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE, _NOTE, _PARTIAL = ".parquet", ".note", ".partial"

_log = structlog.get_logger()


class Kept(NamedTuple):
    """A snapshot in the folder, and how long it has been there."""

    data: bytes
    note: SnapshotNote
    age_seconds: float


class Snapshots:
    """The snapshots of this host. One for all requests of a process, in its loop."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        pool: Pool,
        signer: Signer,
        age_seconds_max: float,
        require_sound: Callable[[], None],
    ) -> None:
        """A newest one that is older than `age_seconds_max` is followed by another when somebody asks.

        `require_sound` raises ConsentError while nothing may be told to gates.
        """
        self._folder = folder
        self._database_url = database_url
        self._pool = pool
        self._time = LedgerTime()
        self._signer = signer
        self._age_seconds_max = age_seconds_max
        self._require_sound = require_sound
        self._making: asyncio.Task[None] | None = None
        self._failed: tuple[float, ConsentError] | None = None

    async def newest(self) -> bytes:
        """The signed note of a snapshot that is new enough, made now if there is none.

        Raises ConsentError: `unavailable` if it takes longer than 15 s (it goes on, so ask again), if there
        are no facts yet, or they cannot be read or kept; `damaged` while the log is halted.
        """
        begun = time.monotonic()
        while True:
            self._require_sound()
            stand = await read_stand(self._pool, self._time)
            waited = time.monotonic() - begun
            found = await asyncio.to_thread(self._new_enough, stand, waited)
            if found is not None:
                return found
            if waited >= WAIT_SECONDS_MAX:
                raise ConsentError(
                    "unavailable",
                    "a snapshot is being made; ask again",
                    retry_after_seconds=AGAIN_SECONDS,
                    being_made=True,
                )
            await self._made(stand)

    async def path_of(self, sha256: str) -> Path:
        """The file of a snapshot that is kept. Raises ConsentError `not_found`, and `damaged` as above."""
        self._require_sound()
        path = self._folder / f"{sha256}{_FILE}"
        if not _SHA256.fullmatch(sha256) or not await asyncio.to_thread(path.is_file):
            raise ConsentError(
                "not_found", "no such snapshot is kept; GET /v1/feed/snapshot names the newest"
            )
        return path

    async def close(self) -> None:
        """Give up making one."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)

    # -- inside ----------------------------------------------------------------------------------------------

    async def _made(self, stand: Stand) -> None:
        """Wait a moment for the one that is being made; begin to make one if nobody does."""
        if self._making is None or self._making.done():
            if self._failed is not None and time.monotonic() - self._failed[0] < FAILURE_SECONDS:
                raise self._failed[1]
            self._making = asyncio.create_task(self._make(stand))
        await asyncio.wait([self._making], timeout=LOOK_SECONDS)
        if self._making.done() and not self._making.cancelled() and self._making.exception() is not None:
            error = self._making.exception()
            assert isinstance(error, ConsentError), "a task that makes says nothing else"
            raise error

    async def _make(self, stand: Stand) -> None:
        election = Election(self._folder, "making.lock")
        try:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            if not election.lead():
                await asyncio.sleep(LOOK_SECONDS)  # another process of this host makes one
                return
            if await asyncio.to_thread(self._new_enough, stand) is None:
                await self._make_one()
            self._failed = None
        except Exception as error:
            _log.warning("snapshot_not_made", error=str(error))
            told = error if isinstance(error, ConsentError) else _unavailable(error)
            self._failed = (time.monotonic(), told)
            raise told from error
        finally:
            election.resign()

    async def _make_one(self) -> None:
        started = time.monotonic()
        await asyncio.to_thread(self._remove_partials)
        partial = self._folder / f"{os.getpid()}{_PARTIAL}"
        try:
            made = await make_apart(self._database_url, partial)
            if made.origin != self._signer.verifier.name:
                raise ConsentError("other_origin", f"the database holds the ledger {made.origin!r}")
            await asyncio.to_thread(self._keep, partial, made)
        finally:
            await asyncio.to_thread(partial.unlink, missing_ok=True)
        seconds = round(time.monotonic() - started, 3)
        _log.info("snapshot_made", position=made.position, rows=made.rows, bytes=made.bytes, seconds=seconds)

    def _keep(self, partial: Path, made: Made) -> None:
        """The file takes its name, then its note; others but the newest go."""
        note = sign_note(SnapshotNote(*made), self._signer)
        os.replace(partial, self._folder / f"{made.sha256}{_FILE}")
        temporary = self._folder / f"{made.sha256}{_NOTE}{_PARTIAL}"
        temporary.write_bytes(note)
        os.replace(temporary, self._folder / f"{made.sha256}{_NOTE}")
        kept = sorted(self._kept(), key=lambda one: one.age_seconds)[:KEPT]
        names = {f"{one.note.sha256}{suffix}" for one in kept for suffix in (_FILE, _NOTE)}
        for path in self._folder.iterdir():
            if path.suffix in (_FILE, _NOTE) and path.name not in names:
                path.unlink(missing_ok=True)

    def _remove_partials(self) -> None:
        for path in self._folder.glob(f"*{_PARTIAL}"):
            path.unlink(missing_ok=True)

    def _new_enough(self, stand: Stand, waited: float = 0.0) -> bytes | None:
        """The note of the newest snapshot of this log and view, if nothing newer is due. One of a view that
        has only just begun is good for who waited for it, and for nobody else."""
        now = stand.watermark
        for one in sorted(self._kept(), key=lambda one: one.age_seconds):
            note = one.note
            is_ours = (note.origin, note.epoch, note.generation) == (now.origin, now.epoch, stand.generation)
            is_past = note.position <= now.position
            age_max = self._age_seconds_max if note.position or not now.position else waited
            if is_ours and is_past and one.age_seconds < age_max:
                return one.data
        return None

    def _kept(self) -> list[Kept]:
        found = []
        for path in self._folder.glob(f"*{_NOTE}"):
            try:
                data, since = path.read_bytes(), path.stat().st_mtime
                note = read_note(data, self._signer.verifier)
                is_whole = path.with_suffix(_FILE).stat().st_size == note.bytes
            except (ConsentError, OSError):
                continue  # of another key, of another version, or gone
            if is_whole and path.stem == note.sha256:
                found.append(Kept(data, note, abs(time.time() - since)))
        return found


def _unavailable(error: Exception) -> ConsentError:
    return ConsentError("unavailable", f"no snapshot could be made: {type(error).__name__}")
