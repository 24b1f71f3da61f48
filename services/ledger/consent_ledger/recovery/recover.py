"""`consent-ledger recover`: after a restore, everything that can still be had, and then a new epoch.

1. The events that are there must be sound, and what was signed must begin with them.
2. What follows them is taken, byte for byte and in order, from whatever holds it: the published tree of this
   host and exports, which prove each event by what was signed; JetStream, if it is asked for, where nobody
   signed it. Where a root was signed, the events must lead to it.
3. `log-continued` begins the next epoch right behind them: every gate drops what it holds, and denies until
   it has followed. Only if everything that knows of the log says that nothing is gone may the epoch stay.
4. All of it is one transaction. The log is halted until a clean `fsck --clear`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import asyncpg
from consent_domain.checkpoints import epoch_of
from consent_domain.commands import ContinueLog
from consent_domain.errors import ConsentError
from consent_domain.instants import Micros
from consent_domain.proofs import ProofInvalid
from consent_gate.audit.trust import Trust
from consent_plumbing.event_stream import StreamUnavailable, event_stream
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.signer import SignerState
from consent_ledger.recovery.claims import (
    Claim,
    claims_of_host,
    judge,
    sizes_wanted,
    tree_in_folder,
    trust_of,
)
from consent_ledger.recovery.connecting import connected, head_of, require_origin
from consent_ledger.recovery.examination import Begun, Examination, Progress
from consent_ledger.recovery.findings import BEHIND, EVENT_DAMAGED, FORKED, HEAD_DAMAGED, Findings
from consent_ledger.recovery.fsck import RECOVERED, RESTORED, history_of
from consent_ledger.recovery.host_replica import HostReplica
from consent_ledger.recovery.importing import open_export
from consent_ledger.recovery.insertion import Insertion, refused
from consent_ledger.recovery.sources import RelayedEvents, SignedTree, Source
from consent_ledger.seams import Head
from consent_ledger.settings import RecoverySettings
from consent_ledger.store import ROLE

_FATAL = (EVENT_DAMAGED, HEAD_DAMAGED, FORKED)


class Asked(NamedTuple):
    """What the operator wants. `exports` are folders or archives; of JetStream one of the two is said, or
    none: then it must be known that it holds no more than is taken from elsewhere. `epoch` is the one to
    begin; 0: the first that nothing has heard of."""

    keys: list[str]
    exports: list[Path]
    from_jetstream: bool
    without_jetstream: bool
    same_epoch: bool
    epoch: int
    dry_run: bool


class Taken(NamedTuple):
    """Events `first` to `last`, from where."""

    source: str
    first: int
    last: int


class Recovered(NamedTuple):
    """What was found and done. `before` is the head as it was; `position`, `epoch` the end now.

    `size` is where the recovered events end, at ledger time `time`; `signed` how much was ever signed, and
    `known` how much anybody knows of: events between `size` and these are gone. `lost` are streams of
    which this host's replica knows an opt-out among those. `notes` are sentences.
    """

    before: Head
    taken: list[Taken]
    size: int
    time: Micros
    signed: int
    known: int
    position: int
    epoch: int
    lost: list[str]
    dry_run: bool
    notes: list[str]

    @property
    def gone(self) -> int:
        """How many events are gone for certain."""
        return max(self.signed - self.size, self.known - self.size, 0)


async def recover(settings: RecoverySettings, asked: Asked, progress: Progress) -> Recovered:
    """Take back what can be had, and begin the next epoch.

    Raises ConsentError: `damaged` for events that are not sound, ProofInvalid for a ledger that is no earlier
    moment of what was signed, `wrong_state` if the epoch cannot stay; and what asyncpg raises.
    """
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            connected(settings.database_url, "consent-ledger recover", ROLE)
        )
        work = _Recovery(settings, asked, connection)
        await work.look(progress)
        await work.listen(stack)
        try:
            return await work.run(progress)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise refused(error) from error


class _Unchanged(Exception):
    """A dry run ends here, and takes back what it did."""


class _Recovery:
    def __init__(self, settings: RecoverySettings, asked: Asked, connection: Connection) -> None:
        self._settings = settings
        self._asked = asked
        self._connection = connection
        self._folder = LogFolder(settings.log_folder)
        self._state = SignerState(Path(settings.signer_state_file))
        self._claims: list[Claim] = []
        self._sources: list[Source] = []
        self._exports: list[tuple[Claim, SignedTree]] = []
        self._heard = False
        self._relayed: RelayedEvents | None = None
        self._stream_end = 0
        self._stream_differs = False
        self._replica = HostReplica(settings.replica_folder, settings.origin)
        self._notes: list[str] = []
        self._taken: list[Taken] = []

    # -- what there is ---------------------------------------------------------------------------------------

    async def look(self, progress: Progress) -> None:
        """Examine the ledger and open the signed sources."""
        connection, settings = self._connection, self._settings
        findings = Findings()
        history = await history_of(connection, findings)
        trusted = trust_of(settings, self._asked.keys, history.rotations)
        self._claims = claims_of_host(self._folder, self._state, settings.origin, trusted, findings)
        for path in self._asked.exports:
            self._open_export(path, trusted)
        head = await head_of(connection)
        require_origin(head, settings.origin)
        self._head = head = head._replace(origin=settings.origin)
        begun = [Begun(one.epoch, int(one.size)) for one in history.continued]
        sizes = sizes_wanted(self._claims, head, begun) | {head.position}
        examination = Examination(head, sizes, (), findings)
        await examination.run(connection, progress)
        self._examination = examination
        self._notes += judge(self._claims, head, examination.begun, examination.roots, self._folder, findings)
        self._notes += [one.detail for one in findings.told if one.kind not in (BEHIND, *_FATAL)]
        grave = next((one for one in findings.told if one.kind in _FATAL), None)
        if grave is not None:
            raise ConsentError(
                "damaged",
                f"nothing was recovered: {grave.detail}. Restore a backup of another moment, or of this log",
            )
        self._open_published()

    def _open_export(self, path: Path, trusted: Trust) -> None:
        opened = open_export(path, trusted)
        checkpoint, manifest = opened.tree.checkpoint, opened.manifest
        epoch = epoch_of(self._settings.origin, checkpoint.name)
        if epoch is None:
            raise ConsentError("other_origin", f"{path} is an export of {manifest.origin!r}")
        claim = Claim(f"the export {path.name}", epoch, checkpoint.size, checkpoint.root, opened.tree)
        self._claims.append(claim)
        self._exports.append((claim, SignedTree(claim.where, opened.tree, manifest.last)))

    def _open_published(self) -> None:
        """The published tree of the latest epoch, if its tiles are there, and exports of that epoch."""
        latest = self.latest_epoch
        ours = {(one.size, one.root): one for one in self._claims if one.epoch == latest and one.tree is None}
        for _, claim in sorted(ours.items(), reverse=True):
            try:
                tree = tree_in_folder(self._folder, claim)
            except (ConsentError, OSError) as error:
                self._notes.append(f"{claim.where} cannot be used: {error}")
            else:
                self._sources.append(SignedTree("the published tiles", tree, claim.size))
        for claim, source in self._exports:
            if claim.epoch == latest:
                self._sources.append(source)
            else:
                self._notes.append(
                    f"{claim.where} is of epoch {claim.epoch}, and {latest} had begun: it is not used"
                )

    @property
    def latest_epoch(self) -> int:
        """The latest epoch that anything signed tells of."""
        return max([self._head.epoch, *(claim.epoch for claim in self._claims)])

    async def listen(self, stack: AsyncExitStack) -> None:
        """Ask JetStream how far it is. It need not answer, unless it is to be used."""
        try:
            stream = await stack.enter_async_context(event_stream(self._settings.nats_url))
            span = await stream.span()
            if span is None or span.last == 0:
                self._heard = True
                return
            relayed = RelayedEvents(stream, span)
            end = await relayed.end()
        except StreamUnavailable as error:
            if self._asked.from_jetstream:
                raise ConsentError("unavailable", f"JetStream cannot be read: {error}") from error
            if not self._asked.without_jetstream:
                raise ConsentError(
                    "unavailable",
                    "NATS does not answer, and JetStream may hold events that nothing else does: start it, "
                    "or give them up with --without-jetstream",
                ) from error
            self._notes.append("NATS does not answer, so nobody asked whether JetStream holds more")
            return
        if end is None:
            self._notes.append("JetStream's last event was removed: it cannot say how far the log was")
            return
        self._heard, self._relayed, self._stream_end = True, relayed, end.position

    # -- putting back ----------------------------------------------------------------------------------------

    async def run(self, progress: Progress) -> Recovered:
        """The transaction."""
        recovered: Recovered | None = None
        try:
            async with self._connection.transaction():
                recovered = await self._put_back(progress)
                if self._asked.dry_run:
                    raise _Unchanged
                # Whatever becomes of the commit: from here on nobody serves what is not known to be all.
                self._folder.halt_anew(RESTORED, "`consent-ledger recover` did not end: run it again")
        except _Unchanged:
            pass
        else:
            self._folder.halt_anew(
                RECOVERED, "what could be had was taken back: run `consent-ledger fsck --clear`"
            )
        assert recovered is not None, "it was put back, or that raised"
        return recovered

    async def _put_back(self, progress: Progress) -> Recovered:
        head = self._head
        locked = await head_of(self._connection, "lock_head")
        if (locked.epoch, locked.range) != (head.epoch, head.range):
            raise ConsentError("version_conflict", "the ledger was written to meanwhile: stop what serves it")
        sizes = {claim.size for claim in self._claims}
        insertion = Insertion(self._connection, head, head.origin, self._examination.growth, sizes)
        await self._take(insertion, progress)
        recovered = await self._conclude(insertion, locked.now)
        await insertion.finish()
        return recovered

    async def _take(self, insertion: Insertion, progress: Progress) -> None:
        """From each source in turn what it holds, until none gives more."""
        target = max([self._head.position, *(claim.size for claim in self._claims)])
        before = -1
        while before != insertion.position:
            before = insertion.position
            for source in self._sources:
                await self._take_from(source, insertion, target, progress)
        if self._relayed is not None:
            await self._require_same_history(self._relayed, insertion)
            if self._asked.from_jetstream:
                await self._take_from(self._relayed, insertion, self._stream_end, progress)

    async def _take_from(self, source: Source, insertion: Insertion, target: int, progress: Progress) -> None:
        first = insertion.position + 1
        async for entries in source.after(insertion.position):
            await insertion.add(entries)
            progress(insertion.position, target)
        if source.trouble and source.trouble not in self._notes:
            self._notes.append(source.trouble)
        if insertion.position >= first:
            self._taken.append(Taken(source.name, first, insertion.position))

    async def _require_same_history(self, relayed: RelayedEvents, insertion: Insertion) -> None:
        """JetStream counts only if it holds the very event that the ledger ends with now, or ends before."""
        position = min(insertion.position, self._stream_end)
        if position == 0:
            return
        try:
            theirs = await relayed.event_at(position)
        except StreamUnavailable as error:
            theirs, why = None, str(error)
        else:
            why = "it is not there any more"
        rows = await self._connection.fetch(STATEMENTS["events_after"], position - 1, 1)
        if theirs is not None and theirs == rows[0]["body"]:
            return
        self._stream_differs = theirs is not None
        said = why if theirs is None else "it is another"
        self._notes.append(
            f"JetStream is not used: of event {position}, which must link it to the ledger, {said}"
        )
        self._relayed = None
        if self._asked.from_jetstream:
            raise ProofInvalid(self._notes[-1])

    # -- the end ---------------------------------------------------------------------------------------------

    async def _conclude(self, insertion: Insertion, now: Micros) -> Recovered:
        head, size, time = self._head, insertion.position, insertion.time
        begun = [*self._examination.begun, *insertion.begun]
        reached = head._replace(position=size, epoch=insertion.epoch)
        findings = Findings()
        roots = self._examination.roots | insertion.roots | {size: insertion.growth.root()}
        judge(self._claims, reached, begun, roots, self._folder, findings)
        forked = next((one for one in findings.told if one.kind != BEHIND), None)
        if forked is not None:
            raise ProofInvalid(f"what was taken back is not what was signed: {forked.detail}")
        signed = max((one.size for one in self._claims if one.epoch == self.latest_epoch), default=0)
        replica = self._replica.remembered
        followed = replica.position if replica.epoch == insertion.epoch else 0
        known = max(0 if self._stream_differs else self._stream_end, followed)
        lost = self._replica.narrowed_after(size) if followed > size else []
        if self._relayed is not None and self._stream_end > size and not self._asked.without_jetstream:
            raise ConsentError(
                "wrong_state",
                f"JetStream holds events {size + 1} to {self._stream_end}, which nothing else does: take "
                "them with --from-jetstream (nobody signed them), or give them up with --without-jetstream",
            )
        if self._asked.same_epoch:
            self._require_nothing_gone(insertion, signed, known)
        else:
            await insertion.record(
                ContinueLog(
                    origin=head.origin,
                    epoch=self._next_epoch(insertion.epoch),
                    size=size,
                    root=insertion.growth.root(),
                ),
                now,
            )
        return Recovered(
            head,
            self._taken,
            size,
            time,
            signed,
            known,
            insertion.position,
            insertion.epoch,
            lost,
            self._asked.dry_run,
            self._notes,
        )

    def _next_epoch(self, epoch: int) -> int:
        """An epoch that nothing has ever heard of."""
        heard = [epoch_of(self._head.origin, name) or 0 for name in self._state.names()]
        followed = self._replica.remembered.epoch
        free = max([epoch, self.latest_epoch, followed, *heard, *self._folder.epochs()]) + 1
        if self._asked.epoch and self._asked.epoch < free:
            raise ConsentError("invalid_value", f"epoch {free} is the first that may begin")
        return self._asked.epoch or free

    def _require_nothing_gone(self, insertion: Insertion, signed: int, known: int) -> None:
        size = insertion.position
        lacking = []
        if insertion.epoch < self.latest_epoch or signed != size:
            lacking.append(f"{signed} events were signed in epoch {self.latest_epoch}, and there are {size}")
        if known > size:
            lacking.append(f"event {known} is known, and the ledger ends at {size}")
        if self._stream_differs:
            lacking.append("JetStream holds events of another history")
        if not self._heard:
            lacking.append("NATS does not answer, and JetStream may know of more")
        if lacking:
            raise ConsentError(
                "wrong_state",
                f"it is not certain that nothing is gone ({'; '.join(lacking)}): leave out --same-epoch",
            )
