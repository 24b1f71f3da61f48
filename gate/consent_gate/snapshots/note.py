"""The note of a snapshot: what it is of, as of when, and which bytes it is, signed by the feed's key.

    consent snapshot
    format 1
    origin ledger.example/eu
    epoch 1
    generation 1
    position 10000012
    time 2026-02-01T09:00:00.000000Z
    rows 10000011
    bytes 160219733
    sha256 0b2ad0e5…

    — ledger.example/eu Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe…

No origin has a space, so no checkpoint begins with this line; pages of the feed and manifests are signed
behind contexts of their own, which it is none of. So no signature of the feed's key passes for another.
"""

from __future__ import annotations

import hashlib
import os
import re
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import NamedTuple, NoReturn

from consent_domain.checkpoints import parse_number
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import Micros, parse_rfc3339, rfc3339
from consent_domain.notes import Note, format_note, parse_note

from consent_gate.signatures import Signer, Verifier, WrongSignature

FORMAT = 1
"""Of the note, of the file's columns, and of the facts in them."""
FIRST_LINE = "consent snapshot"
NOTE_BYTES_MAX = 16 * 1024
NOTE_SUFFIX = ".note"
MEDIA_TYPE = "text/plain; charset=utf-8"
_NAMES = ("format", "origin", "epoch", "generation", "position", "time", "rows", "bytes", "sha256")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SnapshotNote(NamedTuple):
    """The file with this SHA-256 (hex) holds all facts of `origin` as of `position`.

    `generation` is that of the view that they were read from, as `Page` says it.
    `time` is the ledger's at which that was all of it: what is decided from the file is decided for then,
    and its age counts from then. `rows` and `bytes` are the file's.
    """

    origin: str
    epoch: int
    generation: int
    position: int
    time: Micros
    rows: int
    bytes: int
    sha256: str

    @property
    def token(self) -> Token:
        """What the feed is asked after to go on from here."""
        return Token(self.origin, self.epoch, self.position)


def text_of(note: SnapshotNote) -> str:
    """The text that is signed. Inverse of `parse_text`."""
    said = (
        FORMAT, note.origin, note.epoch, note.generation, note.position, rfc3339(note.time),
        note.rows, note.bytes, note.sha256
    )  # fmt: skip
    lines = [FIRST_LINE, *(f"{name} {value}" for name, value in zip(_NAMES, said, strict=True))]
    return "".join(f"{line}\n" for line in lines)


def parse_text(text: str) -> SnapshotNote:
    """The snapshot that the text of a note is of.

    Raises ConsentError `malformed` for anything else, `invalid_value` for a format that is not read here.
    """
    lines = text.split("\n")
    if lines[0] != FIRST_LINE or not lines[1].startswith("format "):
        raise ConsentError("malformed", f"this is no note of a snapshot: those begin with `{FIRST_LINE}`")
    if lines[1] != f"format {FORMAT}":
        raise ConsentError(
            "invalid_value",
            f"the snapshot has {lines[1][:40]!r}, and this reads format {FORMAT}: upgrade the older side, "
            "then pull it again",
        )
    said = dict(zip(_NAMES, (line.partition(" ")[2] for line in lines[1:]), strict=False))
    try:
        epoch, generation, position, rows, size = (
            parse_number(said[name]) for name in ("epoch", "generation", "position", "rows", "bytes")
        )
        parse_token(f"{said['origin']}/{epoch}/{position}")
        note = SnapshotNote(
            said["origin"],
            epoch,
            generation,
            position,
            parse_rfc3339(said["time"]),
            rows,
            size,
            said["sha256"],
        )
    except (KeyError, ConsentError) as error:
        raise ConsentError("malformed", f"the note of the snapshot cannot be read: {error}") from error
    if not _SHA256.fullmatch(note.sha256) or text_of(note) != text:
        raise ConsentError("malformed", "the note of the snapshot is not as notes are written")
    return note


def sign_note(note: SnapshotNote, signer: Signer) -> bytes:
    """The note as it travels, signed. Inverse of `read_note`."""
    text = text_of(note)
    return format_note(Note(text, (signer.sign_note(text),)))


def read_note(data: bytes, verifier: Verifier | None) -> SnapshotNote:
    """The snapshot that `data` is the note of, verified; without a pinned key, as it came.

    Raises ConsentError `malformed` or `invalid_value` as `parse_text` does, `other_origin` for the note of
    another ledger than the key is named for, `proof_invalid` if the key did not sign it.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise ConsentError("malformed", f"a note of a snapshot has at most {NOTE_BYTES_MAX} bytes")
    signed = parse_note(data)
    note = parse_text(signed.text)
    if verifier is None:
        return note
    if note.origin != verifier.name:
        raise ConsentError(
            "other_origin",
            f"the snapshot is of {note.origin}, and the key pinned is {verifier.name}'s: pull it from there",
        )
    for signature in signed.signatures:
        try:
            verifier.verify_note(signed.text, signature)
        except WrongSignature:
            continue  # others may sign a note too
        return note
    raise ConsentError(
        "proof_invalid",
        f"the key pinned for {verifier.name} did not sign this note: it was changed, or the key is not the "
        "feed's; do not use the file",
    )


def note_beside(path: Path) -> Path:
    """Where the note of the snapshot at `path` lies."""
    return path.with_name(path.name + NOTE_SUFFIX)


def require_bytes(file: BufferedReader | BufferedRandom, note: SnapshotNote) -> None:
    """Raises ConsentError `proof_invalid` unless the file, from its beginning, is the one of the note."""
    size = os.fstat(file.fileno()).st_size
    if size != note.bytes:
        refuse(f"it has {size:,} bytes, and {note.bytes:,} are promised")
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != note.sha256:
        refuse(f"its SHA-256 is {digest}, and {note.sha256} is promised")
    file.seek(0)


def refuse(detail: str) -> NoReturn:
    """Raises ConsentError `proof_invalid`: the whole file is worth nothing."""
    raise ConsentError("proof_invalid", f"the snapshot is not what its note says: {detail}; pull it again")
