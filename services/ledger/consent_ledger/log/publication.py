"""The published checkpoint of a log, written by two: the publisher's newer ones, and cosignatures."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.errors import ConsentError
from consent_domain.notes import Note, NoteSignature, parse_note
from consent_domain.tiles import TileHashes
from consent_domain.witness_policy import NOBODY, WitnessPolicy, parse_policy

from consent_ledger.log.folder import WITNESSED, LogFolder
from consent_ledger.log.witnesses import Published

NO_WITNESSES = WitnessPolicy((), {}, {}, NOBODY)


class Offered(NamedTuple):
    """What witnesses are asked for, and the cosignatures that it has."""

    published: Published
    signatures: tuple[NoteSignature, ...]


def load_policy(path: Path | None) -> WitnessPolicy:
    """The policy in a file; without one, nobody is asked and nobody is missing.

    Raises ConsentError `malformed` or `unavailable`.
    """
    if path is None:
        return NO_WITNESSES
    try:
        return parse_policy(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise ConsentError("unavailable", f"the policy {path} cannot be read: {error.strerror}") from error


class Publication:
    """Keeps the two writers apart, and a newer checkpoint from being replaced by an older one."""

    def __init__(self, folder: LogFolder, policy: WitnessPolicy) -> None:
        self._folder = folder
        self._policy = policy
        self._lock = Lock()

    def publish(self, epoch: int, checkpoint: Checkpoint, note: bytes) -> None:
        """Publish a checkpoint that the log just signed, durable. In a thread."""
        with self._lock:
            kept = self._folder.note(epoch)
            if kept is not None and _same(kept, note):
                return  # it may have cosignatures already
            self._folder.publish(epoch, note, self._policy.satisfied(()))

    def add_cosignatures(self, published: Published, note: bytes, satisfied: bool) -> None:
        """Publish the cosigned note of a checkpoint, where no newer one is, and none that more of our keys
        signed since the witnesses were asked. In a thread."""
        epoch, size = published.epoch, published.checkpoint.size
        with self._lock:
            kept = self._folder.note(epoch)
            if kept is not None and _own(kept) == published.note:
                self._folder.publish(epoch, note, satisfied)
            elif satisfied and size > self.witnessed_size(epoch):
                self._folder.publish_witnessed(epoch, note)

    def witnessed_size(self, epoch: int) -> int:
        """The size of the latest checkpoint that satisfied the policy; 0 before the first."""
        try:
            checkpoint = self._folder.checkpoint(epoch, WITNESSED)
        except ConsentError:
            return 0  # it is damaged, and the next one replaces it
        return 0 if checkpoint is None else checkpoint.size

    def offered(self, epoch: int) -> Offered | None:
        """The published checkpoint, for the witnesses; None if there is none. In a thread."""
        note = self._folder.note(epoch)
        if note is None:
            return None
        parsed = parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        subtree = TileHashes(lambda tile: self._folder.read_tile(epoch, tile), checkpoint.size)
        return Offered(
            Published(epoch, checkpoint, _own(note), subtree),
            tuple(one for one in parsed.signatures if one.name != checkpoint.name),
        )


def _own(note: bytes) -> Note:
    """A signed checkpoint with the log's own signatures alone."""
    parsed = parse_note(note)
    name = parse_checkpoint(parsed.text).name
    return Note(parsed.text, tuple(one for one in parsed.signatures if one.name == name))


def _same(kept: bytes, note: bytes) -> bool:
    """Whether `kept` is `note`, with cosignatures perhaps."""
    return kept.startswith(note)
