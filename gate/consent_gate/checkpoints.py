"""Checkpoints of signed notes, opened: nothing of them is believed before signatures and quorum hold.

1. A signature line counts only if a given key has both its name and its hash; all others are ignored
   (C2SP signed-note: "MUST ignore"), so that rotations and new witnesses disturb nobody.
2. *Every* line that counts must verify, or the whole note is refused. Two lines of one key are both
   verified and count once: they prove nothing more, and nothing less; of two cosignatures the later
   time is told.
3. At least one of the given log keys that is called as the checkpoint must have signed it.
4. If a policy is given, the witnesses that cosigned must satisfy it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.notes import Note, parse_note
from consent_domain.proofs import ProofInvalid
from consent_domain.witness_policy import WitnessPolicy

from consent_gate.signatures import CosignatureVerifier, Verifier, WrongSignature


class Opened(NamedTuple):
    """`signed_by` are the log keys, as text, that signed; `cosigned_by` the policy's names of witnesses
    with the time of their cosignature, in seconds since 1970."""

    checkpoint: Checkpoint
    note: Note
    signed_by: tuple[str, ...]
    cosigned_by: Mapping[str, int]


def open_checkpoint(data: bytes, keys: Sequence[Verifier], policy: WitnessPolicy | None = None) -> Opened:
    """The checkpoint in the signed note `data`, verified against the log's `keys` and the `policy`.

    A later epoch's checkpoint has another name: give `key.renamed(name)` for it. The logs of the policy
    are not looked at; `log_keys` gives their keys. Raises ConsentError `malformed` if it is no note or
    no checkpoint, WrongSignature if the signatures do not hold, ProofInvalid if witnesses are missing.
    A quarter of a millisecond a signature.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    signed_by = _signed_by(note, checkpoint, keys)
    cosigned_by = {} if policy is None else _cosigned_by(note, policy)
    if policy is not None and not policy.satisfied(cosigned_by):
        raise ProofInvalid(f"the checkpoint has too few witnesses: {policy.missing(cosigned_by)}")
    return Opened(checkpoint, note, signed_by, cosigned_by)


def log_keys(policy: WitnessPolicy) -> list[Verifier]:
    """The keys of the logs that a policy lists; a checkpoint of any of them is accepted by it."""
    return [Verifier.parse(log.key) for log in policy.logs]


def _signed_by(note: Note, checkpoint: Checkpoint, keys: Sequence[Verifier]) -> tuple[str, ...]:
    known = {(key.name, key.key_hash): key for key in keys if key.name == checkpoint.name}
    signed: dict[str, None] = {}
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_hash))
        if key is not None:
            key.verify_note(note.text, signature)
            signed[str(key)] = None
    if not signed:
        given = ", ".join(f"{key.name}+{key.key_hash.hex()}" for key in keys) or "none"
        raise WrongSignature(
            f"the checkpoint of {checkpoint.name!r} is signed by no key that is known for it; known: {given}"
        )
    return tuple(signed)


def _cosigned_by(note: Note, policy: WitnessPolicy) -> dict[str, int]:
    known: dict[tuple[str, bytes], tuple[str, CosignatureVerifier]] = {}
    for witness in policy.witnesses.values():
        key = CosignatureVerifier.parse(witness.key)
        known[key.name, key.key_hash] = (witness.name, key)
    cosigned: dict[str, int] = {}
    for signature in note.signatures:
        found = known.get((signature.name, signature.key_hash))
        if found is not None:
            name, key = found
            cosigned[name] = max(key.verify(note.text, signature), cosigned.get(name, 0))
    return cosigned
