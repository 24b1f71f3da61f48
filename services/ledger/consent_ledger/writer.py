"""The writer: what the API calls to have commands decided and recorded.

Before the queue it makes ids, seals personal data and looks up where a request lives and which keys an
erasure destroys; after the commit it sees to it that they are, and waits, for a command that narrows,
until this host's replica denies too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from uuid import UUID

import msgspec
import structlog
from consent_domain import commands
from consent_domain.commands import Applicant, Command, ErasePerson, EraseWorkspace
from consent_domain.errors import ConsentError
from consent_domain.events import RecordedBy
from consent_domain.handle import ids_needed, primary_stream, streams_of
from msgspec.structs import replace

from consent_ledger.committer import Committer, Submission, Waiting
from consent_ledger.erasures import Erasures
from consent_ledger.key_ring import Principal
from consent_ledger.outcome import Outcome, refused
from consent_ledger.sealing import Sealer
from consent_ledger.seams import Ids, Key, Store, StoreUnavailable

AUTHENTICATION = "api_key"
SUBJECT_FIELD = "requester"
VISIBLE_SECONDS_MAX = 0.25
POLL_SECONDS = 0.002
REQUESTS_MAX = 100_000
MEANWHILE_MAX = 8
"""How often an erasure is repeated for a person who goes on acting while it is recorded."""

NARROWING: frozenset[type[Command]] = frozenset(
    {
        commands.PublishPolicy,
        commands.ChangeWorkspace,
        commands.CloseWorkspace,
        commands.SucceedWorkspace,
        commands.RequestOptOut,
        commands.AcknowledgeOptOut,
        commands.ProcessOptOut,
        commands.RefuseOptIn,
        commands.WithdrawOptIn,
        commands.SuspendPurpose,
        commands.EraseWorkspace,
    }
)
"""Commands after which something may be denied that was permitted: their answer says whether it is yet."""

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger()


class Writer:
    """Hands commands to the committer of this process and waits for what became of them."""

    def __init__(
        self,
        committer: Committer,
        store: Store,
        sealer: Sealer,
        erasures: Erasures,
        ids: Ids,
        replica_position: Callable[[], int],
    ) -> None:
        """`replica_position` tells the position of this host's replica: microseconds, no I/O that waits."""
        self._committer = committer
        self._store = store
        self._sealer = sealer
        self._erasures = erasures
        self._ids = ids
        self._replica_position = replica_position
        self._requests: OrderedDict[str, str] = OrderedDict()

    async def write(
        self,
        command: Command,
        principal: Principal,
        *,
        idempotency_key: str | None,
        expected_version: int | None,
        dry_run: bool,
    ) -> Outcome:
        """What became of one command; a refusal is an outcome too.

        Raises ConsentError `overloaded`, or `unavailable` while stopping, if it could not even be queued.
        """
        waiting = Waiting(1)
        submission = await self._prepare(
            command, principal, waiting, idempotency_key, expected_version, dry_run
        )
        await self._settled([submission], waiting)
        (outcome,) = await self._answers([submission])
        return outcome

    async def write_many(
        self,
        many: Sequence[Command],
        principal: Principal,
        *,
        idempotency_keys: Sequence[str] | None,
        dry_run: bool,
    ) -> list[Outcome]:
        """What became of each command, in the order given. Each stands for itself: it is no transaction.

        Raises ConsentError as `write`; then none was queued.
        """
        keys: Sequence[str | None] = idempotency_keys or [None] * len(many)
        waiting = Waiting(len(many))
        submissions = [
            await self._prepare(command, principal, waiting, key, None, dry_run)
            for command, key in zip(many, keys, strict=True)
        ]
        await self._settled(submissions, waiting)
        return await self._answers(submissions)

    async def _settled(self, submissions: Sequence[Submission], waiting: Waiting) -> None:
        self._committer.submit([one for one in submissions if one.outcome is None])
        await waiting.done

    async def stream_of_request(self, request: str) -> str | None:
        """The stream on which a request or opt-in lives, by its id; None if there is none.

        Raises ConsentError `unavailable` if the ledger cannot be read.
        """
        known = self._requests.get(request)
        if known is not None:
            return known
        try:
            identifier = UUID(request)
        except ValueError:
            return None
        if str(identifier) != request:
            return None
        try:
            stream = await self._store.stream_of_request(identifier)
        except StoreUnavailable as error:
            raise ConsentError("unavailable", "the ledger cannot be read now; send it again") from error
        if stream is not None:
            self._remember(request, stream)
        return stream

    def _remember(self, request: str, stream: str) -> None:
        """A request never moves, so what is found once holds for ever."""
        self._requests[request] = stream
        if len(self._requests) > REQUESTS_MAX:
            self._requests.popitem(last=False)

    async def _prepare(
        self,
        command: Command,
        principal: Principal,
        waiting: Waiting,
        key: str | None,
        expected_version: int | None,
        dry_run: bool,
    ) -> Submission:
        """The command ready for the queue; settled already if it can be told now that nothing comes of it."""
        submission = Submission(
            command=command,
            recorded_by=RecordedBy(principal=principal.id, authentication=AUTHENTICATION),
            role=principal.role,
            event_ids=self._ids.next(ids_needed(command)),
            waiting=waiting,
            expected_version=expected_version,
            key=None if key is None or dry_run else Key(principal.id, _digest(key)),
            dry_run=dry_run,
        )
        applicant: Applicant | None = getattr(command, "applicant", None)
        person = self._sealer.ref_of(applicant.subject) if applicant and applicant.subject else ""
        try:
            named = getattr(command, "request", "") or getattr(command, "opt_in", "")
            if named:
                submission.request_stream = await self.stream_of_request(named)
            submission.streams = streams_of(command, submission.request_stream)
            await self._seal(submission)
            if isinstance(command, ErasePerson | EraseWorkspace):
                submission.key_ids = await self._erasures.key_ids(command)
        except ConsentError as error:
            submission.settle(refused(error))
        if submission.key is not None:
            submission.body_hash = _body_hash(submission.command, person)
        return submission

    async def _seal(self, submission: Submission) -> None:
        """Take the applicant's subject out of the command, and seal it. A dry run seals nothing."""
        applicant: Applicant | None = getattr(submission.command, "applicant", None)
        if applicant is None or not applicant.subject:
            return
        stream = primary_stream(submission.command, submission.request_stream)
        if stream is not None and not submission.dry_run:
            submission.sealed = await self._sealer.seal(
                applicant.subject, stream, submission.event_ids[0], SUBJECT_FIELD
            )
        submission.command = replace(submission.command, applicant=replace(applicant, subject=""))

    async def _answers(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """The outcomes; those of commands that narrow say whether this host's replica has reached them."""
        settled: list[Outcome] = []
        reach = 0
        for submission in submissions:
            outcome = submission.outcome
            assert outcome is not None, "what was waited for is settled"
            if _erases(submission, outcome):
                destroyed = await self._destroy(submission, outcome)
                outcome = replace(outcome, answer={**outcome.answer, "destroyed": destroyed})
            settled.append(outcome)
            if outcome.last_position:
                if isinstance(submission.command, commands.RequestOptOut | commands.RequestOptIn):
                    self._remember(str(submission.event_ids[0]), submission.streams[0])
                if type(submission.command) in NARROWING:
                    reach = max(reach, outcome.last_position)
        if not reach:
            return settled
        reached = await self._replica_reaches(reach)
        return [
            replace(outcome, answer={**outcome.answer, "visible": outcome.last_position <= reached})
            if outcome.last_position and type(submission.command) in NARROWING
            else outcome
            for submission, outcome in zip(submissions, settled, strict=True)
        ]

    async def _destroy(self, submission: Submission, outcome: Outcome) -> bool:
        """Whether what an erasure erased is destroyed; if not, it goes on by itself."""
        try:
            await self._erasures.apply()
            if isinstance(submission.command, ErasePerson) and outcome.last_position and not outcome.replayed:
                return await self._erase_meanwhile(submission)
        except ConsentError as error:
            _log.error("erasures_not_applied", error=error.code, detail=error.detail)
            return False
        return True

    async def _erase_meanwhile(self, submission: Submission) -> bool:
        """Erase what the person did on another stream while the erasure waited to be recorded.

        It was sealed under a key that the erasure does not name, as are the keys of somebody with more than
        one erasure can name. So nothing from before the last one can be read. False if it does not end.
        """
        for _ in range(MEANWHILE_MAX):
            key_ids = await self._erasures.key_ids(submission.command)
            if not key_ids:
                return True
            waiting = Waiting(1)
            again = Submission(
                command=submission.command,
                recorded_by=submission.recorded_by,
                role=submission.role,
                event_ids=self._ids.next(ids_needed(submission.command)),
                waiting=waiting,
                expected_version=None,
                key=None,
                dry_run=False,
            )
            again.key_ids = key_ids
            await self._settled([again], waiting)
            await self._erasures.apply()
        return False

    async def _replica_reaches(self, position: int) -> int:
        """Where the replica is once it reached `position`, or after VISIBLE_SECONDS_MAX."""
        deadline = asyncio.get_running_loop().time() + VISIBLE_SECONDS_MAX
        reached = self._replica_position()
        while reached < position and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            reached = self._replica_position()
        return reached


def _erases(submission: Submission, outcome: Outcome) -> bool:
    """Whether somebody is erased by this command, or was before it; a proposal and a dry run erase nobody."""
    if outcome.error_code or outcome.dry_run:
        return False
    return isinstance(submission.command, ErasePerson) or outcome.answer.get("erased") is True


def _digest(key: str) -> str:
    """What is kept of an Idempotency-Key, for ever: clients make keys of addresses and names."""
    return sha256(key.encode()).hexdigest()


def _body_hash(command: Command, person: str) -> bytes:
    """SHA-256 of what the command says. Of the person it takes the ref only: a plain hash can be guessed."""
    return sha256(_encode(command) + person.encode()).digest()
