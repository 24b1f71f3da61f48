"""What remote gates receive: pages of fact rows and a watermark, packed once and signed as they are.

A run of pages brings a replica from one position to another. Every page repeats where it
starts (`after`) and says how far it reaches (`through`); only the last page of a run has
`more` false, and only then do the rows make one consistent state, at position `through`.

A row is the newest facts of one workspace, one organisation or the book, and `position` is
that of the last event folded into them: rows come in the order of positions, so a row that
changes while a run goes on is met again later in the same run.

The watermark is read together with the rows and says where the *log* stood, which may be
ahead of the rows: a replica counts it only once its own position has reached the watermark's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from consent_domain.errors import Unreadable
from consent_domain.facts import Packed
from consent_domain.identifiers import Token, is_id
from consent_domain.instants import Micros

FORMAT = 1
"""Of the page and of the facts in it. A gate reads exactly this one: a field it did not know might deny."""
ROW_KINDS = ("workspace", "organisation", "book")
PAGE_CONTEXT = b"consent.v1.feed-page\n"
"""Signed in front of every page, so that no other signature of the same key can pass for one."""
PAGE_BYTES_MAX = 64 * 1024 * 1024
MEDIA_TYPE = "application/vnd.consent.feed+msgpack"


class Watermark(Packed, frozen=True):
    """The log stood at `position` when its own clock said `time`."""

    origin: str
    epoch: int
    position: int
    time: Micros


class Row(NamedTuple):
    """Facts as of `position`; `kind` is one of `ROW_KINDS`, the book's id is `-`."""

    kind: str
    id: str
    position: int
    facts: bytes


class Page(Packed, frozen=True):
    """The rows changed in (`after`, `through`]; `after` 0 is the beginning of a snapshot.

    `generation` is that of the view which the rows are from. In another one everything was folded anew, also
    what lies before `after`: whoever holds rows of an older one cannot go on from them.
    """

    format: int
    origin: str
    epoch: int
    generation: int
    after: int
    through: int
    more: bool
    watermark: Watermark
    rows: Sequence[Row]

    @property
    def token(self) -> Token:
        """What the next request names as `after`."""
        return Token(self.origin, self.epoch, self.through)


class Signed(Packed, frozen=True):
    """A message and an Ed25519 signature of `context || message`; `key_hash` (4 bytes) names its key."""

    message: bytes
    key_hash: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_decode_page = msgspec.msgpack.Decoder(Page).decode
_decode_signed = msgspec.msgpack.Decoder(Signed).decode


def encode_page(page: Page) -> bytes:
    """The bytes of a page, as they are signed (after `PAGE_CONTEXT`) and sent. Inverse of `decode_page`."""
    return _encoder.encode(page)


def decode_page(message: bytes) -> Page:
    """The page of `message`, checked against itself.

    Raises Unreadable for bytes that are no page of this format, or a page that cannot be: rows out of
    order or outside (after, through], unknown kinds, ids that no customer can have, a watermark of
    another log or behind the rows.
    """
    try:
        page = _decode_page(message)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the bytes are no page of a feed: {error}") from error
    problem = _problem_of(page)
    if problem:
        raise Unreadable(f"the page after {page.after} cannot be: {problem}")
    return page


def _problem_of(page: Page) -> str:
    if page.format != FORMAT:
        return f"it has format {page.format} and this gate reads format {FORMAT}; upgrade the older side"
    mark = page.watermark
    if (mark.origin, mark.epoch) != (page.origin, page.epoch):
        return "its watermark is of another log or epoch"
    if not 0 <= page.after <= page.through <= mark.position:
        return f"it reaches from {page.after} to {page.through} of a log that stands at {mark.position}"
    if page.generation < 1:
        return f"generations begin with 1, and it has {page.generation}"
    if page.more and not page.rows:
        return "more rows are promised and none are there"
    last = page.after
    for row in page.rows:
        if row.kind not in ROW_KINDS or not is_id(row.id):
            return f"it has a row {row.kind[:32]!r} {row.id[:140]!r}"
        if not last < row.position <= page.through:
            return f"its row {row.kind} {row.id} is at {row.position}, out of order"
        last = row.position
    return "it does not end at its last row" if page.more and last != page.through else ""


def encode_signed(signed: Signed) -> bytes:
    """The bytes that travel. Inverse of `decode_signed`."""
    return _encoder.encode(signed)


def decode_signed(data: bytes) -> Signed:
    """The signed message of `data`, not verified. Raises Unreadable for anything else, or above 64 MiB."""
    if len(data) > PAGE_BYTES_MAX:
        raise Unreadable(f"the page has {len(data)} bytes of at most {PAGE_BYTES_MAX}")
    try:
        return _decode_signed(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the bytes are no signed page: {error}") from error
