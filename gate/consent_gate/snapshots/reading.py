"""Reading a snapshot: a file that is in every byte what its note says, group by group. Needs pyarrow.

Before anything in it is looked at, the file has the length and the SHA-256 of the note. It stays open, so
that what is read is what was hashed, and that nobody wrote into it meanwhile is found out at the end.
Then every value is checked as it is read, whoever signed it: what cannot be is refused, and with it the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from consent_domain.errors import ConsentError

from consent_gate.snapshots.columns import Cells, cells_of
from consent_gate.snapshots.layout import CLASS, GROUP_ROWS, KINDS, SCHEMA, WORKSPACE
from consent_gate.snapshots.note import SnapshotNote, refuse, require_bytes


class SnapshotFile:
    """An open snapshot whose bytes are those of the note."""

    def __init__(self, path: Path, note: SnapshotNote) -> None:
        """Raises ConsentError `not_found`, and `proof_invalid` for another file than the note's."""
        self.note = note
        self._last = b""
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ConsentError("not_found", f"{path} cannot be opened: {error.strerror}") from error
        try:
            self._stat = _stat_of(self._file.fileno())
            require_bytes(self._file, note)
            self._parquet = pq.ParquetFile(self._file)
            self._require_shape()
        except (OSError, pa.ArrowException) as error:
            self._file.close()
            refuse(f"it is no Parquet file: {error}")
        except BaseException:
            self._file.close()
            raise

    def cells(self) -> Iterator[Cells]:
        """All cells of a replica but its meta, in the order of keys, some ten thousand at a time.

        Raises ConsentError `proof_invalid` for whatever cannot be, at the latest when it ends.
        """
        groups, position = self._parquet.num_row_groups, self.note.position
        try:
            last = self._read(groups - 1) if groups else None
            classes = last if last is not None and _kind_of(last) == CLASS else None
            count = 0 if classes is None else len(classes)
            before = ""
            for batch in self._batches(groups if classes is None else groups - 1):
                kind = _kind_of(batch)
                if classes is not None and kind == WORKSPACE != before:
                    yield cells_of(CLASS, classes, count, position)
                yield self._next(kind, before, cells_of(kind, batch, count, position))
                before = kind
            if classes is not None and before != WORKSPACE:
                refuse("it has classes and no workspaces")
        except (OSError, pa.ArrowException) as error:
            refuse(f"it cannot be read: {error}")
        if _stat_of(self._file.fileno()) != self._stat:
            refuse("somebody wrote into it while it was read")

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------------------

    def _require_shape(self) -> None:
        if not self._parquet.schema_arrow.equals(SCHEMA, check_metadata=False):
            refuse("its columns are not those of a snapshot")
        metadata = self._parquet.metadata
        if metadata.num_rows != self.note.rows:
            refuse(f"it has {metadata.num_rows:,} rows, and {self.note.rows:,} are promised")
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if sum(counts) != metadata.num_rows or not all(1 <= count <= GROUP_ROWS for count in counts):
            refuse("its row groups are not those of a snapshot")

    def _batches(self, groups: int) -> Iterator[pa.RecordBatch]:
        """The row groups, each unpacked while the one before is worked on."""
        with ThreadPoolExecutor(1, "snapshot") as ahead:
            following = ahead.submit(self._read, 0) if groups else None
            for group in range(groups):
                assert following is not None, "each group asks for the next"
                batch = following.result()
                following = ahead.submit(self._read, group + 1) if group + 1 < groups else None
                yield batch

    def _read(self, group: int) -> pa.RecordBatch:
        batches = self._parquet.read_row_group(group, use_threads=False).combine_chunks().to_batches()
        if len(batches) != 1 or len(batches[0]) != self._parquet.metadata.row_group(group).num_rows:
            refuse(f"row group {group} has other rows than it says")
        return batches[0]

    def _next(self, kind: str, before: str, found: Cells) -> Cells:
        if kind == CLASS or (before and KINDS.index(kind) < KINDS.index(before)):
            refuse(f"a {kind} comes after a {before}")
        if kind == before and found.keys[0] <= self._last:
            refuse("its rows are not in order, or one of them comes twice")
        if any(map(bytes.__ge__, found.keys, found.keys[1:])):
            refuse("its rows are not in order, or one of them comes twice")
        self._last = found.keys[-1]
        return found


def _kind_of(batch: pa.RecordBatch) -> str:
    kinds = batch["kind"].unique().to_pylist()
    if len(kinds) != 1 or kinds[0] not in KINDS:
        refuse("a row group has several kinds of rows, or none that there is")
    kind: str = kinds[0]
    return kind


def _stat_of(descriptor: int) -> tuple[int, int]:
    stat = os.fstat(descriptor)
    return stat.st_size, stat.st_mtime_ns
