"""`views.requests`: every request to opt out or in, its state and its due date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

import msgspec
from consent_domain.envelope import decode
from consent_domain.facts import pack
from consent_domain.instants import Micros, moment_of
from consent_domain.requests import Request, fold_request, request_of

from consent_projector.seams import Changes, Fault, Row, View
from consent_projector.stored import Stored

COLUMNS = (
    "id",
    "kind",
    "scope_kind",
    "scope_id",
    "stream",
    "state",
    "is_open",
    "authority",
    "received_at",
    "due_at",
    "processed_at",
    "position",
    "request",
)
_unpack = msgspec.msgpack.Decoder(Request).decode
_STREAMS = ("workspace/", "organisation/")


def keys(events: Sequence[Stored]) -> tuple[list[str], ...]:
    """The streams whose requests `events` may change."""
    return (list({event.stream for event in events if event.stream.startswith(_STREAMS)}),)


def fold(rows: Iterable[Row], events: Iterable[Stored]) -> Changes:
    """Rows as `COLUMNS` after `events`; what cannot be read changes no request, and `facts` denies for it."""
    requests: dict[tuple[str, str], Request] = {}
    for row in rows:
        request = _unpack(cast(bytes, row[-1]))
        requests[request.stream, request.id] = request
    changed: dict[tuple[str, str], None] = {}
    faults: list[Fault] = []
    for stored in events:
        try:
            event = decode(stored.body)
            about = request_of(event.body)
            if not about:
                continue
            key = stored.stream, about
            after = fold_request(requests.get(key), event)
        except Exception as error:  # one event must not hold up all others
            faults.append(Fault(stored.position, stored.stream, f"{type(error).__name__}: {error}"))
            continue
        if after is not None:
            requests[key] = after
            changed[key] = None
    return Changes([_row(requests[key]) for key in changed], faults)


def _row(request: Request) -> Row:
    return (
        _text(request.id),
        request.kind,
        _text(request.scope_kind),
        _text(request.scope_id),
        request.stream,
        request.state,
        request.is_open,
        _text(request.authority),
        moment_of(request.received_at),
        _moment(request.due_at),
        _moment(request.processed_at),
        request.last_position,
        pack(request),
    )


def _moment(instant: Micros | None) -> datetime | None:
    return None if instant is None else moment_of(instant)


def _text(value: str) -> str:
    """PostgreSQL's text holds no NUL, JSON's may: such a value is shown with U+FFFD, and packed as it is."""
    return value.replace("\0", "\ufffd")


REQUESTS = View("requests", COLUMNS, keys, fold, splits=True)
