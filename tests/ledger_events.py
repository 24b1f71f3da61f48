"""A ledger filled without its committer: real bytes, through the ledger's own statements.

`Appender` writes what it is told, also what no committer would; `history` makes long, lawful histories.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
from consent_domain import events, merkle
from consent_domain.envelope import encode
from consent_domain.events import BY_BODY, Body, RecordedBy, Requester, Scope
from consent_domain.identifiers import uuid7
from consent_domain.instants import micros, moment_of
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_ledger.database import STATEMENTS

ORIGIN = "consent.test/ledger"
START = datetime(2026, 1, 31, 9, tzinfo=UTC)
BY = RecordedBy(principal="staff-1", authentication="api_key")


class Draft(NamedTuple):
    """What to record: a body, or bytes that are none."""

    stream: str
    body: Body | bytes


class Appended(NamedTuple):
    position: int
    stream: str
    body: bytes


class Appender:
    """The one writer of a test's ledger, over one connection. `every` microseconds lie between two events."""

    def __init__(
        self, connection: asyncpg.Connection[asyncpg.Record], seed: int = 1, every: int = 60_000_000
    ) -> None:
        self._connection = connection
        self._random = random.Random(seed)
        self._every = every
        self._versions: dict[str, int] = {}
        self._range: list[bytes] = []
        self.position = 0
        self.log: list[Appended] = []

    def reseed(self, seed: int) -> None:
        """Give the events from now on other ids: another history."""
        self._random.seed(seed)

    async def append(self, drafts: Iterable[Draft]) -> list[Appended]:
        """Record drafts in one commit; a request's id is put into bodies by the caller."""
        rows = [self._row(draft) for draft in drafts]
        if not rows:
            return []
        if not self.position:
            await self._connection.execute(STATEMENTS["claim_origin"], ORIGIN)
        first = self.position
        for row in rows:
            merkle.append(self.position, self._range, row[6])
            self.position += 1
        columns = list(zip(*rows, strict=True))
        moved = await self._connection.fetchval(
            STATEMENTS["append"], first, *columns, *[[]] * 6, columns[4][-1], merkle.join(self._range)
        )
        assert moved == self.position, "somebody else wrote to this test's ledger"
        appended = [Appended(first + n, row[0], row[5]) for n, row in enumerate(rows, 1)]
        self.log += appended
        return appended

    def _row(self, draft: Draft) -> tuple[str, int, UUID, str, datetime, bytes, bytes]:
        self._next = getattr(self, "_next", 0) + 1
        position, time = self._next, micros(START) + self._next * self._every
        version = self._versions[draft.stream] = self._versions.get(draft.stream, 0) + 1
        event_id = uuid7(time // 1000, self._random.randbytes(10))
        if isinstance(draft.body, bytes):
            body, kind = draft.body, "unknown.v1"
        else:
            body = encode(position, event_id, ORIGIN, draft.stream, time, draft.body)
            kind = BY_BODY[type(draft.body)].name
        return draft.stream, version, event_id, kind, moment_of(time), body, merkle.leaf_hash(body)


PURPOSE = Purpose(
    key="train",
    processing="train",
    reach="global",
    model_class="generative",
    recipient="first_party",
    categories=["messages"],
    legal_basis="legitimate_interest",
    justification="To make the models better.",
)


def policy(version: str = "1") -> Draft:
    return Draft(
        "policy/principles",
        events.PolicyPublished(
            recorded_by=BY,
            version=version,
            title="Principles",
            text_sha256="0" * 64,
            effective_at=START,
            direction="stricter",
            why="first",
            rules=PolicyRules(
                purposes=[PURPOSE], rules=[Rule(selector=Selector(all=True), regime="opt_out")]
            ),
        ),
    )


def organisation(name: str) -> Draft:
    return Draft(f"organisation/{name}", events.OrganisationRegistered(recorded_by=BY))


def enrolled(name: str, plan: str = "free") -> Draft:
    return Draft(
        f"workspace/{name}",
        events.WorkspaceEnrolled(
            recorded_by=BY, kind="production", plan=plan, region="eu", customer_since=START
        ),
    )


def default_on(name: str) -> Draft:
    return Draft(
        f"workspace/{name}",
        events.DefaultOn(recorded_by=BY, purposes=["train"], policy_version="1", policy_position="1"),
    )


def changed(name: str, plan: str) -> Draft:
    return Draft(
        f"workspace/{name}",
        events.WorkspaceChanged(recorded_by=BY, effective_at=START, plan=plan, region="eu"),
    )


def opt_out(stream: str, request: str, authority: str = "verified") -> Draft:
    kind, _, name = stream.partition("/")
    return Draft(
        stream,
        events.OptOutRequested(
            recorded_by=BY,
            request=request,
            selector=Selector(all=True),
            scope=Scope(kind=kind, id=name),
            requester=Requester(role="owner", authority=authority),
            channel="console",
            received_at=START,
            effective_at=START,
            deadline=events.Deadline(rule="gdpr", due_at=START + timedelta(days=30)),
        ),
    )


def acknowledged(stream: str, request: str) -> Draft:
    return Draft(stream, events.OptOutAcknowledged(recorded_by=BY, request=request, authority="verified"))


def processed(stream: str, request: str) -> Draft:
    return Draft(stream, events.OptOutProcessed(recorded_by=BY, request=request))


def history(count: int, seed: int = 1, per_workspace: int = 6) -> Iterator[Draft]:
    """`count` lawful events: a policy, then workspaces, some of which change and object, interleaved."""
    chance = random.Random(seed)
    yield policy()
    waiting: list[list[Draft]] = []
    made, made_workspaces = 1, 0
    while made < count:
        if len(waiting) < 50:
            waiting.append(_life(f"w{made_workspaces:07d}", chance, per_workspace))
            made_workspaces += 1
        place = chance.randrange(len(waiting))
        yield waiting[place].pop(0)
        made += 1
        if not waiting[place]:
            waiting.pop(place)


def _life(name: str, chance: random.Random, length: int) -> list[Draft]:
    stream, request = f"workspace/{name}", f"request-{name}"
    life = [
        enrolled(name, chance.choice(["free", "team"])),
        default_on(name),
        changed(name, "business"),
        opt_out(stream, request, chance.choice(["verified", "plausible", "unverified"])),
        acknowledged(stream, request),
        processed(stream, request),
    ]
    return life[: chance.randint(1, length)]


async def append_all(appender: Appender, drafts: Iterable[Draft], batch: int = 1_000) -> None:
    """Append in commits of `batch`."""
    pending: list[Draft] = []
    for draft in drafts:
        pending.append(draft)
        if len(pending) == batch:
            await appender.append(pending)
            pending = []
    await appender.append(pending)


def bytes_of(log: Sequence[Appended]) -> int:
    """How many bytes the bodies take."""
    return sum(len(event.body) for event in log)
