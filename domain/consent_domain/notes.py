"""C2SP signed-note: text, a blank line, and lines of signatures; and the keys that sign, as text.

    example.com/log
    3
    3P3NN8x8XcgTu8fV8nCtJOoABkoTskbuW4w6nBi3bq4=

    — example.com/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe…

A signature begins with the four bytes of its key's hash, SHA-256(name || 0x0A || kind || public
key)[:4]; name and hash together say which key it is of. A verifier key reads
`name+hash+base64(kind || public key)`, the hash in hex. Nothing here verifies a signature: `text` is
nobody's until the gate's `signatures` says so.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import NamedTuple, NoReturn

from consent_domain.errors import ConsentError

NOTE_BYTES_MAX = 1 << 20
SIGNATURES_MAX = 100
SIGNATURE_BYTES_MAX = 8 * 1024
"""Of one signature: the longest in use are post-quantum ones of nearly 5 kB."""
KEY_HASH_BYTES = 4
NAME_CHARACTERS_MAX = 255
KEY_TEXT_MAX = 8 * 1024

SIGNS_NOTES = 0x01
"""Kind of a key: Ed25519 over the text of a note."""
COSIGNS = 0x04
"""Kind of a key: Ed25519 with a time, of a witness (C2SP tlog-cosignature)."""

_DASH = "— "


class NoteSignature(NamedTuple):
    """`signature` is what follows the four bytes of the key's hash."""

    name: str
    key_hash: bytes
    signature: bytes


class Note(NamedTuple):
    """`text` ends with a newline; `signatures` are in the order of their lines."""

    text: str
    signatures: tuple[NoteSignature, ...]


class KeyText(NamedTuple):
    """What a verifier key writes: `kind` is its first byte, `public` what follows."""

    name: str
    kind: int
    public: bytes

    @property
    def key_hash(self) -> bytes:
        """The four bytes that name the key in a signature."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:KEY_HASH_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}+{encode_base64(bytes([self.kind]) + self.public)}"


def parse_key(text: str) -> KeyText:
    """The verifier key that `text` writes, of any kind. Raises ConsentError `malformed`."""
    if len(text) > KEY_TEXT_MAX or text.count("+") < 2:
        _refuse(f"{text[:200]!r} is no verifier key; keys read name+hash+base64")
    name, hashed, encoded = text.split("+", 2)
    blob = decode_base64(encoded)
    if not is_key_name(name) or len(blob) < 2:
        _refuse(f"{text[:200]!r} is no verifier key; keys read name+hash+base64")
    key = KeyText(name, blob[0], blob[1:])
    if hashed != key.key_hash.hex():
        _refuse(
            f"the verifier key of {name!r} is mistyped: its hash is {key.key_hash.hex()}, not {hashed[:16]!r}"
        )
    return key


def is_key_name(name: str) -> bool:
    """Whether a key may be called so: not empty, no plus, no Unicode spaces, no control characters."""
    return (
        0 < len(name) <= NAME_CHARACTERS_MAX
        and is_plain(name)
        and not any(character == "+" or character.isspace() for character in name)
    )


def is_plain(text: str) -> bool:
    """Whether `text` is one line that UTF-8 can write, without ASCII control characters."""
    return not any(character < " " or "\ud800" <= character <= "\udfff" for character in text)


def parse_note(data: bytes) -> Note:
    """The note that `data` is. Raises ConsentError `malformed`. Inverse of `format_note`.

    Signatures of keys nobody knows and several of one key are all kept: which of them count is for
    whoever has the keys to say.
    """
    if len(data) > NOTE_BYTES_MAX:
        _refuse(f"a note of {len(data)} bytes is longer than {NOTE_BYTES_MAX}")
    text, blank, lines = _decode(data).rpartition("\n\n")
    if not blank:
        _refuse("the note has no signatures: they follow an empty line")
    signatures = parse_signature_lines(lines)
    if not signatures:
        _refuse("the note has no signatures")
    return Note(text + "\n", signatures)


def format_note(note: Note) -> bytes:
    """The bytes of a note. Inverse of `parse_note`; raises ConsentError `malformed` where that would."""
    data = (note.text + "\n" + "".join(map(signature_line, note.signatures))).encode(errors="surrogatepass")
    if parse_note(data) != note:
        _refuse("the text of a note ends with a newline, and its names have no spaces")
    return data


def signature_line(signature: NoteSignature) -> str:
    """The line of a signature, with its newline."""
    return f"{_DASH}{signature.name} {encode_base64(signature.key_hash + signature.signature)}\n"


def parse_signature_lines(lines: str) -> tuple[NoteSignature, ...]:
    """The signatures of lines that each end with a newline, as a witness answers them.

    Raises ConsentError `malformed`, also for more than `SIGNATURES_MAX`.
    """
    if len(lines) > NOTE_BYTES_MAX or lines.count("\n") > SIGNATURES_MAX:
        _refuse(f"there are more than {SIGNATURES_MAX} signatures")
    if lines and not lines.endswith("\n"):
        _refuse("the last line of the signatures is cut off")
    return tuple(_parse_signature(line) for line in lines.split("\n")[:-1])


def _parse_signature(line: str) -> NoteSignature:
    dash, name, encoded = line[: len(_DASH)], *_cut(line[len(_DASH) :])
    if dash != _DASH or not is_key_name(name):
        _refuse(f"{line[:100]!r} is no line of a signature; they read — NAME BASE64")
    blob = decode_base64(encoded)
    if not KEY_HASH_BYTES < len(blob) <= KEY_HASH_BYTES + SIGNATURE_BYTES_MAX:
        _refuse(f"the signature of {name!r} has {len(blob)} bytes")
    return NoteSignature(name, blob[:KEY_HASH_BYTES], blob[KEY_HASH_BYTES:])


def _cut(text: str) -> tuple[str, str]:
    before, _, after = text.partition(" ")
    return before, after


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding, RFC 4648 §4."""
    return b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The bytes that `text` writes in the one way `encode_base64` does. Raises ConsentError `malformed`."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        _refuse(f"{text[:100]!r} is not base64")
    if encode_base64(data) != text:
        # Other bits behind the padding: two texts would mean the same bytes.
        _refuse(f"{text[:100]!r} is not how base64 is written")
    return data


def _decode(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        _refuse("the note is not UTF-8")
    if any(character < " " and character != "\n" for character in text):
        _refuse("the note has control characters")
    return text


def _refuse(detail: str) -> NoReturn:
    raise ConsentError("malformed", detail)
