"""What was asked, made sure of, before anything is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from typing import Any
from zlib import crc32

import lmdb
from consent_domain.decide import AHEAD_MAX, Collected
from consent_domain.errors import ConsentError
from consent_domain.instants import Micros, micros

from consent_gate.cells import SOUND, damaged, decode_plain
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
        raise ConsentError(
            "invalid_time", "collected is a datetime with a zone, or the first and the last one as a tuple"
        )
    return Collected(_instant(ends[0]), _instant(ends[1]))


def _instant(when: object) -> Micros:
    if type(when) is int:
        return when
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise ConsentError("invalid_time", "collected needs datetimes with a zone, such as tzinfo=UTC")
    return micros(when)


def require_question(purpose: object, categories: object) -> None:
    """Raises ConsentError `malformed` for a question that nobody can answer."""
    if purpose is None:
        raise ConsentError(
            "malformed", "name the purpose: in the question, or once for all as the gate's own"
        )
    named = isinstance(purpose, str) and isinstance(categories, tuple)
    names = (purpose, *categories) if named else ()  # type: ignore[misc]
    if not names or not all(isinstance(name, str) and len(name) <= NAME_CHARACTERS_MAX for name in names):
        raise ConsentError(
            "malformed", "purpose and categories are texts; categories come as a list or tuple"
        )
    if len(names) > CATEGORIES_MAX + 1:
        raise ConsentError("malformed", f"a question names at most {CATEGORIES_MAX} categories")


def owners_of(workspace: object) -> tuple[str, ...]:
    """All who own the data. Raises ConsentError `malformed` for what names nobody."""
    owners = (workspace,) if isinstance(workspace, str) else workspace
    if not isinstance(owners, Sequence) or not all(isinstance(name, str) for name in owners):
        raise ConsentError(
            "malformed", "a workspace is named by its id, a text; several owners by a list of them"
        )
    return tuple(owners)


def table_of(transaction: Any, view: View, purpose: Any, categories: Any) -> Table:
    """The table for a question. Raises ConsentError `malformed` for one that nobody can answer."""
    require_question(purpose, categories)
    return view.tables.table(purpose, categories, snapshot_of(transaction, view))


def cell_of(transaction: Any, workspace: object) -> bytes:
    """What lies under a workspace's id; nothing for what cannot be a key, or is no single id.

    Raises ConsentError `damaged` if it is not what was put there.
    """
    if type(workspace) is not str:
        return b""
    try:
        key = workspace.encode()
        cell: bytes = transaction.get(key, b"")
    except (lmdb.BadValsizeError, UnicodeEncodeError):
        return b""
    if cell and crc32(cell, crc32(key)) != SOUND:
        raise damaged(key)
    return cell


def cells_of(transaction: Any, workspaces: Sequence[object]) -> list[bytes]:
    """`cell_of` for each of them, in columns: about a third less time."""
    try:
        keys = list(map(str.encode, workspaces))  # type: ignore[arg-type]
        cells: list[bytes] = list(map(transaction.get, keys, repeat(b"")))
    except (TypeError, UnicodeEncodeError, lmdb.BadValsizeError):
        return [cell_of(transaction, one) for one in workspaces]  # one of them cannot be a key
    sums = list(map(crc32, cells, map(crc32, keys)))
    if sums.count(SOUND) != len(sums):
        for key, cell, found in zip(keys, cells, sums, strict=True):
            if cell and found != SOUND:
                raise damaged(key)
    return cells


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


_CODES = {
    "unavailable": "catching_up",
    "damaged": "undecided",
    "unsafe_folder": "undecided",
    "other_origin": "halted",
}
"""Reason codes for what is wrong with the replica; any other error says that the question is."""


def code_of(error: Exception) -> str:
    """The reason code for what went wrong during a check."""
    if isinstance(error, ConsentError):
        return _CODES.get(error.code, "malformed")
    return "malformed" if isinstance(error, (TypeError, ValueError)) else "undecided"


def detail_of(error: Exception) -> str:
    """What was wrong, for the sentence of the answer; nothing where that says nothing to a person."""
    return error.detail if isinstance(error, ConsentError) else ""
