"""`views.runs`: every registered run, what came out of it, what it used, and what was discharged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import msgspec
from consent_domain.envelope import decode
from consent_domain.facts import pack
from consent_domain.runs import Run, fold_run

from consent_projector.seams import Changes, Fault, Row, View
from consent_projector.stored import Stored

COLUMNS = ("run", "purpose", "parents", "position", "changed", "packed")
_STREAM = "run/"
_unpack = msgspec.msgpack.Decoder(Run).decode


def keys(events: Sequence[Stored]) -> tuple[list[str], ...]:
    """The runs that `events` are about."""
    return (list({_run(event) for event in events if event.stream.startswith(_STREAM)}),)


def fold(rows: Iterable[Row], events: Iterable[Stored]) -> Changes:
    """Rows as `COLUMNS` after `events`; what cannot be read changes no run, and is told."""
    runs: dict[str, Run] = {cast(str, name): _unpack(cast(bytes, packed)) for name, packed in rows}
    changed: dict[str, int] = {}
    faults: list[Fault] = []
    for stored in events:
        if not stored.stream.startswith(_STREAM):
            continue
        name = _run(stored)
        try:
            after = fold_run(runs.get(name), decode(stored.body))
        except Exception as error:  # one event must not hold up all others
            faults.append(Fault(stored.position, stored.stream, f"{type(error).__name__}: {error}"))
            continue
        if after is not None:
            runs[name] = after
            changed[name] = stored.position
    return Changes([_row(runs[name], position) for name, position in changed.items()], faults)


def _run(stored: Stored) -> str:
    return stored.stream.partition("/")[2]


def _row(run: Run, changed: int) -> Row:
    return run.id, run.purpose, " ".join(run.parents), run.position, changed, pack(run)


RUNS = View("runs", COLUMNS, keys, fold, splits=True)
