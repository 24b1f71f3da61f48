"""The CloudEvents 1.0 envelope: an event to its bytes, once, and bytes back to an event.

`encode` is called by the committer alone. Everybody else passes the bytes on as they are
and reads them with `decode`.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec

from consent_domain.errors import Refused, Unreadable
from consent_domain.events import BY_BODY, BY_NAME, EVENT_TYPES, STREAM_KINDS, Body
from consent_domain.instants import Micros, parse_rfc3339, rfc3339

BYTES_MAX = 65_535
"""The longest entry that a tlog-tiles bundle can hold (C2SP tlog-tiles: 16-bit length)."""

_encode_body = msgspec.json.Encoder().encode
_WRITTEN = {
    kind.body: (
        f'"type":"{kind.name}",',
        f'"datacontenttype":"application/json","dataschema":"{kind.dataschema}","effect":"{kind.effect}","data":',
    )
    for kind in EVENT_TYPES
}
"""The members that all events of a type share, as they are written."""
_BODY_DECODERS = {name: msgspec.json.Decoder(kind.body).decode for name, kind in BY_NAME.items()}
_STREAMS = tuple(f"{kind}/" for kind in STREAM_KINDS)


class Event(NamedTuple):
    """A recorded event as readers see it. `body` is None for a type unknown here that changes no standing."""

    position: int
    id: str
    stream: str
    type: str
    time: Micros
    body: Body | None


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    sequence: str
    time: str
    effect: str
    data: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def encode(position: int, event_id: UUID | str, source: str, stream: str, time: Micros, body: Body) -> bytes:
    """The stored bytes of an event: structured JSON, UTF-8, one line.

    Raises Refused `event_too_large` above `BYTES_MAX`. Names are checked before, so nothing
    here needs escaping: an `assert` guards it.
    """
    kind = BY_BODY[type(body)]
    named, described = _WRITTEN[type(body)]
    assert stream.partition("/")[0] in kind.streams, f"{kind.name} does not belong on {stream}"
    assert '"' not in stream and "\\" not in stream and '"' not in source, (
        "names are checked before they come here"
    )
    head = (
        f'{{"specversion":"1.0","id":"{event_id}","source":"{source}",{named}'
        f'"subject":"{stream}","sequence":"{position:020d}","time":"{rfc3339(time)}",{described}'
    )
    encoded = b"".join((head.encode(), _encode_body(body), b"}"))
    if len(encoded) > BYTES_MAX:
        raise Refused(
            "event_too_large",
            f"the event takes {len(encoded)} bytes of at most {BYTES_MAX}; "
            "store large texts as blobs and name their SHA-256",
        )
    return encoded


def decode(stored: bytes) -> Event:
    """The event of stored bytes, any version ever released.

    A type unknown here whose `effect` is `none` comes back without a body and is passed over.
    Raises Unreadable for anything else that cannot be read: whoever depends on it must deny.
    """
    try:
        envelope = _decode_envelope(stored)
        position = int(envelope.sequence)
        time = parse_rfc3339(envelope.time)
    except Exception as error:
        raise Unreadable(f"the bytes are no event of this ledger: {error}") from error
    if envelope.specversion != "1.0" or not envelope.subject.startswith(_STREAMS):
        raise Unreadable("no CloudEvents 1.0 envelope, or an unknown stream", position=position)
    decode_body = _BODY_DECODERS.get(envelope.type)
    if decode_body is None:
        if envelope.effect == "none":
            return Event(position, envelope.id, envelope.subject, envelope.type, time, None)
        raise Unreadable(
            f"event type {envelope.type!r} is unknown here and changes standing", position=position
        )
    try:
        body = decode_body(envelope.data)
    except Exception as error:  # also UnicodeDecodeError and RecursionError
        raise Unreadable(f"the body of {envelope.type} cannot be read: {error}", position=position) from error
    return Event(position, envelope.id, envelope.subject, envelope.type, time, body)


def stream_of(stored: bytes) -> tuple[str, int] | None:
    """The stream and position of bytes that may be unreadable otherwise; None if not even that."""
    try:
        envelope = _decode_envelope(stored)
        return envelope.subject, int(envelope.sequence)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
