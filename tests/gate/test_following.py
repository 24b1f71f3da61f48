"""Following: what cannot be is refused whole, what did not come is asked for again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from consent_domain.errors import Unreadable
from consent_domain.feed import Page, Watermark
from consent_domain.identifiers import Token
from consent_gate import follower as followers
from consent_gate.boot import boot_nanoseconds
from consent_gate.follower import Follower
from consent_gate.gate import Gate
from consent_gate.replica import Recorded, Replica
from consent_gate.sources import Events, Impossible, Pages, SourceUnavailable, StartAnew
from gate_ledger import EPOCH, page, recorded
from scenario import ORIGIN, Ledger, enrolled, opt_out, scope, workspace

Step = Callable[[Token | None], Any]


class Scripted:
    """A source that answers what a test says, and remembers what it was asked."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.script: list[Step] = []
        self.asked: list[Token | None] = []
        self.rows_max = 1_000

    async def ask(self, after: Token | None) -> Any:
        self.asked.append(after)
        if self.script:
            return self.script.pop(0)(after)
        self.ledger.wait(1)
        return Pages(
            page(self.ledger, 0 if after is None else after.position, self.rows_max), boot_nanoseconds()
        )

    def next(self, answer: Any) -> None:
        """The next answer."""

        def step(_: Token | None) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return Pages(answer, boot_nanoseconds()) if isinstance(answer, Page) else answer

        self.script.append(step)


class World:
    def __init__(self, folder: Path) -> None:
        self.ledger = enrolled().given(workspace("w2"), workspace("w3"))
        self.source = Scripted(self.ledger)
        self.replica = Replica.open(folder)
        self.follower = Follower(self.replica, self.source)
        self.gate = Gate(self.replica, purpose="train")

    async def steps(self, count: int = 1) -> list[float]:
        return [await self.follower.step() for _ in range(count)]

    async def refused(self, answer: Any, state: str = "halted") -> None:
        """An answer that leaves the replica as it is, and checks undecided."""
        before = self.replica.position
        self.source.next(answer)
        (wait,) = await self.steps()
        assert wait > 0 and self.follower.why
        assert self.replica.position == before
        assert self.gate.status().state == state
        assert not self.gate.check("w2")


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    await made.steps()
    assert made.gate.check("w2") and made.gate.check("acme")
    yield made
    made.follower.close()


async def test_given_nothing_then_a_snapshot_is_fetched_and_then_changes(world: World) -> None:
    world.ledger.given(opt_out())
    await world.steps()
    assert not world.gate.check("acme") and world.gate.check("w2")
    assert [None if one is None else one.position for one in world.source.asked] == [
        None,
        len(world.ledger.log) - 1,
    ]


@pytest.mark.parametrize("rows_max", [1, 2, 3])
async def test_given_a_run_of_pages_then_it_counts_when_it_is_complete(tmp_path: Path, rows_max: int) -> None:
    world = World(tmp_path)
    world.source.rows_max = rows_max
    await world.steps()
    assert world.gate.status().state == "catching_up"
    while world.gate.status().state != "live":
        assert not world.gate.check("w2")
        await world.steps()
    before = world.replica.position
    world.ledger.given(opt_out(), opt_out(scope=scope("w2")), workspace("w4"))
    while world.replica.position == before:
        assert world.gate.check("acme")  # nothing of the run is seen before all of it
        await world.steps()
    assert not world.gate.check("acme") and not world.gate.check("w2")
    world.follower.close()


async def test_given_a_change_within_a_run_then_the_newer_row_counts(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.source.rows_max = 3
    await world.steps()
    world.ledger.given(opt_out())
    await world.steps(5)
    assert world.gate.check("w2") and not world.gate.check("acme")
    world.follower.close()


async def test_given_a_page_of_another_log_then_halt(world: World) -> None:
    at = world.replica.position
    other = Watermark("evil.test/ledger", EPOCH, 100, world.ledger.now + 1)
    await world.refused(page(world.ledger, at, origin=other.origin, watermark=other))


async def test_given_a_pinned_origin_then_another_is_never_begun_with(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.follower = Follower(world.replica, world.source, origin="consent.test/other")
    await world.steps()
    assert world.replica.meta is None and "pinned" in world.follower.why
    world.follower.close()


async def test_given_an_older_epoch_then_halt(world: World) -> None:
    at = world.replica.position
    await world.refused(
        page(world.ledger, at, epoch=0, watermark=Watermark(ORIGIN, 0, at, world.ledger.now + 1))
    )


async def test_given_a_newer_epoch_then_deny_until_it_was_followed_from_the_start(world: World) -> None:
    ledger, at = world.ledger, world.replica.position
    newer = Watermark(ORIGIN, EPOCH + 1, at, ledger.now + 1)
    world.source.next(page(ledger, at, epoch=EPOCH + 1, watermark=newer))
    await world.steps()
    assert world.gate.check("w2").reasons[0].code == "catching_up"
    world.source.next(page(ledger, 0, epoch=EPOCH + 1, watermark=newer))
    await world.steps()
    assert world.source.asked[-1] is None
    assert world.gate.check("w2").token == f"{ORIGIN}/{EPOCH + 1}/{at}"


async def test_given_facts_that_were_folded_anew_then_deny_until_all_of_them_were_taken_again(
    world: World,
) -> None:
    """What was wrong with the older ones may lie before the position: nothing later would say so."""
    ledger, at = world.ledger, world.replica.position
    meta = world.replica.meta
    assert meta is not None and meta.view_generation == 1
    world.source.next(page(ledger, at, generation=2))
    await world.steps()
    assert world.gate.check("w2").reasons[0].code == "catching_up"
    world.source.next(page(ledger, 0, generation=2))
    await world.steps()
    assert world.source.asked[-1] is None
    assert world.gate.check("w2").token == f"{ORIGIN}/{EPOCH}/{at}"
    meta = world.replica.meta
    assert meta is not None and meta.view_generation == 2


async def test_given_facts_that_are_folded_anew_while_a_snapshot_comes_then_their_pages_are_not_mixed(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    first = page(world.ledger, 0, rows_max=1)
    assert first.more
    world.source.next(first)
    world.source.next(page(world.ledger, first.through, generation=2))
    await world.steps(2)
    assert not world.gate.check("w2")
    assert world.replica.meta is None and "anew" in world.follower.why
    world.follower.close()


async def test_given_an_old_page_again_then_halt_and_apply_nothing(world: World) -> None:
    old = page(world.ledger, 0)
    world.ledger.given(opt_out())
    await world.steps()
    await world.refused(old)
    assert world.gate.check("acme").reasons[0].code == "halted"
    await world.steps()  # the source answers as it should again
    assert world.gate.check("w2") and not world.gate.check("acme")


async def test_given_an_old_empty_page_again_and_again_then_it_keeps_nothing_fresh(world: World) -> None:
    world.ledger.wait(1)
    idle = page(world.ledger, world.replica.position)
    world.source.next(idle)
    await world.steps()
    meta = world.replica.meta
    for _ in range(3):
        world.source.next(idle)
    await world.steps(3)
    assert world.replica.meta == meta


async def test_given_a_page_that_skips_rows_then_halt(world: World) -> None:
    world.ledger.given(workspace("w5"), workspace("w6"))
    await world.refused(page(world.ledger, world.replica.position + 1))


@pytest.mark.parametrize("error", [Impossible("forked: it stands before"), Unreadable("no page")])
async def test_given_what_cannot_be_then_halt_until_the_source_answers_properly(
    world: World, error: Exception
) -> None:
    await world.refused(error)
    await world.steps()
    assert world.gate.check("w2")


async def test_given_a_source_that_does_not_answer_then_wait_each_time_and_deny_nothing_yet(
    world: World,
) -> None:
    for _ in range(8):
        world.source.next(SourceUnavailable("down"))
    waits = await world.steps(8)
    assert waits[0] <= followers.WAIT_SECONDS_FIRST
    assert all(0 < wait <= followers.WAIT_SECONDS_MAX for wait in waits)
    assert world.gate.check("w2") and "down" in world.follower.why
    assert not world.gate.check("w2", max_staleness=0)


@pytest.mark.parametrize("retry_after", [0.0, 5.0])
async def test_given_a_thousand_whose_source_went_away_at_once_then_they_come_back_evenly_and_not_together(
    world: World, retry_after: float
) -> None:
    waits = []
    world.follower.close()
    for seed in range(1_000):
        follower = Follower(world.replica, world.source, jitter=random.Random(seed))
        world.source.next(SourceUnavailable("started again", retry_after))
        waits.append(await follower.step() - retry_after)
        follower.close()
    tenths = Counter(int(wait / followers.WAIT_SECONDS_FIRST * 10) for wait in waits)
    assert set(tenths) == set(range(10))
    assert all(60 <= count <= 140 for count in tenths.values())


async def test_given_an_outage_that_lasts_then_nobody_is_in_step_with_anybody_afterwards(
    world: World,
) -> None:
    world.follower.close()
    moments = []
    for seed in range(50):
        follower = Follower(world.replica, world.source, jitter=random.Random(seed))
        at = 0.0
        for _ in range(20):
            world.source.next(SourceUnavailable("down"))
            at += await follower.step()
        moments.append(at)
        follower.close()
    assert max(Counter(int(at * 10) for at in moments).values()) <= 6


async def test_given_a_token_that_cannot_be_continued_then_begin_anew(world: World) -> None:
    world.source.next(StartAnew("too old"))
    await world.steps()
    assert not world.gate.check("w2")
    await world.steps()
    assert world.source.asked[-1] is None and world.gate.check("w2")


async def test_given_a_page_answered_slowly_then_its_age_counts_from_asking(world: World) -> None:
    asked = boot_nanoseconds() + 1
    world.ledger.wait(1)
    world.source.next(Pages(page(world.ledger, world.replica.position), asked))
    await world.steps()
    meta = world.replica.meta
    assert meta is not None and meta.watermark_asked == asked


async def test_given_a_log_ahead_of_the_rows_then_its_watermark_counts_when_the_rows_are_there(
    world: World,
) -> None:
    ledger, at = world.ledger, world.replica.position
    ledger.given(workspace("w5"))
    asked = boot_nanoseconds()
    behind = page(ledger, at, rows=[], through=at)
    world.source.next(Pages(behind, asked))
    await world.steps()
    meta = world.replica.meta
    assert meta is not None and meta.watermark_position == at and meta.watermark_asked < asked
    ahead = Watermark(ORIGIN, EPOCH, len(ledger.log) + 5, ledger.now + 5)
    world.source.next(Pages(page(ledger, at, watermark=ahead), boot_nanoseconds()))
    await world.steps()
    meta = world.replica.meta
    assert meta is not None and meta.position == meta.watermark_position == len(ledger.log)
    assert meta.watermark_asked == asked  # the second watermark is not reached; the first one is, since now


async def test_given_a_second_follower_of_the_folder_then_it_stands_by_and_takes_over(world: World) -> None:
    source = Scripted(world.ledger)
    second = Follower(Replica.open(world.replica.folder), source)
    assert await second.step() == followers.STANDBY_SECONDS
    assert source.asked == [] and not second.leads
    world.follower.close()
    await second.step()
    assert second.leads and source.asked == [Token(ORIGIN, EPOCH, world.replica.position)]
    second.close()


# -- events --------------------------------------------------------------------------------------------------


def head(ledger: Ledger, epoch: int = EPOCH) -> Watermark:
    return Watermark(ORIGIN, epoch, len(ledger.log), ledger.now)


async def test_given_events_from_the_first_on_then_the_replica_is_folded_from_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    events = recorded(world.ledger)
    world.source.next(Events([], head(world.ledger), boot_nanoseconds()))
    world.source.next(Events(events[:3], head(world.ledger), boot_nanoseconds()))
    world.source.next(Events(events[3:], None, 0))
    await world.steps(2)
    assert not world.gate.check("w2")  # what the watermark says is not reached
    await world.steps()
    assert world.gate.check("w2")
    world.follower.close()


async def test_given_a_hole_in_the_events_then_halt(world: World) -> None:
    world.ledger.given(workspace("w5"), workspace("w6"))
    missing = recorded(world.ledger, world.replica.position)[1:]
    await world.refused(Events(missing, head(world.ledger), boot_nanoseconds()))


async def test_given_a_log_that_stands_before_the_replica_then_halt(world: World) -> None:
    shorter = Watermark(ORIGIN, EPOCH, world.replica.position - 1, world.ledger.now + 1)
    await world.refused(Events([], shorter, boot_nanoseconds()))


async def test_given_a_newer_epoch_that_the_replica_did_not_see_begin_then_it_is_thrown_away(
    world: World,
) -> None:
    newer = Watermark(ORIGIN, EPOCH + 1, world.replica.position, world.ledger.now + 1)
    world.source.next(Events([], newer, boot_nanoseconds()))
    await world.steps()
    assert not world.gate.check("w2")
    assert world.replica.position == 0


async def test_given_an_event_that_is_a_lie_then_its_stream_is_denied(world: World) -> None:
    position = world.replica.position + 1
    lie = [Recorded(position, "workspace/w2", b"{}")]
    world.source.next(
        Events(lie, Watermark(ORIGIN, EPOCH, position, world.ledger.now + 1), boot_nanoseconds())
    )
    await world.steps()
    assert world.gate.check("w2").reasons[0].code == "quarantined"
