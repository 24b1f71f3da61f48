"""Following: bringing a replica up to the ledger, one step at a time, and never on bad input.

A step asks the source once and takes what it answers. What cannot be is refused whole, and the
replica is halted: every check on the host denies until the source answers as it should again.
What merely did not come is asked for again, later each time, while the replica grows stale by itself.

A watermark counts only for a replica that has reached its position, from when its request was
sent. Those that are ahead wait, so a replica that lags behind a busy log is as fresh as the
newest one it has caught up with.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import lmdb
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import LOG_STREAM
from consent_domain.feed import Page, Row, Watermark
from consent_domain.identifiers import Token

from consent_gate.boot import boot_nanoseconds
from consent_gate.building import Build
from consent_gate.cells import Meta
from consent_gate.election import Election
from consent_gate.marks import Mark
from consent_gate.replica import Recorded, Replica
from consent_gate.sources import Begun, Events, Impossible, Pages, Source, SourceUnavailable, StartAnew
from consent_gate.store import epoch_continued

WAIT_SECONDS_FIRST = 1.0
"""A thousand gates whose ledger was started again come back within so long, at moments of their own."""
WAIT_SECONDS_MAX = 2.0
RETRY_AFTER_SECONDS_MAX = 30.0
"""A source that asks for more patience gets no more than this."""
STANDBY_SECONDS = 0.5
FAILURES_MAX = 3
"""After so many in a row another process of the host may try: its API key may still be good."""
READER_CHECK_NANOSECONDS = 1_000_000_000
WATERMARKS_MAX = 64
RUN_ROWS_MAX = 200_000
"""Rows of one run of pages that are held until it is complete; more begin a snapshot anew."""


class Follower:
    """Follows one source into one replica, as long as this process leads the folder."""

    def __init__(
        self, replica: Replica, source: Source, origin: str | None = None, jitter: random.Random | None = None
    ) -> None:
        """`origin` pins the log; without it, the first one that the replica followed is pinned."""
        self._replica = replica
        self._source = source
        self._origin = origin
        self._election = Election(replica.folder)
        self._jitter = jitter or random.Random()
        self._failures = 0
        self._checked_readers = 0
        self._leads = False
        self._begin_run()
        self.why = ""
        """What went wrong last; empty if nothing did."""
        self.code = ""
        """Its code, as far as it has one: see `consent_gate.states.Status`."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that follows."""
        return self._leads

    async def step(self) -> float:
        """Ask once and take the answer; how many seconds to wait before the next step. Never raises."""
        try:
            if not self._lead():
                return STANDBY_SECONDS
            self._check_readers()
            await self._ask()
        except (Impossible, Unreadable) as error:
            self._begin_run()
            self._halt(str(error))
            self.code = error.code
            return self._later(f"halted: {error}")
        except SourceUnavailable as error:
            # A run goes on where it stopped: what changed meanwhile comes later in the same run.
            self.code = error.code
            return self._later(str(error), error.retry_after_seconds)
        except Exception as error:
            # Whatever it was, nothing was taken; the replica grows stale, and a run begins anew.
            self._begin_run()
            self.code = ""
            return self._later(f"{type(error).__name__}: {error}")
        self._failures = 0
        self.why = self.code = ""
        return 0.0

    def close(self) -> None:
        """Let another process follow."""
        self._leads = False
        self._begin_run()
        self._election.resign()

    # -- who and when ----------------------------------------------------------------------------------------

    def _lead(self) -> bool:
        if not self._leads:
            self._replica.make_folder()
        led, self._leads = self._leads, self._election.lead()
        if self._leads and not led:
            self._replica.clear_others()
            self._begin_run()
        return self._leads

    def _check_readers(self) -> None:
        now = boot_nanoseconds()
        if now - self._checked_readers >= READER_CHECK_NANOSECONDS:
            self._checked_readers = now
            self._replica.reader_check()
            self._replica.heed_reports()

    def _later(self, why: str, at_least: float = 0.0) -> float:
        self.why = why
        window = min(WAIT_SECONDS_MAX, WAIT_SECONDS_FIRST * 2 ** min(self._failures, 10))
        self._failures += 1
        if self._failures % FAILURES_MAX == 0:
            self._leads = False
            self._election.resign()
        # Any moment of the window, so that those who failed together do not come back together.
        return min(RETRY_AFTER_SECONDS_MAX, at_least) + self._jitter.uniform(0, window)

    def _halt(self, why: str) -> None:
        try:
            self._replica.halt(why or "unreadable")
        except (ConsentError, OSError, lmdb.Error) as error:
            self.why = f"{why}; {error}"  # it grows stale all the same: no watermark is noted any more

    # -- what came -------------------------------------------------------------------------------------------

    def _begin_run(self) -> None:
        self._run: list[Row] = []
        self._run_at: Token | None = None
        self._build: Build | None = None
        self._build_of = 0
        self._ahead: list[tuple[Watermark, int]] = []

    async def _ask(self) -> None:
        meta = self._replica.meta
        origin = self._origin or (None if meta is None else meta.origin)
        usable = meta if meta is not None and meta.complete else None
        at = _token_of(usable)
        if usable is not None and usable.origin != origin:
            raise _other_log(usable.origin, origin)
        answer = await self._source.ask(self._run_at or at)
        match answer:
            case Pages():
                _require_log(answer.page.watermark, origin, self._run_at or at)
                self._take_page(answer.page, answer.asked, usable)
            case Events():
                if answer.watermark is not None:
                    _require_log(answer.watermark, origin, at)
                self._take_events(answer, usable)
            case StartAnew():
                self._start_anew(answer.why)
            case Begun():
                self._begin_run()
        if usable is not None and usable.halted:
            self._replica.halt("")

    def _start_anew(self, why: str) -> None:
        """The next step asks for a snapshot. What is there answers no more: it cannot be continued."""
        self._begin_run()
        meta = self._replica.meta
        if meta is None or not meta.complete:
            raise SourceUnavailable(f"no snapshot was to be had: {why}")
        self._replica.forsake()

    # -- rows ------------------------------------------------------------------------------------------------

    def _take_page(self, page: Page, asked: int, usable: Meta | None) -> None:
        before = self._run_at or _token_of(usable)
        if page.after != (0 if before is None else before.position):
            raise Impossible(f"a page after {page.after} answers what was asked after {before or 0}")
        if before is not None and page.epoch != before.epoch:
            return self._start_anew(f"epoch {page.epoch} has begun")
        began_from = self._build_of if usable is None else usable.view_generation
        if before is not None and page.generation != began_from:
            # What the replica holds of before may be what was wrong with the older one.
            return self._start_anew("the ledger folded its facts anew")
        self._await(page.watermark, asked)
        if usable is None:
            self._take_snapshot(page)
        elif page.more:
            self._run += page.rows
            self._run_at = page.token
            if len(self._run) > RUN_ROWS_MAX:
                self._start_anew("too much has changed")
        else:
            mark = self._reached(page.through)
            if self._run or page.rows or page.through > usable.position:
                self._replica.apply_rows([*self._run, *page.rows], page.through, page.watermark.time, mark)
            elif mark is not None:
                self._replica.note_watermark(mark)
            self._run, self._run_at = [], None
        return None

    def _take_snapshot(self, page: Page) -> None:
        if self._build is None:
            self._build = self._replica.build(page.origin, page.epoch, page.generation)
            self._build_of = page.generation
        self._build.add(page.rows)
        self._run_at = page.token if page.more else None
        if not page.more:
            self._build.finish(page.through, page.watermark.time, self._reached(page.through))
            self._build = None

    # -- events ----------------------------------------------------------------------------------------------

    def _take_events(self, answer: Events, usable: Meta | None) -> None:
        watermark = answer.watermark
        at = _token_of(usable)
        if at is None or usable is None:
            if watermark is None:
                raise SourceUnavailable("the log did not say yet which one it is")
            self._begin_run()
            # The events may have been read before that epoch began: those that count are asked for now.
            return self._replica.build(watermark.origin, watermark.epoch).finish(0)
        if answer.view_generation and usable.view_generation not in (0, answer.view_generation):
            return self._start_anew("the ledger folded its facts anew")
        expected = at.position + 1
        for event in answer.events:
            if event.position != expected:
                raise Impossible(f"event {event.position} came where {expected} is due")
            expected += 1
        if watermark is not None:
            if watermark.position < at.position and watermark.epoch == at.epoch:
                raise Impossible(f"the log stands at {watermark.position}, and was at {at.position} before")
            if watermark.epoch > _epoch_after(answer.events, at.epoch):
                # Nothing says where that epoch began: what the replica holds may be what was lost.
                return self._start_anew(f"epoch {watermark.epoch} has begun")
            self._await(watermark, answer.asked)
        mark = self._reached(expected - 1)
        if answer.events:
            self._replica.apply_events(answer.events, mark)
        elif mark is not None:
            self._replica.note_watermark(mark)
        return None

    # -- watermarks ------------------------------------------------------------------------------------------

    def _await(self, watermark: Watermark, asked: int) -> None:
        # When too many wait, the oldest are kept: they are the next to be reached.
        if len(self._ahead) < WATERMARKS_MAX:
            self._ahead.append((watermark, asked))

    def _reached(self, position: int) -> Mark | None:
        """The newest of the waiting watermarks that a replica at `position` has reached."""
        reached = [(mark, asked) for mark, asked in self._ahead if mark.position <= position]
        self._ahead = [(mark, asked) for mark, asked in self._ahead if mark.position > position]
        if not reached:
            return None
        newest, asked = reached[-1]
        return Mark(newest.epoch, newest.position, newest.time, asked)


def _token_of(usable: Meta | None) -> Token | None:
    return None if usable is None else Token(usable.origin, usable.epoch, usable.position)


def _epoch_after(events: Sequence[Recorded], epoch: int) -> int:
    """The epoch that a log is in after events which follow one of `epoch`, as far as they tell."""
    for event in events:
        if event.stream == LOG_STREAM:
            with suppress(Unreadable):
                epoch = epoch_continued(decode(event.body).body, epoch)
    return epoch


def _require_log(watermark: Watermark, origin: str | None, before: Token | None) -> None:
    if origin is not None and watermark.origin != origin:
        raise _other_log(watermark.origin, origin)
    if before is not None and watermark.epoch < before.epoch:
        raise Impossible(f"epoch {watermark.epoch} is over; {before.epoch} has begun")


def _other_log(came: str, pinned: str | None) -> Impossible:
    return Impossible(
        f"the log is {came}, and {pinned} is pinned: if another ledger is meant, give it a replica folder of "
        "its own (replica_dir, --replica); if not, another one answers at this address",
        "other_origin",
    )
