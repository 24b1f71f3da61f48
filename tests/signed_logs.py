"""Logs as a publisher leaves them on a disk: real events, tiles, a signed checkpoint; and proofs from them.

The domain's own functions make them, without a ledger, so that a test can also make what no ledger would.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from consent_domain import merkle
from consent_domain.checkpoints import Checkpoint, text
from consent_domain.envelope import encode
from consent_domain.instants import micros
from consent_domain.notes import Note, format_note
from consent_domain.proofs import Leaves, inclusion, range_root
from consent_domain.tiles import ENTRIES, HEIGHT, WIDTH, encode_entries, path, tiles_of
from consent_domain.tlog_proofs import TlogProof, format_proof
from consent_gate.signatures import Cosigner, Signer
from ledger_events import ORIGIN, START, Draft, history

SIGNER = Signer(ORIGIN, bytes(range(32)))
KEY = str(SIGNER.verifier)
STRANGER = Signer(ORIGIN, bytes(32))
"""Another key under the same name."""


def encoded(drafts: Iterable[Draft], begin: int = 1, origin: str = ORIGIN) -> list[bytes]:
    """The stored bytes of drafts, a second apart; drafts of bytes are taken as they are."""
    entries = []
    for position, draft in enumerate(drafts, begin):
        if isinstance(draft.body, bytes):
            entries.append(draft.body)
        else:
            time = micros(START) + position * 1_000_000
            entries.append(encode(position, f"id-{position}", origin, draft.stream, time, draft.body))
    return entries


def lawful(count: int) -> list[bytes]:
    """`count` events as the handlers write them: a policy, then workspaces' lives, interleaved."""
    return encoded(history(count))


class SignedLog:
    """A log over `entries`, signed. `write` puts its files where a publisher would."""

    def __init__(
        self,
        entries: Sequence[bytes],
        signer: Signer = SIGNER,
        name: str = ORIGIN,
        cosigners: Sequence[Cosigner] = (),
    ) -> None:
        self.entries = entries
        self.subtree = Leaves([merkle.leaf_hash(entry) for entry in entries])
        self.checkpoint = Checkpoint(name, len(entries), range_root(self.subtree, 0, len(entries)))
        signed = text(self.checkpoint)
        cosignatures = [cosigner.cosign(signed, 1_800_000_000) for cosigner in cosigners]
        self.note = format_note(Note(signed, (signer.sign_note(signed), *cosignatures)))

    def write(self, folder: Path, old_size: int = 0) -> Path:
        """Write the checkpoint and the tiles that a log of `old_size` has not; returns the folder."""
        for tile in tiles_of(old_size, len(self.entries)):
            begin = tile.index * WIDTH
            if tile.level == ENTRIES:
                data = encode_entries(self.entries[begin : begin + tile.width])
            else:
                level = HEIGHT * tile.level
                data = b"".join(self.subtree(level, begin + at) for at in range(tile.width))
            target = folder / path(tile)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint").write_bytes(self.note)
        return folder

    def proof(self, position: int, extra: bytes | None = None) -> bytes:
        """The `.tlog-proof` of an event, or with other bytes as the event's."""
        size = len(self.entries)
        hashes = inclusion(self.subtree, position - 1, 0, size)
        event = self.entries[position - 1] if extra is None else extra
        return format_proof(TlogProof(position - 1, tuple(hashes), self.note, event))


def relist(folder: Path) -> None:
    """Make an export's manifest fit what is in its folder, as whoever tampers would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
