"""The log's newest checkpoint: whose it is, and whether it continues the one that was seen before."""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, epoch_of, parse_checkpoint
from consent_domain.errors import ConsentError
from consent_domain.instants import Micros
from consent_domain.notes import parse_note
from consent_domain.proofs import ProofInvalid

from consent_gate.audit.monitor.alarms import alarm
from consent_gate.audit.monitor.findings import Found, text_of
from consent_gate.audit.monitor.memory import Followed, Memory
from consent_gate.audit.sources import CHECKPOINT, LogSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust
from consent_gate.checkpoints import Opened
from consent_gate.signatures import Verifier


class Head(NamedTuple):
    """A checkpoint that was opened, and its bytes."""

    opened: Opened
    note: bytes

    @property
    def checkpoint(self) -> Checkpoint:
        """What it says."""
        return self.opened.checkpoint


def trusted(pinned: Trust, followed: Followed, now: Micros) -> Trust:
    """The pinned keys, with what rotations in the log made of them by `now`. No policy."""
    every = {named_by_origin(key, followed.origin): key for key in pinned.keys}
    every |= {text: Verifier.parse(text) for text in followed.keys.accepted}
    retired = followed.keys.retired
    return Trust(tuple(key for text, key in every.items() if retired.get(text, now + 1) > now))


def named_by_origin(key: Verifier, origin: str) -> str:
    """The key as rotations name it: by the ledger's origin, whichever epoch's log it was pinned for."""
    return str(key if epoch_of(origin, key.name) is None else key.renamed(origin))


def read_head(source: LogSource, trust: Trust, found: Found) -> Head:
    """The newest checkpoint, signed by a key of `trust`; ends the look if there is none."""
    with found.checking("the checkpoint"):
        note = source.read(CHECKPOINT)
    try:
        return Head(trust.open(note), note)
    except ConsentError as error:
        found.end(alarm("wrong_signature", found.log or CHECKPOINT, error.detail, note=text_of(note)))


def require_same_ledger(head: Head, followed: Followed, found: Found) -> None:
    """End the look if the log is another ledger's, or of an epoch before the one that was followed."""
    name = head.checkpoint.name
    if not followed.origin:
        return
    epoch, before = epoch_of(followed.origin, name), epoch_of(followed.origin, followed.log)
    if epoch is None:
        found.end(
            alarm("other_origin", name, f"{name} is no log of {followed.origin}", note=text_of(head.note))
        )
    if before is not None and epoch < before:
        found.end(alarm("went_back", name, f"the log is {name}, and it was {followed.log} already"))


def require_continues(
    source: LogSource, tree: VerifiedTree, head: Head, memory: Memory, found: Found
) -> None:
    """End the look unless the tree continues what was seen of the same log before."""
    name, size = head.checkpoint.name, head.checkpoint.size
    before = memory.checkpoint(name)
    if before is None:
        return
    previous = parse_checkpoint(parse_note(before).text)
    evidence = {"before": text_of(before), "now": text_of(head.note)}
    if size < previous.size:
        kind, said = _shrunk(source, previous, head.checkpoint)
        found.end(
            alarm(
                kind,
                f"{name}:{size}",
                f"{name} had {previous.size} events and shows {size}{said}",
                **evidence,
            )
        )
    if tree.root_of(previous.size) != previous.root:
        kind = "forked" if size == previous.size else "rewritten"
        said = f"the first {previous.size} events of {name} are others than it signed before"
        found.end(alarm(kind, f"{name}:{size}", said, **evidence))
    found.say(f"it continues the {previous.size:,} events that were seen before", since=previous.size)


def _shrunk(source: LogSource, larger: Checkpoint, smaller: Checkpoint) -> tuple[str, str]:
    """Whether a tree that shrank is a part of what it was, as far as the tiles of that are still there."""
    try:
        if VerifiedTree(source, larger).root_of(smaller.size) == smaller.root:
            return "went_back", ", the first of them"
    except ProofInvalid:
        return "went_back", ", and the hashes of the others are gone"
    except ConsentError:
        return "went_back", ""
    return "rewritten", ", OTHERS than they were"
