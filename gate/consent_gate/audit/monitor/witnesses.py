"""What witnesses saw of a log, and whether enough of them saw all of it.

A witness is asked at `URL/ORIGIN-HASH/checkpoint`: its submission prefix is taken for its monitoring
prefix, too, as `consent witness serve` has it (C2SP tlog-witness). One that does not answer, or does not
have that path, tells nothing: it is no alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import httpx
from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError
from consent_domain.instants import SECOND, Micros, micros
from consent_domain.proofs import ProofInvalid
from consent_domain.witness_policy import NOBODY, KnownWitness, WitnessPolicy

from consent_gate.audit.monitor.alarms import Alarm, alarm
from consent_gate.audit.monitor.findings import Found, text_of
from consent_gate.audit.rules import Rules
from consent_gate.audit.sources import WITNESSED, LogSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust
from consent_gate.checkpoints import open_checkpoint
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.signatures import Verifier

NOTE_BYTES_MAX = 64 * 1024
SECONDS_MAX = 10.0


class Seen(NamedTuple):
    """What a witness saw, signed by log and witness."""

    witness: str
    checkpoint: Checkpoint
    note: bytes


def ask_all(policy: WitnessPolicy, log: str, keys: Sequence[Verifier], found: Found) -> list[Seen]:
    """Ask every witness of the policy that has an address, all at once, for `SECONDS_MAX` in all.

    `keys` are the log's, called `log`. Never raises.
    """
    asked = [witness for witness in policy.witnesses.values() if witness.url]
    answers = asyncio.run(_answers(asked, log, keys))
    seen = [one for one in answers if isinstance(one, Seen)]
    told = [one.checkpoint.size if isinstance(one, Seen) else one for one in answers]
    found.say(witnesses=dict(zip((witness.name for witness in asked), told, strict=True)))
    return seen


async def _answers(asked: Sequence[KnownWitness], log: str, keys: Sequence[Verifier]) -> Sequence[Seen | str]:
    timeout = httpx.Timeout(SECONDS_MAX)
    headers = {"accept-encoding": ACCEPT_ENCODING}
    async with httpx.AsyncClient(timeout=timeout, headers=headers, follow_redirects=False) as client:
        return await asyncio.gather(*(_answer(client, witness, log, keys) for witness in asked))


async def _answer(
    client: httpx.AsyncClient, witness: KnownWitness, log: str, keys: Sequence[Verifier]
) -> Seen | str:
    """What the witness saw, or why that cannot be told."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            return await _ask(client, witness, log, keys)
    except TimeoutError:
        return f"it did not answer within {SECONDS_MAX:.0f} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__
    except ConsentError as error:
        return error.detail


async def _ask(client: httpx.AsyncClient, witness: KnownWitness, log: str, keys: Sequence[Verifier]) -> Seen:
    url = f"{(witness.url or '').rstrip('/')}/{sha256(log.encode()).hexdigest()}/checkpoint"
    async with client.stream("GET", url) as response:
        body = BoundedBody(response.headers, "its answer", NOTE_BYTES_MAX)
        async for part in response.aiter_raw():
            body.add(part)
        if response.status_code != 200:
            raise ConsentError("unavailable", f"it answered {response.status_code}")
    alone = WitnessPolicy((), {witness.name: witness}, {}, witness.name)
    return Seen(witness.name, open_checkpoint(body.whole(), keys, alone).checkpoint, body.whole())


def ahead(seen: Sequence[Seen], checkpoint: Checkpoint) -> list[Seen]:
    """What was seen that the checkpoint does not cover."""
    return [
        one
        for one in seen
        if one.checkpoint.name == checkpoint.name and one.checkpoint.size > checkpoint.size
    ]


def compare(tree: VerifiedTree, seen: Sequence[Seen], found: Found) -> None:
    """Add an alarm for each witness that saw another log than is served here."""
    agreeing = []
    for one in seen:
        theirs = one.checkpoint
        if theirs.name != tree.checkpoint.name or theirs.size > tree.size:
            continue
        if tree.root_of(theirs.size) == theirs.root:
            agreeing.append(one.witness)
        else:
            found.add((_split(theirs, one.note, f"{one.witness} cosigned"),))
    if agreeing:
        found.say(f"it contains what was shown to the witnesses {', '.join(agreeing)}")


def require_witnessed(
    source: LogSource,
    tree: VerifiedTree,
    trust: Trust,
    now: Micros,
    seconds_max: float,
    found: Found,
) -> None:
    """Add an alarm if events wait for longer than `seconds_max` for what the policy of `trust` asks.

    Raises ConsentError for what is served as witnessed and is not signed, or cannot be had.
    """
    policy = trust.policy
    if policy is None or policy.quorum == NOBODY or not tree.size:
        return
    name = tree.checkpoint.name
    try:
        size = _witnessed_size(source, tree, trust, found)
        lacking = ""
    except ProofInvalid as error:  # the ledger's own policy may ask for less than this one
        size, lacking = 0, f": {error.detail}"
    found.say(f"enough witnesses cosigned the first {size:,} events", witnessed=size)
    if size == tree.size:
        return
    ((_, entry),) = tree.entries(size + 1, size + 1)
    waits = (now - micros(Rules(name).envelope(size + 1, entry).time)) / SECOND
    if waits > seconds_max:
        said = f"event {size + 1} of {tree.size} waits for {waits:.0f} s{lacking}"
        found.add((alarm("unwitnessed", f"{name}:{size}", said),))


def _witnessed_size(source: LogSource, tree: VerifiedTree, trust: Trust, found: Found) -> int:
    try:
        note = source.read(WITNESSED)
    except ConsentError as error:
        if error.code != "not_found":
            raise
        return 0
    witnessed = trust.open(note).checkpoint
    if witnessed.name != tree.checkpoint.name:
        return 0
    if witnessed.size > tree.size:
        return tree.size  # published while this look is under way: the next one compares it
    if tree.root_of(witnessed.size) != witnessed.root:
        found.end(_split(witnessed, note, "witnesses cosigned"))
    return witnessed.size


def _split(theirs: Checkpoint, note: bytes, who: str) -> Alarm:
    said = f"{who} other events as the first {theirs.size} of {theirs.name}"
    return alarm("split_view", f"{who}:{theirs.name}:{theirs.size}", said, seen=text_of(note))
