"""New epochs: whether `log-continued` says truthfully what it continues, and what was lost."""

from __future__ import annotations

from collections.abc import Callable

from consent_domain.checkpoints import log_name, parse_checkpoint
from consent_domain.errors import ConsentError
from consent_domain.events import LogContinued
from consent_domain.notes import parse_note

from consent_gate.audit.monitor.alarms import Alarm, alarm
from consent_gate.audit.monitor.findings import text_of
from consent_gate.audit.monitor.memory import Memory
from consent_gate.audit.sources import LogSource
from consent_gate.audit.trees import VerifiedTree


def begun(tree: VerifiedTree, origin: str, position: int, body: LogContinued) -> Alarm:
    """That an epoch began with the event at `position`, and whether what it says is so."""
    name = log_name(origin, body.epoch)
    said = f"event {position}: epoch {body.epoch} of {origin} begins after {body.size} events"
    if body.size == str(position - 1) and tree.root_of(position - 1) == body.root:
        return alarm("epoch_began", name, said)
    return alarm("epoch_unexplained", name, f"{said}, and these are not the {position - 1} before it")


def lost(
    tree: VerifiedTree,
    origin: str,
    position: int,
    body: LogContinued,
    memory: Memory,
    older: Callable[[int], LogSource],
) -> list[Alarm]:
    """What the log of the epoch before had signed, as far as it was seen, and this one does not have."""
    before = log_name(origin, body.epoch - 1)
    note = memory.checkpoint(before)
    if note is None:
        return []
    old, size = parse_checkpoint(parse_note(note).text), position - 1
    if old.size <= size:
        if tree.root_of(old.size) == old.root:
            return []
        said = f"the first {old.size} events are others than {before} had signed"
        return [alarm("rewritten", f"{tree.checkpoint.name}:{old.size}", said, before=text_of(note))]
    said = f"{before} had signed {old.size} events, and the new epoch keeps {size} of them"
    try:
        source = older(body.epoch - 1)
        try:
            said += (
                ", unchanged"
                if VerifiedTree(source, old).root_of(size) == tree.root_of(size)
                else ", CHANGED"
            )
        finally:
            source.close()
    except ConsentError as error:
        said += f"; whether unchanged cannot be told: {error.detail}"
    return [alarm("history_lost", before, said, before=text_of(note))]
