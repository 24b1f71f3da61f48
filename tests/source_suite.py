"""What every `Source` of a gate must do, whoever it asks: the same sentences for HTTP and for PostgreSQL.

A subclass gives the fixture `side`: a ledger, and a source that follows it. What cannot be is noticed and
never applied; what does not come leaves the gate as it was until it is stale; neither is ever a permit.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from consent_gate.follower import RETRY_AFTER_SECONDS_MAX, WAIT_SECONDS_MAX, Follower
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from consent_gate.sources import ClosableSource
from scenario import ORIGIN, Command, opt_out, workspace

LIES = ("a gap", "a log that stands before", "an older epoch", "another log")
STALE_SECONDS = 0.6
PAUSE_SECONDS = 0.01


class Side(ABC):
    """A ledger where `acme` and `w2` are enrolled and may be used for training, and how it can go wrong."""

    @abstractmethod
    def source(self) -> ClosableSource:
        """A source that follows this ledger."""

    @abstractmethod
    async def happen(self, *commands: Command) -> None:
        """Record something, and tell it from now on."""

    @abstractmethod
    async def lie(self, lie: str) -> None:
        """Say one of `LIES` from now on, whatever is asked."""

    @abstractmethod
    async def mend(self) -> None:
        """Say the truth again."""

    @abstractmethod
    async def begin_epoch(self) -> None:
        """Begin the next epoch, which nobody saw coming."""

    @abstractmethod
    async def set_clock(self, seconds: float) -> None:
        """Set the ledger's clock forward, or back."""

    @abstractmethod
    async def go_away(self) -> None:
        """Refuse every connection, and end those that there are."""

    @abstractmethod
    async def come_back(self) -> None:
        """Be there again."""

    @abstractmethod
    def stall(self) -> None:
        """Take connections and requests, and answer nothing."""

    @abstractmethod
    def flow(self) -> None:
        """Answer again."""


class Followed:
    """A replica that follows a side step by step, and its gate."""

    def __init__(self, side: Side, folder: Path) -> None:
        self.replica = Replica.open(folder)
        self.source = side.source()
        self.follower = Follower(self.replica, self.source)
        self.gate = Gate(self.replica, purpose="train", max_staleness=STALE_SECONDS)

    @property
    def state(self) -> str:
        """The gate's."""
        return self.gate.status().state

    async def step(self) -> float:
        """One step, and a moment instead of the wait that it asks for."""
        wait = await self.follower.step()
        assert 0 <= wait <= WAIT_SECONDS_MAX + RETRY_AFTER_SECONDS_MAX
        await asyncio.sleep(PAUSE_SECONDS)
        return wait

    async def until(self, holds: Callable[[], bool], seconds_max: float = 20.0) -> None:
        """Step until it holds."""
        deadline = time.monotonic() + seconds_max
        while not holds():
            assert time.monotonic() < deadline, f"never: {self.gate.status()}, {self.follower.why}"
            await self.step()

    async def until_live(self) -> None:
        """Step until the gate permits what may be used."""
        await self.until(lambda: bool(self.gate.check("w2")))


class SourceSuite:
    """The sentences."""

    @pytest_asyncio.fixture
    async def followed(self, side: Side, tmp_path: Path) -> AsyncIterator[Followed]:
        made = Followed(side, tmp_path / "replica")
        yield made
        made.follower.close()
        await made.source.close()

    # -- what comes ------------------------------------------------------------------------------------------

    async def test_given_a_ledger_then_it_is_fetched_and_what_changes_is_heard(
        self, side: Side, followed: Followed
    ) -> None:
        assert not followed.gate.check("acme")  # before anything came
        await followed.until_live()
        assert followed.gate.check("acme")
        await side.happen(opt_out(), workspace("w3"))
        await followed.until(lambda: bool(followed.gate.check("w3")))
        assert followed.gate.check("acme").reasons[0].code == "opt_out_requested"
        assert followed.gate.check("w2") and not followed.follower.why

    async def test_given_a_later_follower_of_the_folder_then_it_goes_on_where_the_first_ended(
        self, side: Side, followed: Followed, tmp_path: Path
    ) -> None:
        await followed.until_live()
        followed.follower.close()
        await side.happen(opt_out())
        second = Followed(side, tmp_path / "replica")
        assert second.gate.check("w2")  # what the first one fetched
        await second.until(lambda: not second.gate.check("acme"))
        assert second.gate.check("w2")
        second.follower.close()
        await second.source.close()

    # -- what cannot be --------------------------------------------------------------------------------------

    @pytest.mark.parametrize("lie", LIES)
    async def test_given_what_cannot_be_then_it_halts_applies_nothing_and_goes_on_when_it_is_mended(
        self, side: Side, followed: Followed, lie: str
    ) -> None:
        await followed.until_live()
        position = followed.replica.position
        await side.happen(opt_out(), workspace("w3"))
        await side.lie(lie)
        await followed.until(lambda: followed.state == "halted")
        for _ in range(3):
            assert not followed.gate.check("acme") and not followed.gate.check("w2")
            assert followed.replica.position == position and followed.follower.why
            await followed.step()
        await side.mend()
        await followed.until_live()
        assert followed.gate.check("acme").reasons[0].code == "opt_out_requested"
        assert followed.gate.check("w3")

    async def test_given_a_pinned_log_and_another_at_the_start_then_nothing_is_ever_permitted(
        self, side: Side, followed: Followed
    ) -> None:
        followed.follower = Follower(followed.replica, followed.source, ORIGIN)
        await side.lie("another log")
        for _ in range(4):
            assert await followed.step() > 0
            assert "pinned" in followed.follower.why and not followed.gate.check("w2")
        await side.mend()
        await followed.until_live()

    async def test_given_an_epoch_that_nobody_saw_begin_then_deny_until_all_of_it_was_followed(
        self, side: Side, followed: Followed
    ) -> None:
        await followed.until_live()
        before = followed.gate.check("w2").token
        await side.begin_epoch()
        await side.happen(opt_out())
        seen = []

        def is_in_the_new_epoch() -> bool:
            answer = followed.gate.check("w2")
            if answer:
                seen.append(answer.token)
            return bool(answer) and answer.token.split("/")[-2] > before.split("/")[-2]

        await followed.until(is_in_the_new_epoch)
        await followed.until(lambda: not followed.gate.check("acme"))
        assert {token.split("/")[-2] for token in seen} <= {before.split("/")[-2], seen[-1].split("/")[-2]}

    # -- what does not come ----------------------------------------------------------------------------------

    async def test_given_nobody_at_the_start_then_it_denies_says_why_and_is_live_when_they_come(
        self, side: Side, followed: Followed
    ) -> None:
        await side.go_away()
        for _ in range(4):
            assert await followed.step() > 0
            assert followed.follower.why and not followed.gate.check("w2")
        await side.come_back()
        await followed.until_live()
        assert not followed.follower.why

    async def test_given_nobody_in_the_middle_then_it_denies_when_stale_and_misses_nothing_afterwards(
        self, side: Side, followed: Followed
    ) -> None:
        await followed.until_live()
        await side.go_away()
        await side.happen(opt_out())
        # On a busy machine it may be stale before it was asked even once.
        await followed.until(lambda: not followed.gate.check("w2") and bool(followed.follower.why))
        assert followed.gate.check("w2").reasons[0].code == "stale"
        await side.come_back()
        await followed.until_live()
        assert not followed.gate.check("acme")

    async def test_given_nobody_for_ever_then_every_step_ends_and_none_permits(
        self, side: Side, followed: Followed
    ) -> None:
        await side.go_away()
        waits = [await followed.step() for _ in range(12)]
        assert all(0 < wait <= WAIT_SECONDS_MAX for wait in waits)
        assert not followed.gate.check("w2") and followed.state != "live"

    async def test_given_one_who_takes_the_question_and_never_answers_then_the_gate_goes_stale_meanwhile(
        self, side: Side, followed: Followed
    ) -> None:
        await followed.until_live()
        side.stall()
        await side.happen(opt_out())
        step = asyncio.create_task(self._steps(followed))
        deadline = time.monotonic() + 10
        while followed.gate.check("w2"):
            assert time.monotonic() < deadline
            await asyncio.sleep(PAUSE_SECONDS)
        assert followed.gate.check("acme").reasons[0].code == "stale"
        side.flow()
        while not followed.gate.check("w2"):
            assert time.monotonic() < deadline + 20, followed.follower.why
            await asyncio.sleep(PAUSE_SECONDS)
        assert not followed.gate.check("acme")
        step.cancel()
        with suppress(asyncio.CancelledError):
            await step

    async def _steps(self, followed: Followed) -> None:
        while True:
            await followed.step()

    # -- the ledger's clock ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
    async def test_given_a_ledger_whose_clock_is_set_then_the_gate_stays_as_fresh_as_it_is(
        self, side: Side, followed: Followed, seconds: float
    ) -> None:
        await followed.until_live()
        await side.set_clock(seconds)
        await asyncio.sleep(STALE_SECONDS + 0.1)  # what was known before is stale now
        assert not followed.gate.check("w2")
        await followed.until_live()
        await side.happen(opt_out())
        await followed.until(lambda: not followed.gate.check("acme"))
        assert followed.gate.check("w2")
