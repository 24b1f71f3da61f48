"""Which checkpoints are believed: those that a pinned key signed, and enough pinned witnesses cosigned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, epoch_of, parse_checkpoint
from consent_domain.errors import ConsentError
from consent_domain.notes import parse_note
from consent_domain.proofs import ProofInvalid
from consent_domain.witness_policy import WitnessPolicy

from consent_gate.audit.sources import CHECKPOINT, WITNESSED, LogSource
from consent_gate.checkpoints import Opened, log_keys, open_checkpoint
from consent_gate.signatures import Verifier


class Trust(NamedTuple):
    """`keys` are the log's, pinned; none means that nobody's signature is asked for, and nothing is proven
    but that the files belong together. A pinned key counts for later epochs of its log, too."""

    keys: tuple[Verifier, ...]
    policy: WitnessPolicy | None = None

    def open(self, note: bytes) -> Opened:
        """The checkpoint in a signed note. Raises as `open_checkpoint` does."""
        if not self.keys:
            parsed = parse_note(note)
            return Opened(parse_checkpoint(parsed.text), parsed, (), {})
        return open_checkpoint(note, self._keys_for(note), self.policy)

    def _keys_for(self, note: bytes) -> list[Verifier]:
        name = parse_checkpoint(parse_note(note).text).name
        return [key if epoch_of(key.name, name) is None else key.renamed(name) for key in self.keys]


def trust(keys: Sequence[Verifier], policy: WitnessPolicy | None) -> Trust:
    """Trust in these keys and in those of the logs that the policy lists."""
    listed = [] if policy is None else log_keys(policy)
    return Trust(tuple({str(key): key for key in (*keys, *listed)}.values()), policy)


def newest_note(source: LogSource, trusted: Trust) -> bytes:
    """The newest checkpoint of a live log; where witnesses are asked for, the newest that has them."""
    if trusted.policy is not None:
        try:
            return source.read(WITNESSED)
        except ConsentError as error:
            if error.code != "not_found":
                raise
    return source.read(CHECKPOINT)


def require_same_log(old: Checkpoint, new: Checkpoint) -> None:
    """Raise ProofInvalid unless both are of one log, and the new one of no smaller tree."""
    if old.name != new.name:
        raise ProofInvalid(
            f"the old checkpoint is of the log {old.name} and this one of {new.name}: logs prove nothing "
            "about each other"
        )
    if old.size > new.size:
        raise ProofInvalid(
            f"the old checkpoint of {old.name} is of {old.size} entries and this one of {new.size}: "
            "a log never shrinks"
        )


def in_words(opened: Opened) -> list[str]:
    """Who signed and cosigned a checkpoint, a sentence each."""
    checkpoint = opened.checkpoint
    tree = f"a tree of {checkpoint.size:,} events"
    if not opened.signed_by:
        return [f"NOBODY'S SIGNATURE was checked: {checkpoint.name} is said to have {tree}"]
    said = [f"the log {checkpoint.name} signed {tree} with {_and(opened.signed_by)}"]
    if opened.cosigned_by:
        witnesses = [f"{name} ({_time(at)})" for name, at in opened.cosigned_by.items()]
        said.append(f"cosigned by {_and(witnesses)}, as the policy demands")
    return said


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds after 1970"
