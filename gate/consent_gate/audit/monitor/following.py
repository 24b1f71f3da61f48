"""Following the log's events: a batch at a time, each kept before the next one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from consent_domain.checkpoints import epoch_of, log_name
from consent_domain.errors import ConsentError
from consent_domain.instants import SECOND, Micros
from consent_domain.state import BookState

from consent_gate.audit.monitor import epochs
from consent_gate.audit.monitor.alarms import Alarm, alarm
from consent_gate.audit.monitor.findings import Found
from consent_gate.audit.monitor.folding import Batch
from consent_gate.audit.monitor.memory import Followed, Memory
from consent_gate.audit.rules import Rules
from consent_gate.audit.sources import WRONG_CODES, LogSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.signatures import Verifier
from consent_gate.sqlite_files import FileFailed

BUNDLES_AT_ONCE = 16
"""Of 256 events each."""

_Bundles = Sequence[tuple[int, list[bytes]]]


def follow(
    tree: VerifiedTree,
    memory: Memory,
    pinned: Sequence[Verifier],
    older: Callable[[int], LogSource],
    now: Micros,
    found: Found,
) -> Followed:
    """Fold every event that was not folded yet; returns how far that led.

    A log of a new epoch is folded from its first event on. Raises ProofInvalid and Unreadable where an
    event is not proven or out of order; what is before it is kept.
    """
    name, followed = tree.checkpoint.name, memory.followed()
    anew = followed.log != name
    if anew:
        followed = Followed(followed.origin, name, 0, followed.keys, BookState())
    first, explained = followed.position + 1, False
    rules = _rules_after(tree, followed)
    for bundles in _batches(tree, first):
        batch, error = _fold(followed, memory, rules, bundles, pinned, now)
        alarms = [*batch.alarms, *_epochs(tree, batch, memory, older)]
        explained |= any(log_name(batch.followed.origin, body.epoch) == name for _, body in batch.continued)
        found.add(alarms)
        followed = batch.followed
        memory.keep(followed, batch.streams, alarms, now // SECOND, anew)
        anew = False
        if error is not None:
            raise error
    if first <= tree.size:
        found.say(f"events {first:,} to {tree.size:,} are proven, in order, and were folded")
    found.say(position=followed.position, events=followed.position - first + 1)
    if first == 1 and tree.size and epoch_of(followed.origin, name) != 1 and not explained:
        found.add((alarm("epoch_unexplained", name, f"no event of {name} says what it continues"),))
    return followed


def _rules_after(tree: VerifiedTree, followed: Followed) -> Rules:
    rules = Rules(tree.checkpoint.name)
    if followed.position:
        ((_, last),) = tree.entries(followed.position, followed.position)
        rules.envelope(followed.position, last)
    return rules


def _batches(tree: VerifiedTree, first: int) -> Iterator[_Bundles]:
    bundles = tree.bundles(first, tree.size) if first <= tree.size else iter(())
    while batch := list(islice(bundles, BUNDLES_AT_ONCE)):
        yield batch


def _fold(
    followed: Followed,
    memory: Memory,
    rules: Rules,
    bundles: _Bundles,
    pinned: Sequence[Verifier],
    now: Micros,
) -> tuple[Batch, ConsentError | None]:
    """A batch as far as it could be folded, and why not further."""
    with memory.facts(followed.everybody.book) as facts:
        # Before the first event of an epoch, what is remembered is of the epoch before.
        batch = Batch(followed, facts.stream if followed.position else _nothing, pinned, now)
        try:
            for begin, entries in bundles:
                batch.add(rules, begin, entries)
        except FileFailed:
            raise
        except ConsentError as error:
            if error.code not in WRONG_CODES:
                raise
            return batch, error
    return batch, None


def _epochs(
    tree: VerifiedTree, batch: Batch, memory: Memory, older: Callable[[int], LogSource]
) -> list[Alarm]:
    """What the `log-continued` events of a batch mean."""
    origin, alarms = batch.followed.origin, []
    for position, body in batch.continued:
        alarms.append(epochs.begun(tree, origin, position, body))
        if log_name(origin, body.epoch) == tree.checkpoint.name:
            alarms += epochs.lost(tree, origin, position, body, memory, older)
    return alarms


def _nothing(_: str) -> None:
    return None
