"""One look at a ledger: everything that an auditor can check from outside, with what was seen before.

In this order, and each only if what it stands on holds:

1. what witnesses saw and what the ledger answers from, asked first: its log must show at least as much
2. the checkpoint: signed by a pinned key, and no smaller than the one before
3. the tree: it begins with the one before, and contains what every witness saw
4. every new event: proven, in order, readable, possible; rotations of keys, and new epochs
5. enough cosignatures, soon enough
6. deadlines, by this host's clock
7. a sample of decisions

A look reads O(new events), and needs memory for 4,096 of them, the streams that they are about, and the
policies.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, epoch_of
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token
from consent_domain.instants import SECOND, Micros, micros, moment_of

from consent_gate.answers import CheckRequest
from consent_gate.audit.monitor import witnesses
from consent_gate.audit.monitor.alarms import alarm
from consent_gate.audit.monitor.findings import Ended, Found, text_of
from consent_gate.audit.monitor.following import follow
from consent_gate.audit.monitor.heads import (
    Head,
    read_head,
    require_continues,
    require_same_ledger,
    trusted,
)
from consent_gate.audit.monitor.memory import Followed, Memory
from consent_gate.audit.monitor.sample import Ask, answered, sample
from consent_gate.audit.monitor.witnesses import Seen
from consent_gate.audit.rules import Rules
from consent_gate.audit.sources import LogSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust, in_words

OVERDUE_TOLD = 1_000
CATCH_UP_SECONDS = 10.0
"""How long the published log may be behind what a witness saw, or what the ledger answers from."""


class Asked(NamedTuple):
    """What to check. `source` gives the newest epoch's log, `older` that of an epoch, `ask` asks the ledger
    (None: no decisions are compared). `trust` has at least one key. `unwitnessed_seconds` is how long
    events may wait for cosignatures."""

    source: LogSource
    older: Callable[[int], LogSource]
    ask: Ask | None
    trust: Trust
    sample: int
    unwitnessed_seconds: float


def look(asked: Asked, memory: Memory, now: Micros, chance: random.Random) -> Found:
    """Look once; `now` is this host's clock. Raises FileFailed if the memory fails, and nothing else."""
    followed = memory.followed()
    found = Found(log=followed.log)
    try:
        _look(asked, memory, followed, now, chance, found)
    except Ended:
        pass
    memory.keep_alarms(found.alarms, now // SECOND)
    return found


def _look(
    asked: Asked, memory: Memory, followed: Followed, now: Micros, chance: random.Random, found: Found
) -> None:
    trust = trusted(asked.trust, followed, now)
    seen = _ask_witnesses(asked.trust, trust, followed, found)
    newest = _answers_from(asked, found)
    head = _as_far_as(seen, newest, asked.source, trust, found)
    found.log = head.checkpoint.name
    require_same_ledger(head, followed, found)
    found.say(*in_words(head.opened), log=head.checkpoint.name, size=head.checkpoint.size)
    with found.checking("the hashes of the log"):
        tree = VerifiedTree(asked.source, head.checkpoint)
        require_continues(asked.source, tree, head, memory, found)
        witnesses.compare(tree, seen, found)
        memory.keep_checkpoint(head.checkpoint.name, head.note)
    with found.checking("the events of the log"):
        followed = follow(tree, memory, asked.trust.keys, asked.older, now, found)
    with found.checking("the cosignatures"):
        with_policy = trust._replace(policy=asked.trust.policy)
        witnesses.require_witnessed(asked.source, tree, with_policy, now, asked.unwitnessed_seconds, found)
    _require_in_time(memory, followed, now, found)
    if asked.ask is not None and newest is not None:
        with found.checking("a sample of decisions"):
            _sample(asked.ask, asked.sample, tree, memory, followed, chance, found)


def _ask_witnesses(pinned: Trust, trust: Trust, followed: Followed, found: Found) -> list[Seen]:
    if pinned.policy is None:
        return []
    name = followed.log or pinned.keys[0].name
    keys = [key if epoch_of(key.name, name) is None else key.renamed(name) for key in trust.keys]
    return witnesses.ask_all(pinned.policy, name, keys, found)


def _answers_from(asked: Asked, found: Found) -> Token | None:
    """The position that the ledger answers from now: its log must show at least as much."""
    if asked.ask is None or not asked.sample:
        return None
    try:
        newest = answered(asked.ask(CheckRequest(purpose="monitor", workspace="monitor")))
        why = "it answers from nothing yet"
    except ConsentError as error:
        newest, why = None, f"{error.detail} [{error.code}]"
    if newest is None:
        found.unchecked.append(f"the ledger's answers: {why}")
    return newest


def _as_far_as(
    seen: Sequence[Seen], newest: Token | None, source: LogSource, trust: Trust, found: Found
) -> Head:
    """The newest checkpoint, read again while it is not as far as what was seen and answered before it."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        head = read_head(source, trust, found)
        ahead, behind = witnesses.ahead(seen, head.checkpoint), not _covers(head.checkpoint, newest)
        if not ahead and not behind:
            if newest is not None:
                found.say("it covers everything that the ledger answered from before")
            return head
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    served = head.checkpoint.size
    for one in ahead:
        said = f"{one.witness} cosigned {one.checkpoint.size} events, and {served} are served"
        about = f"{one.witness}:{one.checkpoint.name}"
        found.add((alarm("behind_witness", about, said, seen=text_of(one.note), served=text_of(head.note)),))
    if behind and newest is not None:
        said = f"it answers from {newest}, and {head.checkpoint.name} has {served} events"
        found.add((alarm("unpublished", f"{newest.origin}/{newest.epoch}", said),))
    return head


def _covers(checkpoint: Checkpoint, newest: Token | None) -> bool:
    """Whether the log has what the ledger answers from; a log of another origin has not."""
    epoch = None if newest is None else epoch_of(newest.origin, checkpoint.name)
    return newest is None or (epoch is not None and (epoch, checkpoint.size) >= newest[1:])


def _require_in_time(memory: Memory, followed: Followed, now: Micros, found: Found) -> None:
    overdue = memory.overdue(now, OVERDUE_TOLD)
    for one in overdue:
        due = moment_of(one.due_at).isoformat()
        about = f"{followed.origin}:{one.stream}:{one.request}:{one.due_at}"
        said = f"{one.request} on {one.stream} was due {due} and is open (event {one.position})"
        found.add((alarm("overdue", about, said, stream=one.stream, request=one.request, due=due),))
    if not overdue:
        found.say("no request is overdue")


def _sample(
    ask: Ask,
    count: int,
    tree: VerifiedTree,
    memory: Memory,
    followed: Followed,
    chance: random.Random,
    found: Found,
) -> None:
    """Compare a sample of decisions."""
    epoch = epoch_of(followed.origin, followed.log)
    if not followed.position or epoch is None:
        return
    token = Token(followed.origin, epoch, followed.position)
    ((_, last),) = tree.entries(token.position, token.position)
    at = micros(Rules(followed.log).envelope(token.position, last).time)
    try:
        with memory.facts(followed.everybody.book) as facts:
            sampled = sample(ask, facts, token, at, count, chance)
    except ConsentError as error:
        if error.code != "invalid_token":
            raise
        found.add((alarm("does_not_know", token, f"asked about {token}: {error.detail}"),))
        return
    found.add(sampled.alarms)
    if sampled.undecided:
        found.unchecked.append(f"{sampled.undecided} questions were not decided by the ledger")
    said = "were compared" if sampled.alarms else "are what its log says"
    found.say(f"{sampled.compared} answers of the ledger {said}", compared=sampled.compared)
