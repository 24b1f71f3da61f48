"""Being told who withdraws while data is in use: nothing is lost or told twice; silence is no consent."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from consent_domain.commands import (
    ChangeWorkspace,
    GrantOptIn,
    SuspendPurpose,
    WithdrawOptOut,
)
from consent_domain.errors import ConsentError
from consent_domain.instants import DAY, SECOND
from consent_gate import comparing, store, watch, watched
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from consent_gate.watch import News, Silence, Watch
from consent_gate.watched import Withdrawal
from gate_ledger import EPOCH, mark, recorded, replica_of
from scenario import (
    ORIGIN,
    OWNER,
    START,
    Ledger,
    at,
    enrolled,
    notice,
    opt_in,
    opt_out,
    policy,
    purpose,
    rule,
    rules,
    scope,
    workspace,
)

HOUR = 3_600 * SECOND


class Side:
    """A ledger and a gate that follows it whenever a test says so."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.replica = replica_of(ledger, folder)
        self.gate = Gate(self.replica, purpose="train", max_staleness=60)
        self._applied = len(ledger.log)

    def given(self, *commands: Any) -> Side:
        """These happened, and the replica knows."""
        self.ledger.given(*commands)
        return self.follow()

    def follow(self) -> Side:
        new = recorded(self.ledger, self._applied)
        if new:
            self.replica.apply_events(new, mark(self.ledger))
        else:
            self.replica.note_watermark(mark(self.ledger))
        self._applied = len(self.ledger.log)
        return self

    def wait(self, micros: int) -> Side:
        """Ledger time goes on, and the replica knows."""
        self.ledger.wait(micros)
        return self.follow()


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(enrolled().given(*(workspace(f"w{n}") for n in range(2, 5))), tmp_path)


def withdrawals(news: list[News]) -> dict[str, str]:
    """Reason codes by workspace, each of which was told of once."""
    found = [one for one in news if isinstance(one, Withdrawal)]
    assert len(found) == len(news) == len({one.workspace for one in found})
    return {one.workspace: one.code for one in found}


def test_given_nothing_happens_then_there_is_no_news(side: Side) -> None:
    news = side.gate.watch(["acme", "w2"])
    assert news.news() == []
    side.wait(HOUR)
    assert news.news() == [] and not news.is_silent


def test_given_a_workspace_in_use_opts_out_then_it_is_told_once_with_all_there_is_to_know(side: Side) -> None:
    watching = side.gate.watch(["acme", "w2"])
    watching.news()
    side.given(opt_out())
    (told,) = watching.news()
    assert isinstance(told, Withdrawal)
    assert (told.workspace, told.code, told.position) == (
        "acme",
        "opt_out_requested",
        len(side.ledger.log),
    )
    assert not told.partial and told.windows == ()
    assert told.token == f"{ORIGIN}/{EPOCH}/{len(side.ledger.log)}"
    assert told.ledger_time == at(side.ledger.now)
    assert "acme may not be used for train: an opt-out was requested" in told.sentence
    assert watching.news() == []
    assert watching.news() == side.wait(HOUR).gate.watch(["w2"]).news() == []


def test_given_somebody_else_withdraws_then_there_is_no_news(side: Side) -> None:
    watching = side.gate.watch("w2")
    watching.news()
    side.given(opt_out(), workspace("w9"))
    assert watching.news() == []


def test_given_an_opt_out_that_came_and_went_between_two_looks_then_what_stays_out_is_told(
    side: Side,
) -> None:
    watching = side.gate.watch(["acme", "w2"])
    watching.news()
    side.given(opt_out())
    request = side.ledger.request()
    side.ledger.wait(HOUR)
    side.given(WithdrawOptOut(request=request, applicant=OWNER))
    (told,) = watching.news()
    assert isinstance(told, Withdrawal)
    assert (told.workspace, told.partial) == ("acme", True)
    assert len(told.windows) >= 1 and told.sentence.startswith("Part of the data of acme may not")
    assert "still permitted is what was collected from" in told.sentence


def test_given_workspaces_that_permit_nothing_from_the_start_then_they_are_told_at_once(side: Side) -> None:
    side.given(opt_out())
    watching = side.gate.watch(["acme", "w2", "nobody", "no/id", ""])
    assert withdrawals(watching.news()) == {
        "acme": "opt_out_requested",
        "nobody": "unknown_workspace",
        "no/id": "invalid_id",
        "": "invalid_id",
    }
    assert watching.news() == []


def test_given_one_that_permitted_nothing_and_then_permits_and_withdraws_then_that_is_told(
    side: Side,
) -> None:
    watching = side.gate.watch(["late"])
    assert withdrawals(watching.news()) == {"late": "unknown_workspace"}
    side.given(workspace("late"))
    assert watching.news() == []
    side.given(opt_out(scope=scope("late")))
    assert withdrawals(watching.news()) == {"late": "opt_out_requested"}


def test_given_a_withdrawal_that_is_taken_back_and_made_again_then_it_is_told_again(side: Side) -> None:
    watching = side.gate.watch(["acme"])
    watching.news()
    side.given(opt_out())
    first = side.ledger.request()
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}
    side.given(WithdrawOptOut(request=first, applicant=OWNER))
    watching.news()
    side.given(opt_out())
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}


def test_given_an_organisation_opts_out_then_its_workspaces_are_told_and_no_others(tmp_path: Path) -> None:
    ledger = enrolled().given(workspace("in", organisation="corp"), workspace("joins"), workspace("out"))
    side = Side(ledger, tmp_path)
    watching = side.gate.watch(["in", "joins", "out"])
    watching.news()
    side.given(ChangeWorkspace(workspace="joins", organisation="corp"))
    assert watching.news() == []
    side.given(opt_out(scope=scope("corp", "organisation")))
    assert withdrawals(watching.news()) == {
        "in": "organisation_opt_out_requested",
        "joins": "organisation_opt_out_requested",
    }


def test_given_a_stop_for_everybody_then_everybody_is_told_a_thousand_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "NEWS_MAX", 7)
    names = [f"w{n}" for n in range(20)]
    side = Side(enrolled().given(*map(workspace, names)), tmp_path)
    watching = side.gate.watch(names)
    watching.news()
    side.given(SuspendPurpose(purpose="train", reason="an incident"))
    rounds = [watching.news() for _ in range(4)]
    assert [len(one) for one in rounds] == [7, 7, 6, 0]
    assert withdrawals([one for some in rounds for one in some]) == dict.fromkeys(names, "suspended")


def test_given_consent_that_runs_out_then_it_is_told_when_ledger_time_gets_there(tmp_path: Path) -> None:
    ledger = enrolled(rules=rules(rule("opt_in")))
    ends = ledger.now + DAY
    ledger.given(opt_in())
    asked = {"opt_in": ledger.request(), "applicant": OWNER, "notice": notice(START)}
    ledger.given(GrantOptIn(**asked, expires_at=at(ends), covers_collected_before=True))
    side = Side(ledger, tmp_path)
    assert side.gate.check("acme", collected=at(ledger.now))
    watching = side.gate.watch(["acme"])
    assert watching.news() == []
    assert side.wait(DAY // 2) and watching.news() == []
    side.wait(DAY)
    assert withdrawals(watching.news()) == {"acme": "opt_in_expired"}


def test_given_a_policy_announced_that_prohibits_then_it_is_told_when_it_is_in_force(side: Side) -> None:
    watching = side.gate.watch(["acme", "w2"])
    watching.news()
    begins = side.ledger.now + 2 * HOUR
    stricter = policy("2", begins, direction="stricter", rules=rules(rule("prohibited")))
    side.given(stricter)
    assert watching.news() == []
    side.wait(HOUR)
    assert watching.news() == []
    side.wait(HOUR)
    assert withdrawals(watching.news()) == dict.fromkeys(["acme", "w2"], "prohibited_by_policy")


def test_given_a_replica_that_is_fetched_anew_meanwhile_then_nothing_is_lost(side: Side) -> None:
    watching = side.gate.watch(["acme", "w2"])
    watching.news()
    side.ledger.given(opt_out())
    side.replica.build(ORIGIN, EPOCH).finish(0)
    side.replica.apply_events(recorded(side.ledger), mark(side.ledger))
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}


def test_given_more_changes_than_are_remembered_then_nothing_is_lost(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHANGES_KEPT", 3)
    watching = side.gate.watch(["acme", "w2"])
    watching.news()
    side.given(opt_out(), *(workspace(f"new{n}") for n in range(10)))
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}
    with side.replica.snapshot() as snapshot:
        newest = snapshot.meta.position
        assert snapshot.changes_after(newest - 4) is None
        assert snapshot.changes_after(newest - 3) == [("workspace", "new9")], "its default changes nothing"


def test_given_facts_that_come_as_rows_then_nothing_is_lost(side: Side) -> None:
    from gate_ledger import rows

    watching = side.gate.watch(["acme", "w2"])
    watching.news()
    before = len(side.ledger.log)
    side.ledger.given(opt_out(), workspace("w9"))
    side.replica.apply_rows(
        rows(side.ledger, before), len(side.ledger.log), side.ledger.now, mark(side.ledger)
    )
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}


def test_given_a_look_that_breaks_off_then_the_next_one_tells_everything(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = side.gate.watch(["acme", "w2", "w3"])
    watching.news()
    side.given(opt_out(), opt_out(scope=scope("w2")))
    ruling, calls = comparing.Now.ruling, 0

    def broken(self: Any, name: str) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("broken")
        return ruling(self, name)

    monkeypatch.setattr(comparing.Now, "ruling", broken)
    assert watching.news() == []
    assert withdrawals(watching.news()) == dict.fromkeys(["acme", "w2"], "opt_out_requested")


# -- silence -------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Lets the boot clock of watches go on."""
    ahead = [0]
    monkeypatch.setattr(watch, "boot_nanoseconds", lambda: boot_nanoseconds() + ahead[0])

    def go_on(seconds: float) -> None:
        ahead[0] += int(seconds * 1e9)

    yield go_on


def test_given_the_ledger_is_heard_of_no_more_then_that_is_told_once_and_again_the_next_time(
    side: Side, clock: Callable[[float], None]
) -> None:
    watching = side.gate.watch(["acme"])
    assert watching.news() == []
    clock(61)
    (told,) = watching.news()
    assert isinstance(told, Silence)
    assert told.state == "stale" and told.seconds > 60 and "stop, or wait" in told.sentence
    assert watching.is_silent and watching.news() == []
    side.replica.note_watermark(mark(side.ledger)._replace(asked=boot_nanoseconds() + 61_000_000_000))
    side.ledger.wait(1)
    side.replica.note_watermark(mark(side.ledger)._replace(asked=boot_nanoseconds() + 61_000_000_000))
    assert watching.news() == [] and not watching.is_silent
    clock(61)
    assert [type(one) for one in watching.news()] == [Silence]


def test_given_a_withdrawal_during_a_silence_then_it_is_told_all_the_same(
    side: Side, clock: Callable[[float], None]
) -> None:
    watching = side.gate.watch(["acme"])
    watching.news()
    clock(100)
    assert [type(one) for one in watching.news()] == [Silence]
    side.given(opt_out())
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}


def test_given_a_halted_replica_then_it_is_a_silence_after_the_time_allowed(
    side: Side, clock: Callable[[float], None]
) -> None:
    watching = side.gate.watch(["acme"])
    watching.news()
    side.replica.halt("a fork")
    assert watching.news() == []
    clock(61)
    (told,) = watching.news()
    assert isinstance(told, Silence) and told.state == "halted" and "a fork" in told.why


def test_given_there_never_was_a_replica_then_it_is_a_silence(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    gate = Gate(Replica.open(tmp_path), purpose="train", max_staleness=1)
    watching = gate.watch(["acme"])
    assert watching.news() == []
    clock(2)
    (told,) = watching.news()
    assert isinstance(told, Silence) and told.state == "catching_up"


# -- iterators and call-backs --------------------------------------------------------------------------------


def test_given_a_call_back_that_raises_then_watching_goes_on_and_it_is_not_silent(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    heard: list[str] = []
    done = threading.Event()

    def call(event: News) -> None:
        assert isinstance(event, Withdrawal)
        heard.append(event.workspace)
        if len(heard) == 2:
            done.set()
        raise RuntimeError("the trainer's own bug")

    with side.gate.watch(["acme", "w2"], on_withdrawal=call) as watching:
        side_has_looked(watching)
        side.given(opt_out(), opt_out(scope=scope("w2")))
        assert done.wait(20)
        until(lambda: len(watching.failures) == 2)
    assert [str(one.exc_value) for one in raised] == ["the trainer's own bug"] * 2
    assert [event.workspace for event, _ in watching.failures] == heard  # type: ignore[union-attr]


def side_has_looked(watching: Watch) -> None:
    until(lambda: watching._watched._stand is not None)


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_given_a_gate_that_is_closed_then_whoever_waits_for_news_stops_waiting(side: Side) -> None:
    watching = side.gate.watch(["acme"])
    ended = threading.Event()

    def wait() -> None:
        assert list(watching) == []
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    side.gate.close()
    assert ended.wait(20)


def test_given_a_gate_that_is_closed_when_a_loop_goes_on_asking_then_it_is_told_that_nobody_looks(
    side: Side,
) -> None:
    watching = side.gate.watch(["acme"])
    assert watching.news() == [] and not watching.is_silent
    side.gate.close()
    assert watching.is_silent
    side.given(opt_out())
    (told,) = watching.news()
    assert isinstance(told, Silence) and told.state == "stale" and "closed" in told.sentence
    assert watching.news() == [] and watching.is_silent


async def test_an_asynchronous_iterator_waits_without_blocking_the_loop(side: Side) -> None:
    heard: list[News] = []
    ticks = 0

    async def listen(watching: Watch) -> None:
        async for event in watching:
            heard.append(event)
            return

    async with side.gate.watch(["acme"]) as watching:
        listening = asyncio.create_task(listen(watching))
        while watching._watched._stand is None:
            await asyncio.sleep(0.01)
            ticks += 1
        side.given(opt_out())
        await asyncio.wait_for(listening, 20)
    assert withdrawals(heard) == {"acme": "opt_out_requested"} and ticks > 0
    assert [event async for event in watching] == []


def test_given_a_fork_while_a_thread_looks_then_the_child_can_look_too(side: Side) -> None:
    watching = side.gate.watch(["acme"])
    watching.news()
    watching._lock.acquire()
    child = os.fork()
    if child == 0:
        os._exit(0 if watching.news() == [] else 1)
    watching._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- jobs ----------------------------------------------------------------------------------------------------


def test_given_a_call_back_when_the_process_is_forked_then_nobody_looks_in_the_child_until_it_asks(
    side: Side,
) -> None:
    called: list[tuple[int, str]] = []

    def call(event: News) -> None:
        assert isinstance(event, Withdrawal)
        called.append((os.getpid(), event.workspace))

    with side.gate.watch(["acme", "w2"], on_withdrawal=call) as news:
        until(lambda: not news.is_silent)
        side.given(opt_out(scope=scope("w2")))
        until(lambda: called == [(os.getpid(), "w2")])

        def in_child() -> bool:
            silent = news.is_silent
            time.sleep(0.3)
            asked = {one.workspace for one in news.news() if isinstance(one, Withdrawal)}
            return silent and len(called) == 1 and asked <= {"w2"} and not news.is_silent

        assert in_fork(in_child)
        assert not news.is_silent


def test_given_a_fork_while_the_watch_is_being_closed_then_the_child_can_ask_and_close_it(side: Side) -> None:
    news = side.gate.watch("acme")
    with news._closed._cond:  # as another thread holds it

        def in_child() -> bool:
            asked = news.news() == []
            news.close()
            return asked and isinstance(news.news()[0], Silence)

        assert in_fork(in_child)


def in_fork(work: Callable[[], bool]) -> bool:
    """What `work` says in a forked process, which must not hang."""
    child = os.fork()
    if child == 0:
        threading.Timer(30, os._exit, (2,)).start()
        passed = False
        try:
            passed = work()
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0


@pytest.fixture
def live(side: Side) -> Iterator[Side]:
    """A side whose replica is told all the time that nothing happened, so that jobs begin."""
    ended = threading.Event()

    def heartbeat() -> None:
        while not ended.wait(0.02):
            with lock:
                side.ledger.wait(1)
                side.follow()

    lock = threading.Lock()
    side.lock = lock  # type: ignore[attr-defined]
    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    yield side
    ended.set()
    thread.join()


def say(live: Side, *commands: Any) -> None:
    with live.lock:  # type: ignore[attr-defined]
        live.given(*commands)


def test_given_a_job_then_what_changed_since_its_moment_is_told_of_those_it_met(live: Side) -> None:
    with live.gate.job() as job:
        kept = job.filter([{"w": "acme"}, {"w": "w2"}, {"w": "nobody"}], "w")
        assert [row["w"] for row in kept] == ["acme", "w2"]
        say(live, opt_out(), opt_out(scope=scope("w3")))
        watching = live.gate.watch(job)
        assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}
        assert [row["w"] for row in job.filter([{"w": "w3"}], "w")] == ["w3"], "as of its moment"
        assert withdrawals(watching.news()) == {"w3": "opt_out_requested"}, "met later, withdrawn before"
    say(live, opt_out(scope=scope("w2")))
    assert withdrawals(watching.news()) == {"w2": "opt_out_requested"}, "the job is closed, and watched on"


def test_given_a_job_that_met_nobody_when_it_was_looked_then_whoever_it_meets_later_is_watched(
    live: Side,
) -> None:
    with live.gate.job() as job:
        watching = live.gate.watch(job)
        assert watching.news() == []
        say(live, opt_out())
        assert watching.news() == []
        assert list(job.filter([{"w": "acme"}, {"w": "w2"}], "w")) == [{"w": "acme"}, {"w": "w2"}]
        assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}
        say(live, opt_out(scope=scope("w2")))
        assert withdrawals(watching.news()) == {"w2": "opt_out_requested"}


def test_given_a_workspace_named_twice_then_it_is_told_once(side: Side) -> None:
    watching = side.gate.watch(["acme", "w2", "acme"])
    assert watching.news() == []
    side.given(opt_out(), policy("2", side.ledger.now + HOUR, direction="editorial"))
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}


def test_given_a_job_whose_permitted_set_went_out_then_everybody_is_watched(live: Side) -> None:
    with live.gate.job() as job:
        job.pinned()
        watching = live.gate.watch(job)
        assert watching.news() == []
        say(live, opt_out(scope=scope("w4")))
        assert withdrawals(watching.news()) == {"w4": "opt_out_requested"}


def test_given_the_result_of_a_filter_then_it_is_watched_as_its_job(live: Side) -> None:
    result = live.gate.filter([{"w": "acme"}], "w")
    watching = live.gate.watch(result)
    say(live, opt_out())
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}


# -- wrong questions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [[], None, [None], b"acme", 5, ["acme", 5]])
def test_given_nobody_to_watch_then_there_is_no_watch_that_stays_silent(side: Side, used: Any) -> None:
    with pytest.raises(ConsentError, match="malformed"):
        side.gate.watch(used)


def test_given_no_purpose_then_there_is_no_watch(side: Side) -> None:
    with pytest.raises(ConsentError, match="purpose"):
        Gate(side.replica).watch(["acme"])


def test_given_a_purpose_that_nobody_knows_then_everybody_is_told_at_once(side: Side) -> None:
    assert withdrawals(side.gate.watch(["acme"], "trian").news()) == {"acme": "unknown_purpose"}


def test_given_a_purpose_of_the_watch_then_it_counts(tmp_path: Path) -> None:
    side = Side(enrolled(rules=rules(purposes=(purpose(), purpose("other")))), tmp_path)
    watching = side.gate.watch(["acme"], "other")
    watching.news()
    side.given(opt_out("train"))
    assert watching.news() == []
    side.given(opt_out("other"))
    assert withdrawals(watching.news()) == {"acme": "opt_out_requested"}
