"""Importing what happened before the ledger was opened: one JSON command a line, as many as there are.

- Lines are taken in chunks. A chunk is one transaction, one COPY, one lock of the head: between two
  chunks other commands get their turn.
- A line is all or nothing: a workspace never appears without its earlier objections. A refused line
  stops no other; its number and reason are in the summary.
- The same file may be imported again, after a crash say: what is there and is the same is `skipped`.
- Hints are not published: other hosts read PostgreSQL, as they would after a lost message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog
from consent_domain.batch import Committed
from consent_domain.commands import ImportCommand
from consent_domain.errors import ConsentError
from consent_domain.events import LOG_STREAM, RecordedBy
from consent_domain.handle import Context, handle, ids_needed, streams_of

from consent_ledger.committer import require_origin
from consent_ledger.floors import Floors
from consent_ledger.json_errors import in_words
from consent_ledger.key_ring import Principal
from consent_ledger.likeness import is_recorded
from consent_ledger.log.guard import HeldBack
from consent_ledger.memory import Memory, Tentative
from consent_ledger.numbering import Numbered, Numbering
from consent_ledger.seams import (
    CommitUnknown,
    Head,
    Ids,
    Row,
    Store,
    StoreRefused,
    StoreUnavailable,
)

AUTHENTICATION = "api_key"
LINE_BYTES_MAX = 256 * 1024
CHUNK_LINES_MAX = 4_000
CHUNK_BYTES_MAX = 8 * 1024 * 1024
REFUSALS_MAX = 100
SLICE_LINES = 50
"""After so many lines everything else in the process gets its turn."""
ANALYZE_EVENTS_MIN = 10_000

_decode = msgspec.json.Decoder(ImportCommand).decode
_log = structlog.get_logger()


class Refusal(msgspec.Struct, frozen=True, rename="camel"):
    """A line that was not recorded: its number from 1 on, and why."""

    line: int
    code: str
    detail: str


class Summary(msgspec.Struct, rename="camel", kw_only=True):
    """What became of the lines. `refusals` are the first ones, at most REFUSALS_MAX."""

    lines: int = 0
    applied: int = 0
    skipped: int = 0
    refused: int = 0
    events: int = 0
    first_position: str = "0"
    last_position: str = "0"
    token: str = ""
    refusals: list[Refusal] = []

    def refuse(self, line: int, error: ConsentError) -> None:
        """Count a line that was refused."""
        self.refused += 1
        if len(self.refusals) < REFUSALS_MAX:
            self.refusals.append(Refusal(line, error.code, error.detail))


class _Line(NamedTuple):
    number: int
    command: ImportCommand
    streams: Sequence[str]


class Importer:
    """Imports for one process, with a store of its own: the committer's may be in a transaction."""

    def __init__(
        self,
        store: Store,
        origin: str,
        ids: Ids,
        floors: Floors,
        on_committed: Callable[[Committed], None],
        require_current: Callable[[Head], None] = lambda head: None,
    ) -> None:
        """`on_committed` and `require_current` as the committer has them."""
        self._store = store
        self._origin = origin
        self._ids = ids
        self._floors = floors
        self._on_committed = on_committed
        self._require_current = require_current
        self._one_at_a_time = asyncio.Lock()

    async def run(self, parts: AsyncIterable[bytes], principal: Principal) -> Summary:
        """Import the lines of a stream of bytes, however it is cut into parts.

        Raises ConsentError `unavailable` or `outcome_unknown` if it had to stop; its `summary` says how
        far it came, and importing the same again skips what is there. `too_large` for a line above
        LINE_BYTES_MAX, after which nothing more is read.
        """
        async with self._one_at_a_time:
            work = _Import(self, principal)
            try:
                async for chunk in _chunks(parts, work.summary):
                    await work.record(chunk)
            except StoreUnavailable as error:
                _log.warning("import_stopped", error=str(error))
                words = str(error) if isinstance(error, HeldBack) else "the ledger cannot record now"
                raise _stopped("unavailable", words, work.summary) from error
            except CommitUnknown as error:
                _log.error("import_stopped", error=str(error))
                raise _stopped("outcome_unknown", "a COMMIT was not answered", work.summary) from error
            if work.summary.events >= ANALYZE_EVENTS_MIN:
                await self._analyze()
            work.summary.refusals.sort(key=lambda refusal: refusal.line)
            return work.summary

    async def _analyze(self) -> None:
        try:
            await self._store.analyze()
        except StoreUnavailable as error:
            _log.warning("not_analyzed", error=str(error))


class _Import:
    """One import under way."""

    def __init__(self, importer: Importer, principal: Principal) -> None:
        self.summary = Summary()
        self._importer = importer
        self._role = principal.role
        self._recorded_by = RecordedBy(principal=principal.id, authentication=AUTHENTICATION)
        self._memory = Memory()

    async def record(self, lines: list[_Line]) -> None:
        """Record a chunk; one that the store refuses is halved until the bad line stands alone."""
        try:
            await self._record(lines)
        except StoreRefused as error:
            if len(lines) > 1:
                await self.record(lines[: len(lines) // 2])
                await self.record(lines[len(lines) // 2 :])
                return
            _log.error("line_refused_by_store", line=lines[0].number, error=str(error))
            self.summary.refuse(lines[0].number, ConsentError("internal", "the store refused its events"))

    async def _record(self, lines: list[_Line]) -> None:
        importer = self._importer
        async with importer._store.transaction() as transaction:
            head = await transaction.lock_head()
            require_origin(head, importer._origin)
            importer._require_current(head)
            await self._memory.catch_up(transaction, head)
            names = dict.fromkeys(name for line in lines for name in line.streams)
            state = Tentative(self._memory.everybody, await self._memory.load(transaction, names))
            chunk = _Chunk(self, lines, state, Numbering(head))
            count = await transaction.append_many(head, chunk.rows())
            after = chunk.numbering.head()
            if count:
                await transaction.move_head(head, after.position, after.recorded_at, after.range)
                await transaction.commit()
        self._count(chunk)
        if count:
            self._memory.adopt(after, state)
            importer._floors.raise_floor(LOG_STREAM, after.position)
            importer._on_committed(Committed(head.origin, head.epoch, head.position + 1, tuple(chunk.bodies)))

    def _count(self, chunk: _Chunk) -> None:
        summary, head = self.summary, chunk.numbering.head()
        summary.applied += chunk.applied
        summary.skipped += chunk.skipped
        for line, error in chunk.refused:
            summary.refuse(line, error)
        if chunk.bodies:
            if not summary.events:
                summary.first_position = str(head.position - len(chunk.bodies) + 1)
            summary.events += len(chunk.bodies)
            summary.last_position = str(head.position)
            summary.token = f"{head.origin}/{head.epoch}/{head.position}"

    def decide(self, line: _Line, state: Tentative, numbering: Numbering) -> Numbered | None:
        """The events of a line, folded and numbered; None if they are there already. Raises ConsentError."""
        command = line.command
        context = Context(
            now=numbering.next_time,
            event_ids=self._importer._ids.next(ids_needed(command)),
            recorded_by=self._recorded_by,
            role=self._role,
            next_position=numbering.position + 1,
        )
        try:
            verdict = handle(state, command, context)
        except ConsentError:
            if is_recorded(state, command, context):
                return None
            raise
        numbered = numbering.number(verdict.drafts, state)
        state.fold(numbered.events)
        numbering.accept(numbered)
        return numbered


class _Chunk:
    """The lines of one transaction, and what became of them."""

    def __init__(self, work: _Import, lines: list[_Line], state: Tentative, numbering: Numbering) -> None:
        self.numbering = numbering
        self.bodies: list[bytes] = []
        self.applied = 0
        self.skipped = 0
        self.refused: list[tuple[int, ConsentError]] = []
        self._work = work
        self._lines = lines
        self._state = state

    async def rows(self) -> AsyncIterator[Row]:
        """The rows of the lines that are accepted, each decided while the store takes those before."""
        for index, line in enumerate(self._lines):
            if index % SLICE_LINES == 0:
                await asyncio.sleep(0)
            try:
                numbered = self._work.decide(line, self._state, self.numbering)
            except ConsentError as error:
                self.refused.append((line.number, error))
                continue
            except Exception as error:
                _log.exception("line_not_decided", line=line.number, error=type(error).__name__)
                self.refused.append((line.number, ConsentError("internal", "it could not be decided")))
                continue
            if numbered is None:
                self.skipped += 1
                continue
            self.applied += 1
            for row in numbered.rows:
                self.bodies.append(row.body)
                yield row


async def _chunks(parts: AsyncIterable[bytes], summary: Summary) -> AsyncIterator[list[_Line]]:
    """Lines that can be read, in chunks; the others are counted as refused."""
    chunk: list[_Line] = []
    size = 0
    async for text in _lines(parts):
        summary.lines += 1
        if summary.lines % SLICE_LINES == 0:
            await asyncio.sleep(0)
        try:
            command = _decode(text)
            chunk.append(_Line(summary.lines, command, streams_of(command, None)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            summary.refuse(
                summary.lines, ConsentError("malformed", f"it is no import command: {in_words(error)}")
            )
        except ConsentError as error:
            summary.refuse(summary.lines, error)
        size += len(text)
        if len(chunk) >= CHUNK_LINES_MAX or size >= CHUNK_BYTES_MAX:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


async def _lines(parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Each line without its end. The last one needs no end; empty lines count as lines and are refused."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield _bounded(line)
        _bounded(rest)
    if rest:
        yield rest


def _bounded(line: bytes) -> bytes:
    if len(line) > LINE_BYTES_MAX:
        raise ConsentError(
            "too_large", f"a line has at most {LINE_BYTES_MAX} bytes; is it one command a line?"
        )
    return line


def _stopped(code: str, why: str, summary: Summary) -> ConsentError:
    return ConsentError(
        code,
        f"the import stopped after {summary.lines} lines were read: {why}; import the same lines again, "
        "what is recorded is skipped",
        summary=msgspec.to_builtins(summary),
    )
