"""What was asked, made sure of, before anything is looked up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import lmdb
from consent_domain.decide import AHEAD_MAX, Collected
from consent_domain.errors import ConsentError
from consent_domain.instants import Micros, micros

from consent_gate.cells import decode_plain
from consent_gate.classes import NEVER, Entry, Table
from consent_gate.reader import View, snapshot_of

When = datetime | tuple[datetime, datetime] | Collected | None
"""When data was collected: an instant, a range with both ends, or None for "not known"."""
NAME_CHARACTERS_MAX = 256
CATEGORIES_MAX = 64


def collected_of(when: object) -> Collected:
    """The range that `when` names. Raises ConsentError `invalid_time` for anything else."""
    ends = (when, when) if isinstance(when, datetime) else when
    if not isinstance(ends, tuple) or len(ends) != 2:
        raise ConsentError("invalid_time", "collected is a datetime, or a pair of them")
    return Collected(_instant(ends[0]), _instant(ends[1]))


def _instant(when: object) -> Micros:
    if type(when) is int:
        return when
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise ConsentError("invalid_time", "collected needs datetimes with a zone")
    return micros(when)


def require_question(purpose: object, categories: object) -> None:
    """Raises ConsentError `malformed` for a question that nobody can answer."""
    named = isinstance(purpose, str) and isinstance(categories, tuple)
    names = (purpose, *categories) if named else ()  # type: ignore[misc]
    if not names or not all(isinstance(name, str) and len(name) <= NAME_CHARACTERS_MAX for name in names):
        raise ConsentError("malformed", "purpose and categories are texts, categories come as a sequence")
    if len(names) > CATEGORIES_MAX + 1:
        raise ConsentError("malformed", f"a question names at most {CATEGORIES_MAX} categories")


def table_of(transaction: Any, view: View, purpose: Any, categories: Any) -> Table:
    """The table for a question. Raises ConsentError `malformed` for one that nobody can answer."""
    require_question(purpose, categories)
    return view.tables.table(purpose, categories, snapshot_of(transaction, view))


def cell_of(transaction: Any, workspace: object) -> bytes:
    """What lies under a workspace's id; nothing for what cannot be a key, or is no single id."""
    if type(workspace) is not str:
        return b""
    try:
        return transaction.get(workspace.encode(), b"")  # type: ignore[no-any-return]
    except (lmdb.BadValsizeError, UnicodeEncodeError):
        return b""


def is_within(entry: Entry, cell: bytes, collected: Collected, at: Micros) -> bool:
    """Whether the range lies where everything is permitted; False also means "not known"."""
    start, end = collected
    until = entry.ruling.valid_until
    return (
        entry.permit_from != NEVER
        and entry.permit_after <= start <= end <= at + AHEAD_MAX
        and (until is None or end < until)
        and decode_plain(cell)[2] <= start
    )


def code_of(error: Exception) -> str:
    """The reason code for what went wrong during a check."""
    if isinstance(error, ConsentError):
        return "catching_up" if error.code == "unavailable" else "malformed"
    return "malformed" if isinstance(error, (TypeError, ValueError)) else "undecided"
