"""Writing a snapshot: rows of facts in order, row group by row group. Needs pyarrow.

Workspaces to which nothing happened share a class, as they do in a replica, so that a gate loads whole
columns of them. Cost: about five microseconds a workspace.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from consent_domain.errors import ConsentError
from consent_domain.facts import WorkspaceFacts, pack
from consent_domain.feed import Row
from consent_domain.identifiers import is_id

from consent_gate.cells import CLASS_COUNT_MAX, class_of, encode_plain
from consent_gate.snapshots.layout import (
    BOOK,
    CLASS,
    COMPRESSION,
    DICTIONARIES,
    ENCODINGS,
    GROUP_ROWS,
    KINDS,
    ORGANISATION,
    SCHEMA,
)
from consent_gate.store import facts_of_row

_Line = tuple[str | None, str | None, int | None, int | None, int | None, bytes | None]
"""All columns but the kind."""


class Written(NamedTuple):
    """What a note says of the file."""

    rows: int
    bytes: int
    sha256: str


class SnapshotWriter:
    """A file on its way: rows in order, then `finish`. If anything is raised, remove what is at the path."""

    def __init__(self, path: Path) -> None:
        """Raises OSError if there can be no file at `path`."""
        self._path = path
        self._file = pq.ParquetWriter(
            path,
            SCHEMA,
            compression=COMPRESSION,
            use_dictionary=DICTIONARIES,
            column_encoding=ENCODINGS,
        )
        self._classes: dict[bytes, int] = {}
        self._waiting: list[_Line] = []
        self._kind = BOOK
        self._last = b""
        self._rows = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows as the feed has them, but by kind (book, organisations, workspaces) and bytes of ids.

        Raises ConsentError `damaged` for rows out of order or an id that nobody can have, OSError.
        """
        for row in rows:
            name = row.id.encode()
            if row.kind != self._kind:
                self._begin(row)
            elif name <= self._last:
                raise ConsentError("damaged", f"the facts of {row.kind} {row.id!r} come twice, or too late")
            if not is_id(row.id):
                raise ConsentError("damaged", f"there are facts of a {row.kind} {row.id[:140]!r}")
            self._last = name
            self._waiting.append(self._line(row))
            if len(self._waiting) == GROUP_ROWS:
                self._flush()

    def finish(self) -> Written:
        """The classes behind the rest, and the file is whole and durable. Raises OSError."""
        self._flush()
        self._kind = CLASS
        self._waiting = [
            (None, None, None, number, None, shared[1:]) for shared, number in self._classes.items()
        ]
        self._flush()
        self._file.close()
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Written(self._rows, os.fstat(file.fileno()).st_size, digest)

    def abandon(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _begin(self, row: Row) -> None:
        if row.kind not in KINDS or KINDS.index(row.kind) < KINDS.index(self._kind):
            raise ConsentError("damaged", f"the facts of {row.kind[:32]} {row.id!r} come too late")
        self._flush()
        self._kind = row.kind

    def _line(self, row: Row) -> _Line:
        facts = facts_of_row(*row)
        if not isinstance(facts, WorkspaceFacts):
            return (None, row.id if row.kind == ORGANISATION else None, None, None, None, pack(facts))
        number = self._class_of(facts)
        packed = None if number is not None else pack(facts)
        return (row.id, None, facts.position, number, facts.customer_since, packed)

    def _class_of(self, facts: WorkspaceFacts) -> int | None:
        """The number of the class of plain facts; None for others, and for those that no cell holds."""
        if not facts.is_plain or encode_plain(0, facts) is None:
            return None
        shared = class_of(facts)
        number = self._classes.get(shared)
        if number is None and len(self._classes) < CLASS_COUNT_MAX:
            number = self._classes[shared] = len(self._classes)
        return number

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = zip(*self._waiting, strict=True)
        fields = list(SCHEMA)[1:]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, fields, strict=True)]
        kinds = pa.repeat(pa.scalar(self._kind), len(self._waiting))
        self._file.write_table(pa.Table.from_arrays([kinds, *arrays], schema=SCHEMA))
        self._rows += len(self._waiting)
        self._waiting = []
