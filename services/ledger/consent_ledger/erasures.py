"""Erasures: the log says what is erased, and here the key store is brought to obey it.

An erasure is recorded first, and then its keys are destroyed, always by the same step: whoever recorded
one takes it at once, and every process takes it each second. So a crash in between heals by itself, and
so does a restore, of either side:

- An old key store that is put back says how far it had followed, and follows from there. No sealed field
  is opened before it has (`Unsealer` takes the step first), and no process calls itself ready.
- A log that is put back lacks the event that the key store followed last. The keys stay destroyed and
  nothing is sealed on an erased stream. Once the log has begun a new epoch, what it lost for good is
  recorded again from the key store's list; before that it may still be recovered, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
import structlog
from consent_domain.commands import Command, ErasePerson, EraseWorkspace, RepeatErasure
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import PersonErased, RecordedBy, WorkspaceErased
from consent_domain.handle import ids_needed, streams_of
from consent_domain.handlers.checks import id_of
from consent_domain.handlers.erasures import person_of
from consent_domain.handlers.lookups import workspace_stream
from consent_domain.instants import moment_of
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.committer import Committer, Submission, Waiting
from consent_ledger.database import STATEMENTS
from consent_ledger.keystore import Applied, Erasure, KeyStore, Noted
from consent_ledger.outcome import Outcome
from consent_ledger.seams import Ids

POLL_SECONDS = 1.0
ERASURES_A_STEP = 500
REPEATED_BY = RecordedBy(principal="consent-ledger", authentication="service")
"""Who types what the ledger records by itself."""
NOT_APPLIED = "key store: what the log says was erased is not destroyed yet"
LOST = "key store: it knows of erasures that the log has lost; recover the log, or begin a new epoch"

BEFORE_THE_FIRST = Applied(0, "")

_UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_log = structlog.get_logger()


class LogUnreachable(ConsentError):
    """The log cannot be read, so nobody knows whether more was erased."""

    def __init__(self) -> None:
        super().__init__("unavailable", "the log cannot be read now; try again")


class Erasures:
    """What is erased, and the step that makes it so. One a process; several processes do no harm."""

    def __init__(self, pool: Pool, keys: KeyStore, committer: Committer, ids: Ids) -> None:
        self._pool = pool
        self._keys = keys
        self._committer = committer
        self._ids = ids
        self._one_at_a_time = asyncio.Lock()
        self._failure: str | None = NOT_APPLIED

    @property
    def failure(self) -> str | None:
        """What keeps this process from being ready; None once everything erased is destroyed."""
        return self._failure

    async def key_ids(self, command: Command) -> tuple[str, ...]:
        """The keys that stand for whom an erasing command names; none for any other command.

        Raises ConsentError `invalid_id`, `unknown_person` for a ref that never had a key, and what the
        key store raises.
        """
        if isinstance(command, EraseWorkspace):
            stream = workspace_stream(id_of(command.workspace, "workspace"))
            return tuple(await asyncio.to_thread(self._keys.keys_of_stream, stream))
        if isinstance(command, ErasePerson):
            person = person_of(command.person)
            held = await asyncio.to_thread(self._keys.keys_of_person, person)
            if not held and not await asyncio.to_thread(self._keys.erasures_of, person):
                raise ConsentError("unknown_person", "nothing was ever sealed for the person of this ref")
            return tuple(key.key_id for key in held)
        return ()

    async def run(self) -> None:
        """Take the step every second, for ever."""
        while True:
            try:
                await self.apply()
            except ConsentError as error:
                _log.error("erasures_not_applied", error=error.code, detail=error.detail)
            await asyncio.sleep(POLL_SECONDS)

    async def apply(self) -> None:
        """Destroy what the log says is erased and the key store still has.

        Raises ConsentError `unavailable` if the log or the key store cannot be used, `quarantined` for an
        erasure that this version cannot read. Costs a millisecond where there is nothing to do.
        """
        async with self._one_at_a_time:
            try:
                self._failure = await self._apply()
            except LogUnreachable:
                raise  # whatever was known of the log is applied still
            except BaseException:
                self._failure = NOT_APPLIED
                raise

    async def _apply(self) -> str | None:
        known = await asyncio.to_thread(self._keys.applied)
        page = await self._read(known.position)
        if not known.event_id or (page.erasures and page.erasures[0].event_id == known.event_id):
            await self._follow(known, page, None)
            return None
        failure = await self._reconcile(page.epoch)
        if failure is None:
            await asyncio.to_thread(self._keys.erase, (), BEFORE_THE_FIRST)
        # While the log may still be recovered, what was followed before it was put back is kept in mind.
        await self._follow(BEFORE_THE_FIRST, await self._read(0), None if failure is None else known)
        return failure

    async def _follow(self, applied: Applied, page: _Page, remembered: Applied | None) -> None:
        """Apply a page and all after it. `remembered` is kept as what was applied last, if it is given."""
        while True:
            new = [one for one in page.erasures if one.event_id != applied.event_id]
            if new:
                applied = Applied(new[-1].position, new[-1].event_id)
                await asyncio.to_thread(self._keys.erase, new, remembered or applied)
                if remembered is None:
                    for one in new:
                        _log.info("erased", position=one.position, destroyed=len(one.key_ids))
            if len(page.erasures) < ERASURES_A_STEP:
                return
            page = await self._read(applied.position)

    async def _read(self, position: int) -> _Page:
        try:
            async with acquire(self._pool) as connection:
                rows = await connection.fetch(STATEMENTS["erasures_from"], position, ERASURES_A_STEP)
        except _UNREACHABLE as error:
            raise LogUnreachable from error
        if not rows:
            raise LogUnreachable
        epoch = rows[0]["epoch"]
        found = [_erasure(epoch, row["position"], row["body"]) for row in rows if row["body"] is not None]
        return _Page(epoch, found)

    # -- a log that was put back -----------------------------------------------------------------------------

    async def _reconcile(self, epoch: int) -> str | None:
        """Record again what the log has lost for good; what is to be said while it may still be recovered.

        Whatever fails raises, and is tried again from the beginning: what was repeated is not lost any more.
        """
        lost = await self._lost()
        for one in lost:
            if one.epoch < epoch:
                await self._repeat(one)
        waiting = sum(one.epoch >= epoch for one in lost)
        if not waiting:
            return None
        _log.error("erasures_lost_by_log", erasures=waiting)
        return LOST

    async def _lost(self) -> list[Noted]:
        """What the key store's list has and the log has not, each person's keys and each stream once."""
        present = set()
        position = 1
        while True:
            page = await self._read(position)
            present |= {_said(one.event) for one in page.erasures}
            if len(page.erasures) < ERASURES_A_STEP:
                break
            position = page.erasures[-1].position + 1
        noted = await asyncio.to_thread(self._keys.erasures)
        return list({_said(one.event): one for one in noted if _said(one.event) not in present}.values())

    async def _repeat(self, lost: Noted) -> None:
        event = decode(lost.event)
        body, at = event.body, moment_of(event.time)
        if isinstance(body, WorkspaceErased):
            command = RepeatErasure(
                workspace=event.stream.partition("/")[2],
                reason=body.reason,
                approved_by=body.approved_by,
                key_ids=body.key_ids,
                occurred_at=at,
            )
        else:
            assert isinstance(body, PersonErased), "only erasures are noted"
            command = RepeatErasure(person=body.person, key_ids=body.key_ids, occurred_at=at)
        outcome = await self._submit(command)
        if outcome.error_code == "unknown_workspace":
            # The log lost the workspace too: there is nothing left to deny. Nothing is sealed for its id.
            _log.error("erased_workspace_lost_by_log", stream=event.stream)
        elif outcome.error_code:
            raise ConsentError(outcome.error_code, f"an erasure cannot be repeated: {outcome.error_detail}")
        else:
            _log.warning("erasure_repeated", lost=lost.position, position=outcome.last_position)

    async def _submit(self, command: RepeatErasure) -> Outcome:
        waiting = Waiting(1)
        submission = Submission(
            command=command,
            recorded_by=REPEATED_BY,
            role="",
            event_ids=self._ids.next(ids_needed(command)),
            waiting=waiting,
            expected_version=None,
            key=None,
            dry_run=False,
        )
        submission.streams = streams_of(command, None)
        self._committer.submit([submission])
        await waiting.done
        assert submission.outcome is not None, "what was waited for is settled"
        return submission.outcome


class _Page(NamedTuple):
    epoch: int
    erasures: Sequence[Erasure]


def _erasure(epoch: int, position: int, stored: bytes) -> Erasure:
    """Raises Unreadable for an erasure that this version cannot read: nothing may pass over one."""
    event = decode(stored)
    match event.body:
        case PersonErased(person=person, key_ids=key_ids):
            return Erasure(epoch, position, event.id, person, "", tuple(key_ids), stored)
        case WorkspaceErased(key_ids=key_ids):
            return Erasure(epoch, position, event.id, "", event.stream, tuple(key_ids), stored)
    raise Unreadable(f"the event at {position} is no erasure", position=position)


def _said(stored: bytes) -> tuple[str, str, frozenset[str]]:
    """What an erasure says, whenever it was recorded: who or what, and for a person which keys."""
    one = _erasure(0, 0, stored)
    return one.person, one.stream, frozenset(one.key_ids) if one.person else frozenset()
