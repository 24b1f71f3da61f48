"""Thousands of histories, each from a seed: processes crash, messages go astray, backups come back.

In each: two committers, two consumers of the view of facts, the gate of the ledger's host and a remote one.
More seeds: `CONSENT_SIMULATION_SEEDS=20000 CONSENT_SIMULATION_FROM=1000 pytest tests/simulation`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from consent_domain import merkle
from consent_domain.commands import (
    Command,
    EnrolWorkspace,
    ProcessOptOut,
    RequestOptOut,
    SuspendPurpose,
    WithdrawOptOut,
)
from consent_domain.decide import Collected, decide
from consent_domain.envelope import decode
from consent_domain.events import RecordedBy, Scope
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts, pack
from consent_domain.handle import ids_needed, streams_of
from consent_domain.identifiers import parse_token, uuid7
from consent_domain.instants import SECOND, micros, moment_of
from consent_domain.purposes import Selector
from consent_domain.state import BookState, StreamState, fold_book_stored, fold_stored
from consent_gate.follower import Follower
from consent_gate.gate import Gate
from consent_gate.replica import Replica
from consent_ledger.committer import Committer, Submission, Waiting
from consent_ledger.floors import Floors
from consent_ledger.outcome import Outcome
from consent_ledger.seams import Key
from consent_projector.consumer import Consumer
from consent_projector.hints import Hints
from consent_projector.seams import Unavailable
from consent_projector.table import Table
from consent_projector.views.facts import FACTS
from scenario import OWNER, STRANGER, policy
from simulated import (
    ORIGIN,
    Actor,
    SimulatedClock,
    SimulatedFeed,
    SimulatedLog,
    SimulatedStore,
    SimulatedViews,
    World,
)

SEEDS = int(os.environ.get("CONSENT_SIMULATION_SEEDS", "2000"))
FIRST = int(os.environ.get("CONSENT_SIMULATION_FROM", "0"))
GROUP = 50
PROCESSES = 2
TURNS = 320
TURNS_WITHOUT_FAULTS = 60
WORKSPACES = ("acme", "bolt", "crew")
MAP_BYTES = 1 << 20
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Replicas are on disk only so that processes may share them."""


class Known:
    """The facts as of one position of one epoch's history: what any answer may stand on."""

    def __init__(self, history: list[bytes]) -> None:
        everybody, self._streams = BookState(), dict[str, StreamState]()
        for position, body in enumerate(history, 1):
            stream = decode(body).stream
            if stream.startswith(("workspace/", "organisation/")):
                self._streams[stream] = fold_stored(self._streams.get(stream), stream, position, body)
            else:
                everybody = fold_book_stored(everybody, stream, position, body)
        self.book: Book = everybody.book
        self._any = everybody.position > 0

    def workspace(self, name: str) -> WorkspaceFacts | None:
        state = self._streams.get(f"workspace/{name}")
        return state.facts if state and isinstance(state.facts, WorkspaceFacts) else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        return None

    def packed(self) -> dict[tuple[object, object], bytes]:
        """The rows that a view of facts must hold."""
        rows: dict[tuple[object, object], bytes] = {
            ("workspace", stream.partition("/")[2]): pack(state.facts)
            for stream, state in self._streams.items()
            if state.facts is not None
        }
        if self._any:
            rows["book", "-"] = pack(self.book)
        return rows


class Asked:
    """One command as its sender remembers it."""

    def __init__(self, command: Command, key: str) -> None:
        self.command = command
        self.key = key
        self.outcome: Outcome | None = None


class Simulation:
    """One world and the processes in it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.folder = folder
        self.asked: list[Asked] = []
        self.requests: list[str] = []
        self.permits = 0
        self.unknown = 0
        self._tasks: dict[Actor, asyncio.Task[None]] = {}
        self._begun = 0
        self._known: dict[tuple[int, int], Known] = {}
        self._committers: list[Committer] = []
        self.gates: dict[str, Gate] = {}

    async def run(self) -> None:
        self._start_all()
        self.world.faults = False
        while len(self._committers) < 2:
            await self.world.go_on()
        for turn in range(TURNS):
            if turn % 4 == 0:
                self._ask()
            await self.world.go_on()
            self._look_after_tasks()
            if turn % 3 == 0:
                self._check_gates()
            if turn == TURNS_WITHOUT_FAULTS:
                self.world.faults = True
            if self.world.happens(0.02):
                self._crash_one()
            if self.world.happens(0.004):
                self.world.restore()
        await self._settle()
        self._check_log()
        self._check_outcomes()
        self._check_view()
        self._check_gates(settled=True)

    # -- processes -------------------------------------------------------------------------------------------

    def _start_all(self) -> None:
        self._committer()
        self._committer()
        self._consumer()
        self._consumer()
        self._follower(
            "host", lambda actor: Follower(self._replica("host"), SimulatedLog(self.world, actor), ORIGIN)
        )
        self._follower(
            "far", lambda actor: Follower(self._replica("far"), SimulatedFeed(self.world, actor), ORIGIN)
        )
        self.gates = {name: Gate(self._replica(name), max_staleness=3600.0) for name in ("host", "far")}

    def _begin(self, name: str, work: Callable[[Actor], Awaitable[None]]) -> None:
        self._begun += 1
        actor = Actor(f"{name}-{self._begun}")
        self._tasks[actor] = asyncio.ensure_future(work(actor))

    def _committer(self) -> None:
        async def work(actor: Actor) -> None:
            committer = Committer(
                SimulatedStore(self.world, actor),
                ORIGIN,
                Floors(lambda: 0),
                self.world,
                lambda batch: None,
                SimulatedClock(self.world).monotonic,
                batch_max=3,
            )
            self._committers = [*self._committers, committer][-2:]
            while True:
                await self.world.pause(actor)
                await committer.step()

        self._begin("committer", work)

    def _consumer(self) -> None:
        async def work(actor: Actor) -> None:
            hints = Hints(ORIGIN)
            self.world.ears.append(hints.offer)
            store = SimulatedViews(self.world, actor)
            consumer = Consumer(
                Table(FACTS, store), store, SimulatedClock(self.world), hints, actor.name, events_max=3
            )
            while True:
                await self.world.pause(actor)
                try:
                    await consumer.step()
                except Unavailable:
                    pass

        self._begin("consumer", work)

    def _replica(self, name: str) -> Replica:
        return Replica.open(self.folder / name, map_bytes=MAP_BYTES)

    def _follower(self, name: str, make: Callable[[Actor], Follower]) -> None:
        async def work(actor: Actor) -> None:
            follower = make(actor)
            try:
                while True:
                    await self.world.pause(actor)
                    await follower.step()
            finally:
                follower.close()

        self._begin(name, work)

    def _look_after_tasks(self) -> None:
        for task in self._tasks.values():
            if task.done():
                task.result()
                raise AssertionError("a process ended by itself")

    def _crash_one(self) -> None:
        actor = self.random.choice(list(self._tasks))
        name = actor.name.partition("-")[0]
        self.world.crash(actor)
        self._tasks.pop(actor).cancel()  # a follower gives up the lead with its process
        if name == "committer":
            self._committer()
        elif name == "consumer":
            self._consumer()
        elif name == "host":
            self._follower(
                name, lambda a: Follower(self._replica("host"), SimulatedLog(self.world, a), ORIGIN)
            )
        else:
            self._follower(
                name, lambda a: Follower(self._replica("far"), SimulatedFeed(self.world, a), ORIGIN)
            )

    # -- commands --------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        unsettled = [one for one in self.asked if one.outcome is not None and one.outcome.status == "unknown"]
        if unsettled and self.random.random() < 0.7:
            again = self.random.choice(unsettled)
        else:
            again = Asked(self._command(), f"key-{len(self.asked)}")
            self.asked.append(again)
        self._send(again)

    def _command(self) -> Command:
        workspace = self.random.choice(WORKSPACES)
        request = self.random.choice(self.requests or ["none"])
        if len(self.asked) == 0:
            return policy("1", effective=self.world.now + 2 * SECOND)
        if len(self.asked) <= len(WORKSPACES):
            return EnrolWorkspace(workspace=WORKSPACES[len(self.asked) - 1], plan="free", region="eu")
        return self.random.choice(
            [
                EnrolWorkspace(workspace=workspace, plan="free", region="eu", customer_since=None),
                EnrolWorkspace(workspace=workspace, plan="free", region="eu", customer_since=None),
                RequestOptOut(
                    scope=Scope(kind="workspace", id=workspace),
                    selector=Selector(all=True),
                    applicant=self.random.choice([OWNER, STRANGER]),
                ),
                ProcessOptOut(request=request, approved_by="staff-2"),
                WithdrawOptOut(request=request, applicant=OWNER),
                SuspendPurpose(purpose="other", reason="a test"),
                policy(
                    str(len(self.asked) + 1),
                    effective=self.world.now + 5 * SECOND,
                    direction="looser" if len(self.asked) < 3 else "editorial",
                ),
            ]
        )

    def _send(self, asked: Asked) -> None:
        committer = self.random.choice(self._committers)
        stream = self._stream_of(asked.command)
        waiting = Waiting(1)
        numbers = range(ids_needed(asked.command))
        submission = Submission(
            command=asked.command,
            recorded_by=RecordedBy(principal="staff-1", authentication="api-key"),
            role="admin",
            event_ids=tuple(uuid7(self.world.now // 1000, self.random.randbytes(10)) for _ in numbers),
            waiting=waiting,
            expected_version=None,
            key=Key("staff-1", asked.key),
            dry_run=False,
        )
        submission.request_stream = stream
        submission.streams = streams_of(asked.command, stream)
        submission.body_hash = asked.key.encode().ljust(32, b".")
        asked.outcome = Outcome(status="unknown")  # as long as nobody answers, or the process crashed
        waiting.done.add_done_callback(lambda _: self._answered(asked, submission))
        committer.submit([submission])

    def _answered(self, asked: Asked, submission: Submission) -> None:
        assert submission.outcome is not None
        asked.outcome = submission.outcome
        self.unknown += submission.outcome.status == "unknown"
        if isinstance(asked.command, RequestOptOut) and submission.outcome.status == "applied":
            self.requests.append(str(submission.outcome.answer["request"]))

    def _stream_of(self, command: Command) -> str | None:
        named = getattr(command, "request", "")
        return next((row.stream for row in self.world.log if str(row.id) == named), None)

    async def _settle(self) -> None:
        """No more faults: everything unknown is settled, everybody catches up."""
        self.world.faults = False
        for _ in range(40):
            for asked in self.asked:
                if asked.outcome is None or asked.outcome.status == "unknown":
                    self._send(asked)
            for _ in range(60):
                await self.world.go_on()
            self._look_after_tasks()
            self._check_gates()
            waiting = [one for one in self.asked if one.outcome is None or one.outcome.status == "unknown"]
            head = len(self.world.log)
            behind = [gate for gate in self.gates.values() if gate.position() != head]
            if not waiting and not behind and self.world.cursors["facts"].position == head:
                return
        raise AssertionError(f"not settled: {[gate.status() for gate in self.gates.values()]}")

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    # -- what must hold --------------------------------------------------------------------------------------

    def _check_log(self) -> None:
        versions: dict[str, int] = {}
        hashes: list[bytes] = []
        last = 0
        for size, row in enumerate(self.world.log):
            event = decode(row.body)
            assert event.position == size + 1, "positions have no gap"
            assert event.time > last, "time strictly rises"
            assert row.leaf_hash == merkle.leaf_hash(row.body)
            assert row.version == versions.get(row.stream, 0) + 1, "versions have no gap"
            versions[row.stream], last = row.version, event.time
            merkle.append(size, hashes, row.leaf_hash)
        assert len({row.id for row in self.world.log}) == len(self.world.log), "an event is recorded once"

    def _check_outcomes(self) -> None:
        """What this epoch acknowledged is there, once; a backup may take back what older ones did."""
        by_first: dict[int, str] = {}
        for asked in self.asked:
            outcome = asked.outcome
            if outcome is None or outcome.status != "applied":
                continue
            token = parse_token(outcome.token)
            if token.epoch == self.world.epoch:
                assert token.position <= len(self.world.log), "an acknowledged event is lost"
                assert by_first.setdefault(outcome.first_position, asked.key) == asked.key, (
                    "one commit, two keys"
                )

    def _check_view(self) -> None:
        rows = {key: row[3] for key, row in self.world.tables.get("facts", {}).items()}
        folded = self._facts(self.world.epoch, len(self.world.log)).packed()
        assert rows == folded, f"the view is not the fold: {_differing(rows, folded)}"

    def _facts(self, epoch: int, position: int) -> Known:
        key = (epoch, position)
        if key not in self._known:
            self._known[key] = Known(self.world.histories[epoch][:position])
        return self._known[key]

    def _check_gates(self, settled: bool = False) -> None:
        """Whatever a gate answers is what the rules say of the log up to the position that it names."""
        for gate in self.gates.values():
            workspace = self.random.choice((*WORKSPACES, "nobody"))
            collected = moment_of(self.world.now - self.random.randrange(1, 6 * SECOND))
            answer = gate.check(workspace, "train", collected=collected)
            if answer.decision == "undecided":
                assert not answer
                assert not settled, answer
                continue
            if not answer and answer.reasons[0].code in ("stale", "catching_up", "halted"):
                assert not settled, answer
                continue
            token = parse_token(answer.token)
            assert answer.ledger_time is not None
            at, instant = micros(answer.ledger_time), micros(collected)
            expected = decide(
                self._facts(token.epoch, token.position),
                [workspace],
                "train",
                (),
                at,
                Collected(instant, instant),
            )
            assert answer.permitted == expected.permit, (answer, expected)
            assert answer.reasons == expected.reasons, (answer.token, answer, expected)
            self.permits += answer.permitted


def _differing(rows: dict[Any, bytes], folded: dict[Any, bytes]) -> list[Any]:
    return [key for key in rows.keys() | folded.keys() if rows.get(key) != folded.get(key)]


async def simulate(seed: int, folder: Path) -> Simulation:
    """One history. Raises AssertionError where something that must always hold does not."""
    simulation = Simulation(seed, folder)
    try:
        await simulation.run()
    finally:
        simulation.stop()
        await asyncio.sleep(0)
    return simulation


def simulate_all(seeds: range) -> Counter[str]:
    """Each seed in turn; how often anything happened. Raises AssertionError naming the seed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seen: Counter[str] = Counter()
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="consent-simulation-", dir=MEMORY) as folder:
            try:
                simulation = uvloop.run(simulate(seed, Path(folder)))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        seen += Counter(
            permits=simulation.permits,
            restores=simulation.world.restores,
            recorded=len(simulation.world.log),
            unknown=simulation.unknown,
        )
    return seen


@pytest.mark.timeout(1_500)
def test_whatever_happens_nothing_is_lost_or_permitted_wrongly() -> None:
    everything = range(FIRST, FIRST + SEEDS)
    groups = [everything[start : start + GROUP] for start in range(0, SEEDS, GROUP)]
    seen: Counter[str] = Counter()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("fork")) as pool:
        for counted in pool.map(simulate_all, groups):
            seen += counted
    assert all(seen[what] for what in ("permits", "restores", "recorded", "unknown")), (
        f"a simulation in which nothing happens shows nothing: {seen}"
    )
