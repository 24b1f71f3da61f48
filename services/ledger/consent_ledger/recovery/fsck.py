"""`consent-ledger fsck`: everything that was ever signed or published, compared with the events.

A tile that is missing or wrong is made again, once the events have led to the root that was signed. An
event that is wrong halts the log, and nothing is changed: which copy is right is for people to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError
from consent_domain.events import LOG_STREAM
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import Halt, LogFolder
from consent_ledger.log.keys import LogHistory, read_history
from consent_ledger.log.signer import SignerState
from consent_ledger.recovery.claims import (
    Claim,
    claims_of_host,
    continued_from,
    judge,
    sizes_wanted,
    trust_of,
)
from consent_ledger.recovery.connecting import connected, head_of, require_origin
from consent_ledger.recovery.examination import Begun, Examination, Progress
from consent_ledger.recovery.findings import EVENT_DAMAGED, Finding, Findings
from consent_ledger.recovery.tile_check import TileCheck
from consent_ledger.seams import Head, Stored
from consent_ledger.settings import LogKeySettings
from consent_ledger.store import ROLE

RESTORED = "restored"
"""The halt of a ledger that was put back, and may lack what was recorded since."""
RECOVERED = "recovered"
"""The halt of one of which all was taken back that could be had."""


class Checked(NamedTuple):
    """What `fsck` saw. `unproven` are comparisons that could not be made; `halt` stands at the end."""

    head: Head
    root: bytes
    claims: list[Claim]
    tiles_repaired: int
    unproven: list[str]
    findings: list[Finding]
    findings_count: int
    halt: Halt | None
    cleared: Halt | None


async def fsck(settings: LogKeySettings, keys: list[str], clear: bool, progress: Progress) -> Checked:
    """Examine, repair tiles, halt if an event is damaged; `clear` lifts a halt after a clean run.

    Raises ConsentError and what asyncpg raises if it could not be checked.
    """
    folder, state = LogFolder(settings.log_folder), SignerState(Path(settings.signer_state_file))
    async with connected(settings.database_url, "consent-ledger fsck", ROLE) as connection:
        findings = Findings()
        history = await history_of(connection, findings)
        trusted = trust_of(settings, keys, history.rotations)
        claims = claims_of_host(folder, state, settings.origin, trusted, findings)
        # Read last: what was signed before is below it, also while everything goes on.
        head = await head_of(connection)
        require_origin(head, settings.origin)
        check = _Check(folder, head, history, claims, findings)
        await check.run(connection, progress)
    halt, cleared = _settle(folder, findings, clear)
    return Checked(
        head,
        check.examination.root(),
        check.claims,
        check.repaired,
        check.unproven,
        findings.told,
        findings.count,
        halt,
        cleared,
    )


async def history_of(connection: Connection, findings: Findings) -> LogHistory:
    """What the log says of its own keys and epochs; an event of it that cannot be read is a finding."""
    rows = await connection.fetch(STATEMENTS["events_of_streams"], [LOG_STREAM])
    stored = [Stored(row["position"], row["stream"], row["version"], row["body"]) for row in rows]
    try:
        return read_history(stored)
    except ConsentError as error:
        findings.add(EVENT_DAMAGED, 0, error.detail)
        return LogHistory()


class _Check:
    def __init__(
        self,
        folder: LogFolder,
        head: Head,
        history: LogHistory,
        claims: list[Claim],
        findings: Findings,
    ) -> None:
        self._folder = folder
        self._head = head
        self._findings = findings
        self._begun = [Begun(one.epoch, int(one.size)) for one in history.continued]
        self.claims = claims
        self._tile_checks = self._tiles_to_check()
        sizes = sizes_wanted(self.claims, head, self._begun)
        self.examination = Examination(head, sizes, self._tile_checks, findings)
        self.repaired = 0
        self.unproven: list[str] = []

    def _tiles_to_check(self) -> list[TileCheck]:
        """Of each epoch the published tree, as far as the ledger goes on from it."""
        published = {claim.epoch: claim for claim in self.claims if claim.where.endswith("/checkpoint")}
        return [
            TileCheck(
                self._folder,
                claim.epoch,
                Checkpoint("published", claim.size, claim.root),
                continued_from(claim, self._head, self._begun),
            )
            for claim in published.values()
        ]

    async def run(self, connection: Connection, progress: Progress) -> None:
        """All of it."""
        await self.examination.run(connection, progress)
        self.unproven = judge(
            self.claims,
            self._head,
            self.examination.begun,
            self.examination.roots,
            self._folder,
            self._findings,
        )
        if self._findings.gravest() is None:
            for check in self._tile_checks:
                self.repaired += await check.repair(connection, progress) if check.bad else 0
            return
        for check in self._tile_checks:
            await self._name_differing(connection, check)

    async def _name_differing(self, connection: Connection, check: TileCheck) -> None:
        """Say which events are not those that were signed, if the tiles prove it."""
        try:
            found = await check.differing_events(connection)
        except (ConsentError, OSError) as error:
            self.unproven.append(
                f"which events differ cannot be told by the tiles of epoch {check.epoch}: {error}"
            )
            return
        for position, what in found:
            self._findings.add(EVENT_DAMAGED, position, f"the event at {position}: {what}")


def _settle(folder: LogFolder, findings: Findings, clear: bool) -> tuple[Halt | None, Halt | None]:
    """Halt for the gravest finding, or lift the halt if there is none; what stands, and what was lifted."""
    gravest = findings.gravest()
    if gravest is not None:
        return folder.halt(gravest.kind, gravest.detail), None
    halt = folder.halted()
    if halt is None or not clear or findings.count:
        return halt, None
    if halt.reason == RESTORED:
        raise ConsentError(
            "wrong_state",
            "nothing is damaged, but the ledger was put back and may lack what was recorded since: run "
            "`consent-ledger recover` first",
        )
    folder.clear_halt()
    return None, halt
