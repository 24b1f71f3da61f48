"""A Parquet file filtered into another: as a stream, and the other is there only if all went well.

The rows go to a file of another name beside the target, which takes the target's place when it is
complete and on the disk. Whatever happens before that, no target is there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from consent_domain.errors import ConsentError

from consent_gate.filter import Filter

BATCH_ROWS = 131_072
_COMPRESSIONS = {"GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "LZ4": "lz4", "UNCOMPRESSED": "none"}


class Filtered(NamedTuple):
    """How many rows there were, and how many of them were written."""

    rows: int
    kept: int


Progress = Callable[[int, int], None]
"""Called now and then with the rows done and the rows there are."""


class Source:
    """A Parquet file to read, looked at and found to be one."""

    def __init__(self, path: Path) -> None:
        """Raises ConsentError `invalid_value` if there is no Parquet file at `path`."""
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise ConsentError("invalid_value", f"{path} cannot be read as Parquet: {error}") from error

    @property
    def schema(self) -> pa.Schema:
        """The columns, as they will be written again."""
        return self._file.schema_arrow

    def write(self, target: Path, rows: Filter, progress: Progress) -> Filtered:
        """Write the rows that `rows` keeps to `target`, which must not be there.

        Raises ConsentError `invalid_value` for data that cannot be read or target that cannot be
        written, and as `rows` does; no target is there then.
        """
        partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")
        try:
            done = self._write(partial, rows, progress)
            _keep(partial)
            require_absent(target)
            partial.rename(target)
        except (OSError, pa.ArrowException) as error:
            raise ConsentError("invalid_value", f"{self.path} → {target}: {error}") from error
        finally:
            partial.unlink(missing_ok=True)
        return done

    def _write(self, partial: Path, rows: Filter, progress: Progress) -> Filtered:
        total, done, kept = self._file.metadata.num_rows, 0, 0
        with pq.ParquetWriter(partial, self.schema, compression=_compression(self._file)) as writer:
            waiting: list[pa.RecordBatch] = []
            for batch in self._file.iter_batches(BATCH_ROWS):
                waiting.append(rows.apply(batch))
                if sum(map(len, waiting)) >= BATCH_ROWS:
                    kept += _flush(writer, waiting)
                done += len(batch)
                progress(done, total)
            kept += _flush(writer, waiting)
        if done != total:
            raise ConsentError("invalid_value", f"{self.path} promises {total} rows and has {done}")
        return Filtered(done, kept)


def require_absent(target: Path) -> None:
    """Raises ConsentError `invalid_value` if anything is at `target`."""
    if os.path.lexists(target):
        raise ConsentError(
            "invalid_value", f"{target} is there already; name another file, or say --overwrite"
        )


def _flush(writer: pq.ParquetWriter, waiting: list[pa.RecordBatch]) -> int:
    count = sum(map(len, waiting))
    if count:
        writer.write_table(pa.Table.from_batches(waiting), row_group_size=BATCH_ROWS)
    waiting.clear()
    return count


def _compression(file: pq.ParquetFile) -> Any:
    """The compression that the source's first column has: what is small stays small."""
    metadata = file.metadata
    if not metadata.num_row_groups or not metadata.num_columns:
        return "snappy"
    return _COMPRESSIONS.get(metadata.row_group(0).column(0).compression, "snappy")


def _keep(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
