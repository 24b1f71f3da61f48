"""How facts lie in a replica: one sorted space of keys, each value opening with a letter for its kind.

    workspace     its id                      P class since ordinal   (15 bytes, without a history)
                                              W facts                 (packed, with a history)
    organisation  0x01 id                     O facts
    class         0x02 number                 C kind, plan, region, contract, organisation
    change        0x03 position W|O|B id      (nothing: whose facts an event changed, for the latest ones)
    book          0x00 `book`                 B facts
    meta          0x00 `meta`                 M meta

Behind every value stands the CRC-32 of key and value: LMDB keeps none, and a bit that flipped on a disk or
in memory, in an id or in what lies under it, may not permit what was denied.

Ids hold no bytes below `-`, so the spaces cannot meet, and whoever asks for a workspace by a name
that is none finds no P and no W.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

import msgspec
from consent_domain.errors import ConsentError
from consent_domain.facts import Attributes, Packed, WorkspaceFacts
from consent_domain.instants import Micros

META_KEY = b"\x00meta"
BOOK_KEY = b"\x00book"
FIRST_WORKSPACE_KEY = b"-"
PLAIN, OWN = b"P", b"W"
CLASS_COUNT_MAX = 1 << 16
FORMAT = 2

PREFIX_BYTES, _SINCE_BYTES, _ORDINAL_BYTES = 3, 7, 5
SINCE_END = PREFIX_BYTES + _SINCE_BYTES
PLAIN_END = SINCE_END + _ORDINAL_BYTES
SUM_BYTES = 4
SOUND = 0x2144DF1C
"""The CRC-32 of any bytes that their own CRC-32 follows, little end first: `crc32(stored, crc32(key))`."""
SINCE_OFFSET = 1 << 55
"""Instants from the year 828 to 3111 fit seven bytes; workspaces with others take a cell of their own."""
SINCE_MIN, SINCE_MAX = -SINCE_OFFSET, SINCE_OFFSET - 1
ORDINAL_MAX = (1 << 8 * _ORDINAL_BYTES) - 1


class Meta(Packed, frozen=True):
    """What the replica as a whole stands on, in the same transaction as its rows.

    `generation` changes with everything that decides about more than one workspace: the book
    and any organisation. `time` is the latest ledger time known, for which is decided: that of
    the last event folded, or later. The watermark is the newest one that `position` has reached;
    `watermark_asked` is the boot clock when its request was sent, in nanoseconds, 0 for none.
    `view_generation` is that of the ledger's view which it began from, 0 where all was folded from events.
    `source` is whose word all of it is, and what vouches for that: see `Replica`.
    """

    format: int
    boot: str
    origin: str
    epoch: int
    position: int = 0
    time: Micros = 0
    generation: int = 1
    complete: bool = False
    superseded: bool = False
    halted: str = ""
    watermark_position: int = 0
    watermark_time: Micros = 0
    watermark_asked: int = 0
    source: str = ""
    view_generation: int = 0


class WorkspaceClass(Packed, frozen=True):
    """What all plain workspaces of a class share."""

    kind: str
    plan: str
    region: str
    contract: str
    organisation: str


_CHANGED = {"": b"", "workspace": b"W", "organisation": b"O", "book": b"B"}
_KINDS = {letter: kind for kind, letter in _CHANGED.items()}
_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_decode_class = msgspec.msgpack.Decoder(WorkspaceClass).decode


def summed(key: bytes, value: bytes) -> bytes:
    """The value as it is stored under a key."""
    return value + crc32(value, crc32(key)).to_bytes(SUM_BYTES, "little")


def unsummed(key: bytes, stored: bytes) -> bytes:
    """The value that `summed` took. Raises ConsentError `damaged` if it is another, or of another key."""
    if crc32(stored, crc32(key)) != SOUND:
        raise damaged(key)
    return stored[:-SUM_BYTES]


def damaged(key: bytes) -> ConsentError:
    """What is said of a value whose checksum does not fit."""
    return ConsentError("damaged", f"the replica is damaged at {key!r}; whoever follows fetches it anew")


def encode_meta(meta: Meta) -> bytes:
    return b"M" + _encode(meta)


def decode_meta(value: bytes) -> Meta:
    """Raises msgspec.MsgspecError for a replica that another version wrote."""
    return _decode_meta(memoryview(value)[1:])


def organisation_key(name: str) -> bytes:
    return b"\x01" + name.encode()


def class_key(number: int) -> bytes:
    return b"\x02" + number.to_bytes(2, "big")


def change_key(position: int, kind: str = "", name: str = "") -> bytes:
    return b"\x03" + position.to_bytes(8, "big") + _CHANGED[kind] + name.encode()


def changed(key: bytes) -> tuple[str, str] | None:
    """(kind, id) of a change's key, None for any other key."""
    return (_KINDS[key[9:10]], key[10:].decode()) if key[:1] == b"\x03" else None


def class_of(facts: WorkspaceFacts) -> bytes:
    """The class of plain facts, as bytes: equal bytes, equal decisions."""
    one = facts.attributes[0]
    return b"C" + _encode(WorkspaceClass(facts.kind, one.plan, one.region, one.contract, one.organisation))


def decode_class(value: bytes) -> WorkspaceClass:
    return _decode_class(memoryview(value)[1:])


def encode_instant(instant: Micros) -> bytes:
    """Seven bytes that sort as the instants do. Raises OverflowError outside the years 828 to 3111."""
    return (instant + SINCE_OFFSET).to_bytes(_SINCE_BYTES, "big")


def encode_plain(number: int, facts: WorkspaceFacts) -> bytes | None:
    """The 15 bytes of plain facts of class `number`, or None if they do not fit."""
    one = facts.attributes[0]
    if (one.since, one.position) != (facts.customer_since, facts.position):
        return None
    try:
        since = encode_instant(facts.customer_since)
        return plain_prefix(number) + since + facts.position.to_bytes(_ORDINAL_BYTES, "big")
    except OverflowError:
        return None


def plain_prefix(number: int) -> bytes:
    """How the cells of a class's plain workspaces begin, and no others: `PREFIX_BYTES`."""
    return PLAIN + number.to_bytes(2, "big")


def decode_plain(value: bytes) -> tuple[int, int, Micros]:
    """(class number, ordinal, customer since) of a plain cell, with or without its checksum."""
    return (
        int.from_bytes(value[1:3], "big"),
        int.from_bytes(value[SINCE_END:PLAIN_END], "big"),
        int.from_bytes(value[PREFIX_BYTES:SINCE_END], "big") - SINCE_OFFSET,
    )


head_of = Struct(f"{PREFIX_BYTES}s{_SINCE_BYTES}s").unpack_from
"""(prefix, instant) of a plain cell, as bytes: half the time of two slices. Notes of changes are shorter."""
opening_of = Struct(f">{PREFIX_BYTES}sQ").unpack_from
"""The same with the instant as a number, and one byte behind it: `(number >> 8) - SINCE_OFFSET`."""


def plain_facts(value: bytes, shared: WorkspaceClass) -> WorkspaceFacts:
    """The facts that `encode_plain` took."""
    _, ordinal, since = decode_plain(value)
    attributes = Attributes(since, ordinal, shared.plan, shared.region, shared.contract, shared.organisation)
    return WorkspaceFacts(shared.kind, ordinal, since, (attributes,))
