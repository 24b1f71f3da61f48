"""C2SP tlog-proof: one file that proves one entry to whoever has the log's key.

    c2sp.org/tlog-proof@v1
    extra YW55dGhpbmc=
    index 5
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=

    example.com/log
    8
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — example.com/log hI2DJw…

The index counts from 0; the hashes go from the leaf's sibling upwards; then an empty line and the
checkpoint as it was published. `extra` is authenticated by nobody: we put the event's bytes there,
and whoever reads them computes the hash of the leaf from them, so that other bytes do not fit.
"""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.checkpoints import parse_number
from consent_domain.errors import ConsentError
from consent_domain.merkle import HASH_BYTES
from consent_domain.notes import NOTE_BYTES_MAX, decode_base64, encode_base64
from consent_domain.proofs import PROOF_HASHES_MAX

EXTENSION = ".tlog-proof"
PROOF_BYTES_MAX = 2 * NOTE_BYTES_MAX

_FIRST_LINE = "c2sp.org/tlog-proof@v1"


class TlogProof(NamedTuple):
    """`checkpoint` is a signed note, not looked into; `extra` is None where the line is missing."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a proof
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None


def format_proof(proof: TlogProof) -> bytes:
    """The bytes of a proof. Inverse of `parse_proof`."""
    lines = [_FIRST_LINE]
    if proof.extra is not None:
        lines.append(f"extra {encode_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += map(encode_base64, proof.hashes)
    return ("\n".join(lines) + "\n\n").encode() + proof.checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """The proof that `data` is; it is not verified, and its checkpoint not parsed.

    Raises ConsentError `malformed`.
    """
    if len(data) > PROOF_BYTES_MAX:
        raise ConsentError("malformed", f"a proof of {len(data)} bytes is longer than {PROOF_BYTES_MAX}")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not (blank and checkpoint and head.isascii()):
        raise ConsentError("malformed", "this is no proof: lines of ASCII, an empty line, a checkpoint")
    first, *lines = head.decode("ascii").split("\n")
    if first != _FIRST_LINE:
        raise ConsentError("malformed", f"a proof begins with {_FIRST_LINE}, not {first[:40]!r}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise ConsentError("malformed", "the proof does not say of which index it is")
    index = parse_number(lines.pop(0).removeprefix("index "))
    return TlogProof(index, parse_hashes(lines), checkpoint, extra)


def parse_hashes(lines: list[str]) -> tuple[bytes, ...]:
    """The hashes of a proof, one a line. Raises ConsentError `malformed`, also for too many."""
    if len(lines) > PROOF_HASHES_MAX:
        raise ConsentError("malformed", f"a proof has at most {PROOF_HASHES_MAX} hashes, not {len(lines)}")
    hashes = tuple(map(decode_base64, lines))
    if any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise ConsentError("malformed", f"a hash of a proof has not {HASH_BYTES} bytes")
    return hashes
