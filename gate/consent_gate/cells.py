"""How facts lie in a replica: one sorted space of keys, each value opening with a letter for its kind.

    workspace     its id                      P class since ordinal   (15 bytes, without a history)
                                              W facts                 (packed, with a history)
    organisation  0x01 id                     O facts
    class         0x02 number                 C kind, plan, region, contract, organisation
    book          0x00 `book`                 B facts
    meta          0x00 `meta`                 M meta

Ids hold no bytes below `-`, so the spaces cannot meet, and whoever asks for a workspace by a name
that is none finds no P and no W.
"""

from __future__ import annotations

import msgspec
from consent_domain.facts import Attributes, Packed, WorkspaceFacts
from consent_domain.instants import Micros

META_KEY = b"\x00meta"
BOOK_KEY = b"\x00book"
FIRST_WORKSPACE_KEY = b"-"
PLAIN, OWN = b"P", b"W"
CLASS_COUNT_MAX = 1 << 16
FORMAT = 1

PREFIX_BYTES, _SINCE_BYTES, _ORDINAL_BYTES = 3, 7, 5
SINCE_END = PREFIX_BYTES + _SINCE_BYTES
_SINCE_OFFSET = 1 << 55
"""Instants from the year 828 to 3111 fit seven bytes; workspaces with others take a cell of their own."""


class Meta(Packed, frozen=True):
    """What the replica as a whole stands on, in the same transaction as its rows.

    `generation` changes with everything that decides about more than one workspace: the book
    and any organisation. `time` is the latest ledger time known, for which is decided: that of
    the last event folded, or later. The watermark is the newest one that `position` has reached;
    `watermark_asked` is the boot clock when its request was sent, in nanoseconds, 0 for none.
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


class WorkspaceClass(Packed, frozen=True):
    """What all plain workspaces of a class share."""

    kind: str
    plan: str
    region: str
    contract: str
    organisation: str


_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_decode_class = msgspec.msgpack.Decoder(WorkspaceClass).decode


def encode_meta(meta: Meta) -> bytes:
    return b"M" + _encode(meta)


def decode_meta(value: bytes) -> Meta:
    """Raises msgspec.MsgspecError for a replica that another version wrote."""
    return _decode_meta(memoryview(value)[1:])


def organisation_key(name: str) -> bytes:
    return b"\x01" + name.encode()


def class_key(number: int) -> bytes:
    return b"\x02" + number.to_bytes(2, "big")


def class_of(facts: WorkspaceFacts) -> bytes:
    """The class of plain facts, as bytes: equal bytes, equal decisions."""
    one = facts.attributes[0]
    return b"C" + _encode(WorkspaceClass(facts.kind, one.plan, one.region, one.contract, one.organisation))


def decode_class(value: bytes) -> WorkspaceClass:
    return _decode_class(memoryview(value)[1:])


def encode_instant(instant: Micros) -> bytes:
    """Seven bytes that sort as the instants do. Raises OverflowError outside the years 828 to 3111."""
    return (instant + _SINCE_OFFSET).to_bytes(_SINCE_BYTES, "big")


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
    """(class number, ordinal, customer since) of a plain cell."""
    return (
        int.from_bytes(value[1:3], "big"),
        int.from_bytes(value[SINCE_END:], "big"),
        int.from_bytes(value[PREFIX_BYTES:SINCE_END], "big") - _SINCE_OFFSET,
    )


def plain_facts(value: bytes, shared: WorkspaceClass) -> WorkspaceFacts:
    """The facts that `encode_plain` took."""
    _, ordinal, since = decode_plain(value)
    attributes = Attributes(since, ordinal, shared.plan, shared.region, shared.contract, shared.organisation)
    return WorkspaceFacts(shared.kind, ordinal, since, (attributes,))
