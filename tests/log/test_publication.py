"""Given two who write the checkpoint, when one is late, then it takes nothing away."""

from __future__ import annotations

from pathlib import Path

from consent_domain.checkpoints import Checkpoint, text
from consent_domain.merkle import EMPTY_ROOT
from consent_domain.notes import Note, format_note, parse_note
from consent_domain.proofs import Leaves
from consent_domain.witness_policy import parse_policy
from consent_gate.signatures import Cosigner, Signer
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.publication import Publication
from consent_ledger.log.witnesses import Published

NAME = "ledger.example/log"
OLD, NEW = Signer(NAME, b"o" * 32), Signer(NAME, b"n" * 32)
WITNESS = Cosigner("witness.example/w1", b"w" * 32)
CHECKPOINT = Checkpoint(NAME, 0, EMPTY_ROOT)
TEXT = text(CHECKPOINT)


def test_given_a_checkpoint_signed_again_by_both_keys_when_an_older_cosignature_comes_then_both_stay(
    tmp_path: Path,
) -> None:
    folder = LogFolder(tmp_path)
    publication = Publication(folder, parse_policy("quorum none\n"))
    alone = Note(TEXT, (OLD.sign_note(TEXT),))
    both = Note(TEXT, (OLD.sign_note(TEXT), NEW.sign_note(TEXT)))
    cosignature = WITNESS.cosign(TEXT, 1_800_000_000)
    for signed in (alone, both):
        publication.publish(1, CHECKPOINT, format_note(signed))
    for signed, kept in ((alone, both.signatures), (both, (*both.signatures, cosignature))):
        late = format_note(Note(TEXT, (*signed.signatures, cosignature)))
        publication.add_cosignatures(Published(1, CHECKPOINT, signed, Leaves([])), late, satisfied=False)
        note = folder.note(1)
        assert note is not None and parse_note(note).signatures == kept
