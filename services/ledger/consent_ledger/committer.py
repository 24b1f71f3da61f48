"""The committer: the one place of a process where events are appended. Its rules:

1. Commands wait on one bounded queue; `step` drains it once and makes one transaction of it.
2. The head is locked first. What is read after that is complete, and nothing else happens under it.
3. Every command has its own verdict: a refused one takes no position and stops no other. Commands of
   one batch see each other's effects.
4. A batch that the store refuses is retried one command at a time, so that one cannot fail the rest.
5. COMMIT is never cancelled. Only if its answer did not come is an outcome `unknown`; the same
   Idempotency-Key settles it. Whatever fails before COMMIT is `not_applied`.
6. What is answered is durable. Floors rise before the answer, hints go out after it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

import structlog
from consent_domain.batch import Committed, encode_committed
from consent_domain.commands import Command
from consent_domain.errors import ConsentError
from consent_domain.events import RecordedBy, Sealed
from consent_domain.handle import Context, handle
from consent_plumbing.nats import COMMITTED_SUBJECT

from consent_ledger import outcome as outcomes
from consent_ledger.floors import Floors
from consent_ledger.log.guard import HeldBack
from consent_ledger.memory import Memory, Tentative
from consent_ledger.numbering import Numbered, Numbering
from consent_ledger.outcome import Outcome
from consent_ledger.seams import (
    Answered,
    Clock,
    CommitUnknown,
    Head,
    Key,
    Known,
    Row,
    Store,
    StoreRefused,
    StoreUnavailable,
    Transaction,
)

QUEUE_MAX = 10_000
BATCH_MAX = 256
WAIT_SECONDS_MAX = 10.0
"""A command that waited longer is given back: its caller has long given up."""
RETRY_AFTER_SECONDS = 1

_log = structlog.get_logger()


class Publisher(Protocol):
    """Who hears of commits (consent_plumbing.nats.Bus)."""

    async def publish(self, subject: str, payload: bytes) -> bool:
        """Hand a message on, best effort: False if it was dropped. Never raises, never waits."""


class Waiting:
    """Somebody who waits for the outcomes of some submissions."""

    __slots__ = ("done", "left")

    def __init__(self, count: int) -> None:
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not count:
            self.done.set_result(None)


class Submission:
    """A command to be decided. Before it is queued its personal data is sealed, and its streams are known."""

    __slots__ = (
        "body_hash",
        "command",
        "dry_run",
        "event_ids",
        "expected_version",
        "key",
        "key_ids",
        "outcome",
        "queued_at",
        "recorded_by",
        "request_stream",
        "role",
        "sealed",
        "streams",
        "waiting",
    )

    def __init__(
        self,
        *,
        command: Command,
        recorded_by: RecordedBy,
        role: str,
        event_ids: Sequence[UUID],
        waiting: Waiting,
        expected_version: int | None,
        key: Key | None,
        dry_run: bool,
    ) -> None:
        self.command = command
        self.recorded_by = recorded_by
        self.role = role
        self.event_ids = event_ids
        self.waiting = waiting
        self.expected_version = expected_version
        self.key = key
        self.dry_run = dry_run
        self.streams: Sequence[str] = ()
        self.request_stream: str | None = None
        self.sealed: Sealed | None = None
        self.key_ids: tuple[str, ...] = ()
        self.body_hash = b""
        self.queued_at = 0.0
        self.outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> None:
        """Give the outcome to whoever waits. Only the first one counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        self.waiting.left -= 1
        if self.waiting.left == 0 and not self.waiting.done.done():
            self.waiting.done.set_result(None)


class Committer:
    """The queue and what drains it. One a process; the head's lock orders several processes."""

    def __init__(
        self,
        store: Store,
        origin: str,
        floors: Floors,
        publisher: Publisher,
        on_committed: Callable[[Committed], None],
        clock: Clock = time.monotonic,
        queue_max: int = QUEUE_MAX,
        batch_max: int = BATCH_MAX,
        require_current: Callable[[Head], None] = lambda head: None,
    ) -> None:
        """`on_committed` is called after each commit with its bytes, so that this host's follower wakes.

        `require_current` raises HeldBack if nothing may be appended behind the locked head.
        """
        self._store = store
        self._origin = origin
        self._floors = floors
        self._publisher = publisher
        self._on_committed = on_committed
        self._clock = clock
        self._queue_max = queue_max
        self._batch_max = batch_max
        self._queue: deque[Submission] = deque()
        self._wakened = asyncio.Event()
        self._stopped = False
        self._require_current = require_current
        self._memory = Memory()

    @property
    def waiting(self) -> int:
        """How many commands are queued."""
        return len(self._queue)

    def submit(self, submissions: Sequence[Submission]) -> None:
        """Queue all of them, in order. Raises ConsentError `overloaded` or `unavailable`, and queues none."""
        if self._stopped:
            raise ConsentError("unavailable", "this process is stopping; send it again")
        if len(self._queue) + len(submissions) > self._queue_max:
            raise ConsentError(
                "overloaded",
                f"{len(self._queue)} commands are waiting; try again in {RETRY_AFTER_SECONDS} s",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        now = self._clock()
        for submission in submissions:
            submission.queued_at = now
        self._queue.extend(submissions)
        self._wakened.set()

    async def run(self) -> None:
        """Drain the queue until cancelled. The batch under way is finished and answered, the rest refused."""
        try:
            while True:
                await self._wakened.wait()
                step = asyncio.ensure_future(self.step())
                try:
                    await asyncio.shield(step)
                except asyncio.CancelledError:
                    await asyncio.wait([step])
                    raise
        finally:
            self._stopped = True
            for submission in self._queue:
                submission.settle(outcomes.unavailable("this process is stopping; send it again"))
            self._queue.clear()

    async def step(self) -> int:
        """Decide and record what is queued now, `batch_max` commands at most; how many were settled."""
        batch = self._drain()
        if batch:
            await self._settle(batch)
        if not self._queue:
            self._wakened.clear()
        return len(batch)

    def _drain(self) -> list[Submission]:
        batch: list[Submission] = []
        oldest = self._clock() - WAIT_SECONDS_MAX
        while self._queue and len(batch) < self._batch_max:
            submission = self._queue.popleft()
            if submission.queued_at < oldest:
                waited = f"it waited more than {WAIT_SECONDS_MAX:.0f} s in the queue; send it again"
                submission.settle(outcomes.refused(ConsentError("overloaded", waited)))
            else:
                batch.append(submission)
        return batch

    async def _settle(self, batch: list[Submission]) -> None:
        """Give every command of the batch its outcome, whatever happens."""
        try:
            await self._record(batch)
        except StoreRefused as error:
            _log.error("batch_refused_by_store", commands=len(batch), error=str(error))
            if len(batch) > 1:
                for submission in batch:
                    await self._settle([submission])
            else:
                batch[0].settle(outcomes.refused(ConsentError("internal", "the store refused its events")))
        except StoreUnavailable as error:
            _log.warning("append_failed", commands=len(batch), error=str(error))
            words = (
                str(error) if isinstance(error, HeldBack) else "the ledger cannot record now; send it again"
            )
            _settle_rest(batch, outcomes.unavailable(words))
        except asyncio.CancelledError:
            _settle_rest(batch, outcomes.unknown())
            raise
        except Exception as error:
            _log.exception("append_failed", commands=len(batch), error=type(error).__name__)
            self._memory = Memory()
            _settle_rest(
                batch, outcomes.refused(ConsentError("internal", "the command could not be decided"))
            )

    async def _record(self, batch: list[Submission]) -> None:
        keys = [submission.key for submission in batch if submission.key is not None]
        async with self._store.transaction() as transaction:
            head = await transaction.lock_head()
            require_origin(head, self._origin)
            self._require_current(head)
            known = await transaction.known(list(dict.fromkeys(keys))) if keys else {}
            await self._memory.catch_up(transaction, head)
            state = await self._state(transaction, batch, known)
            decided = _Batch(head, state, known)
            for submission in batch:
                decided.decide(submission)
            if decided.rows:
                await transaction.append(
                    head,
                    decided.rows,
                    decided.answered,
                    decided.numbering.recorded_at,
                    decided.numbering.head().range,
                )
                try:
                    await transaction.commit()
                except CommitUnknown as error:
                    _log.error("commit_unknown", commands=len(batch), error=str(error))
                    decided.settle_unknown()
                    return
        self._recorded(decided)
        if decided.rows:
            await self._announce(decided)

    async def _state(
        self, transaction: Transaction, batch: list[Submission], known: dict[Key, Known]
    ) -> Tentative:
        names = dict.fromkeys(
            name for submission in batch if submission.key not in known for name in submission.streams
        )
        return Tentative(self._memory.everybody, await self._memory.load(transaction, names))

    def _recorded(self, decided: _Batch) -> None:
        if decided.rows:
            self._memory.adopt(decided.numbering.head(), decided.state)
            for index, row in enumerate(decided.rows, decided.head.position + 1):
                self._floors.raise_floor(row.stream, index)
        decided.settle()

    async def _announce(self, decided: _Batch) -> None:
        head = decided.head
        batch = Committed(head.origin, head.epoch, head.position + 1, tuple(row.body for row in decided.rows))
        try:
            self._on_committed(batch)
        except Exception as error:
            _log.exception("on_committed_failed", error=type(error).__name__)
        for message in encode_committed(batch):
            await self._publisher.publish(COMMITTED_SUBJECT, message)


def require_origin(head: Head, origin: str) -> None:
    """Raises StoreUnavailable if this is not the ledger that the process is meant to write."""
    if head.origin != origin:
        raise StoreUnavailable(f"the ledger's origin is {head.origin!r}, and not {origin!r}")


def _undecided() -> ConsentError:
    return ConsentError("internal", "the command could not be decided; nothing was recorded")


def _settle_rest(batch: list[Submission], outcome: Outcome) -> None:
    for submission in batch:
        submission.settle(outcome)


class _Batch:
    """The commands of one transaction while they are decided, in order."""

    def __init__(self, head: Head, state: Tentative, known: dict[Key, Known]) -> None:
        self.head = head
        self.state = state
        self.numbering = Numbering(head)
        self.rows: list[Row] = []
        self.answered: list[Answered] = []
        self._known = known
        self._log = f"{head.origin}/{head.epoch}"
        self._first: dict[Key, tuple[Submission, Outcome]] = {}
        self._recorded: list[tuple[Submission, Outcome]] = []
        self._unrecorded: list[tuple[Submission, Outcome]] = []

    def decide(self, submission: Submission) -> None:
        """Decide one command; its outcome is kept until the batch is committed. Never raises."""
        try:
            if submission.key is not None and self._settled_before(submission, submission.key):
                return
            self._decide(submission)
        except ConsentError as error:
            self._unrecorded.append((submission, outcomes.refused(error)))
        except Exception as error:
            name = type(submission.command).__name__
            _log.exception("command_not_decided", command=name, error=type(error).__name__)
            self._unrecorded.append((submission, outcomes.refused(_undecided())))

    def _settled_before(self, submission: Submission, key: Key) -> bool:
        """Whether the key was answered before, in the ledger or in this batch. Raises if for another body."""
        known = self._known.get(key)
        if known is not None:
            _require_same_body(submission, known.body_hash)
            self._unrecorded.append((submission, outcomes.replayed(known.outcome)))
            return True
        first = self._first.get(key)
        if first is None:
            return False
        _require_same_body(submission, first[0].body_hash)
        # As uncertain as the first one's: settled only when that is.
        self._recorded.append((submission, outcomes.replayed(outcomes.kept(first[1]))))
        return True

    def _decide(self, submission: Submission) -> None:
        numbering, state = self.numbering, self.state
        now = numbering.next_time
        context = Context(
            now=now,
            event_ids=submission.event_ids,
            recorded_by=submission.recorded_by,
            role=submission.role,
            sealed=submission.sealed,
            expected_version=submission.expected_version,
            request_stream=submission.request_stream,
            next_position=numbering.position + 1,
            key_ids=submission.key_ids,
        )
        verdict = handle(state, submission.command, context)
        numbered = numbering.number(verdict.drafts, state)
        if submission.dry_run or not numbered.rows:
            told = Outcome(status="not_applied", answer=verdict.answer, dry_run=submission.dry_run)
            self._unrecorded.append((submission, told))
            return
        state.fold(numbered.events)
        numbering.accept(numbered)
        self.rows += numbered.rows
        outcome = self._outcome(submission, numbered, verdict.answer)
        self._recorded.append((submission, outcome))
        if submission.key is not None:
            self._first[submission.key] = (submission, outcome)
            known = Known(submission.body_hash, outcomes.kept(outcome))
            self.answered.append(
                Answered(submission.key, known, outcome.first_position, outcome.last_position)
            )

    def _outcome(self, submission: Submission, numbered: Numbered, answer: dict[str, object]) -> Outcome:
        last = numbered.events[-1]
        stream = last.stream
        if len(numbered.rows) > 1:
            primary = submission.event_ids[0]
            stream = next(row.stream for row in numbered.rows if row.id == primary)
        return Outcome(
            status="applied",
            first_position=numbered.events[0].position,
            last_position=last.position,
            token=f"{self._log}/{last.position}",
            recorded_at=last.time,
            answer=answer,
            stream_version=self.state.version(stream),
        )

    def settle(self) -> None:
        """Answer everybody, after the commit (or without one, if there was nothing to record)."""
        for submission, outcome in (*self._unrecorded, *self._recorded):
            submission.settle(outcome)

    def settle_unknown(self) -> None:
        """Answer after a COMMIT that was not answered. A refusal may rest on what it recorded, or not."""
        for submission, _ in self._recorded:
            submission.settle(outcomes.unknown())
        for submission, _ in self._unrecorded:
            submission.settle(outcomes.unavailable("nothing was recorded; send it again"))


def _require_same_body(submission: Submission, body_hash: bytes) -> None:
    if submission.body_hash != body_hash:
        raise ConsentError(
            "idempotency_key_reused",
            "the Idempotency-Key was used for another command; a key stands for one command for ever",
        )
