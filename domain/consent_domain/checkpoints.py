"""C2SP tlog-checkpoint: what a log says of itself in a signed note, and what logs are called.

    example.com/log
    3
    3P3NN8x8XcgTu8fV8nCtJOoABkoTskbuW4w6nBi3bq4=

The name of the log, the size of its tree, the root in base64; more lines may follow, mean nothing
to us and are kept. Every epoch is a log of its own: the first is called as the ledger's origin, a
later one `origin/2`, `origin/3`; so no witness and no verifier ever takes one for the other.
"""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.merkle import EMPTY_ROOT, HASH_BYTES
from consent_domain.notes import NOTE_BYTES_MAX, decode_base64, encode_base64, is_plain
from consent_domain.proofs import SIZE_MAX

EPOCH_MAX = 1 << 31


class Checkpoint(NamedTuple):
    """The log called `name` had `size` entries and this root."""

    name: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def text(checkpoint: Checkpoint) -> str:
    """The text that is signed. Inverse of `parse_checkpoint`."""
    lines = (checkpoint.name, str(checkpoint.size), encode_base64(checkpoint.root), *checkpoint.extensions)
    return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(note_text: str) -> Checkpoint:
    """The checkpoint that the text of a note is. Raises ConsentError `malformed`."""
    lines = note_text.split("\n")
    if len(note_text) > NOTE_BYTES_MAX or len(lines) < 4 or lines.pop() or not all(lines):
        raise ConsentError(
            "malformed", "a checkpoint is three lines or more, none of them empty: name, size, root"
        )
    if not all(map(is_plain, lines)):
        raise ConsentError("malformed", "the checkpoint has control characters")
    name, size, root, *extensions = lines
    checkpoint = Checkpoint(name, parse_number(size), decode_base64(root), tuple(extensions))
    if len(checkpoint.root) != HASH_BYTES:
        raise ConsentError(
            "malformed", f"the root of a checkpoint has {HASH_BYTES} bytes, not {len(checkpoint.root)}"
        )
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise ConsentError(
            "malformed", "the root of an empty log is the hash of nothing, and this one is another"
        )
    return checkpoint


def parse_number(written: str) -> int:
    """A decimal number from 0 to 2^63 − 1, without leading zeroes. Raises ConsentError `malformed`."""
    if len(written) <= len(str(SIZE_MAX)) and written.isascii() and written.isdigit():
        number = int(written)
        if number <= SIZE_MAX and str(number) == written:
            return number
    raise ConsentError(
        "malformed", f"{written[:40]!r} is no number from 0 to 2^63 − 1 without leading zeroes"
    )


def log_name(origin: str, epoch: int) -> str:
    """What the log of an epoch (from 1) is called. Inverse of `epoch_of`."""
    return origin if epoch == 1 else f"{origin}/{epoch}"


def epoch_of(origin: str, name: str) -> int | None:
    """The epoch of the ledger `origin` whose log is called `name`; None if it is another ledger's."""
    if name == origin:
        return 1
    head, _, number = name.rpartition("/")
    if head != origin or not (number.isascii() and number.isdigit() and len(number) <= 10):
        return None
    epoch = int(number)
    return epoch if 1 < epoch <= EPOCH_MAX and log_name(origin, epoch) == name else None


def prefix_of(epoch: int) -> str:
    """The path under which a ledger serves the log of an epoch: tiles never change, so each has its own."""
    return "/log" if epoch == 1 else f"/log/{epoch}"
