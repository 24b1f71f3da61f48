"""`consent check --with`: the answer as it would be, had events been recorded now that were not.

They are folded onto the facts in this host's replica, in memory, and are sent nowhere. The answer
stands apart from real ones: it says that it is hypothetical, and its JSON has no `decision` at the
place where a program looks for a real one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from consent_domain.decide import Collected, Decision, decide
from consent_domain.errors import ConsentError
from consent_domain.imagined import imagine
from consent_domain.instants import Micros, micros, parse_rfc3339, rfc3339
from consent_domain.reasons import named, sentence
from consent_domain.ruling import Snapshot
from consent_domain.what_if import Overlay

from consent_gate.answers import (
    DENY,
    PERMIT,
    CheckAnswer,
    CheckRequest,
    CollectedRange,
    wire_reason,
    wire_window,
)
from consent_gate.commands.recorded import Stored
from consent_gate.pin import Pin

DOCUMENT_BYTES_MAX = 4 << 20


class WhatIf(NamedTuple):
    """The answer as it is, as it would be, and the events that make the difference, in order."""

    actual: CheckAnswer
    hypothetical: CheckAnswer
    events: list[Stored]


def what_if(pin: Pin, question: CheckRequest, documents: list[str]) -> WhatIf:
    """What the events in `documents` (files, `-` for standard input) would change at `question`.

    Raises ConsentError for a document that cannot be read, an event that the ledger would refuse, or
    a question that cannot be understood.
    """
    if question.known_at:
        raise ConsentError(
            "invalid_value", "--with is about what would be recorded now: leave --at and --known-at out"
        )
    overlay = Overlay(pin.snapshot, pin.token.position, pin.at)
    for document in documents:
        for number, written in enumerate(_events_in(document), start=1):
            try:
                overlay = imagine(overlay, written)
            except ConsentError as error:
                raise ConsentError(
                    error.code, f"event {number} of {document}: {error.detail}", **error.extra
                ) from error
    at = parse_rfc3339(question.as_of) if question.as_of else None
    return WhatIf(
        _answer(pin, pin.snapshot, question, pin.at if at is None else at),
        _answer(pin, overlay, question, overlay.at if at is None else at),
        [_as_stored(event) for event in overlay.imagined],
    )


def _answer(pin: Pin, snapshot: Snapshot, question: CheckRequest, at: Micros) -> CheckAnswer:
    decided = decide(
        snapshot, question.workspaces, question.purpose, tuple(question.categories), at,
        _collected(question.collected),
    )  # fmt: skip
    return _wire(decided, question, str(pin.token), at)


def _wire(decided: Decision, question: CheckRequest, token: str, at: Micros) -> CheckAnswer:
    return CheckAnswer(
        decision=PERMIT if decided.permit else DENY,
        standing=decided.standing,
        reasons=[wire_reason(reason) for reason in decided.reasons],
        policy_version=decided.policy_version,
        token=token,
        ledger_time=rfc3339(at),
        staleness_ms=None,
        permitted_collected=[wire_window(window) for window in decided.windows],
        decision_id="",
        sentence=sentence(decided, named(question.workspaces) or "nobody", question.purpose),
    )


def _collected(asked: CollectedRange | None) -> Collected | None:
    if asked is None:
        return None
    start, end = asked.at or asked.from_, asked.at or asked.to
    assert start is not None and end is not None, "the arguments give both ends or none"
    return Collected(micros(start), micros(end))


def _events_in(document: str) -> list[Any]:
    """The JSON values of a document: one event, an array of them, or one a line."""
    content = _read(document)
    try:
        whole = msgspec.json.decode(content)
        return whole if isinstance(whole, list) else [whole]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        lines = [line for line in content.splitlines() if line.strip()]
        if len(lines) < 2:
            raise ConsentError("malformed", f"{document} is no JSON: {error}") from error
    try:
        return [msgspec.json.decode(line) for line in lines]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConsentError(
            "malformed", f"{document} is neither one JSON document nor one event a line: {error}"
        ) from error


def _read(document: str) -> bytes:
    try:
        if document == "-":
            content = sys.stdin.buffer.read(DOCUMENT_BYTES_MAX + 1)
        else:
            with Path(document).open("rb") as file:
                content = file.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise ConsentError("invalid_value", f"{document} cannot be read: {error.strerror}") from error
    if len(content) > DOCUMENT_BYTES_MAX:
        raise ConsentError("too_large", f"{document} is longer than {DOCUMENT_BYTES_MAX >> 20} MiB")
    return content


def _as_stored(event: Any) -> Stored:
    """An imagined event as recorded ones are shown."""
    return {
        "type": event.type,
        "subject": event.stream,
        "sequence": f"{event.position:020d}",
        "time": rfc3339(event.time),
        "data": msgspec.to_builtins(event.body),
    }
