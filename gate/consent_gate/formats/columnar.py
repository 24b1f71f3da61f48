"""Parquet and Arrow IPC: record batches in, record batches out, schema and metadata as they were.

Nothing of a row that is dropped goes along: dictionaries and the buffers of views are made anew from the
rows that stay (`kept`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from consent_domain.errors import ConsentError

from consent_gate.filter import require_columns
from consent_gate.formats.blocks import Block, Columns, Writer
from consent_gate.formats.kept import Kept
from consent_gate.formats.reading import Source
from consent_gate.formats.writing import Target

BATCH_ROWS = 131_072
BATCH_BYTES = 64 << 20
"""So many rows or bytes are in memory at a time, and one at least."""
_PAGES_BYTES = 1 << 20
"""Pages are read as they are needed: a row group may be larger than the memory."""
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""The end of an Arrow IPC stream: a message of no length."""
_COMPRESSIONS = {"GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd", "LZ4": "lz4", "UNCOMPRESSED": "none"}


class Batches:
    """What the readers of record batches share."""

    compression = "snappy"
    """Of Parquet that is written from them: that of the source, so that what is small stays small."""

    def __init__(self, source: Source, columns: Columns) -> None:
        """Raises ConsentError `invalid_value` for content of another format, and unfit columns."""
        if columns.separator:
            raise ConsentError("invalid_value", "--separator is for CSV; here several owners are a list")
        self._source = source
        self._rows = 0
        try:
            self.schema = self._open(source)
        except (OSError, pa.ArrowException) as error:
            raise source.unreadable(f"{error}{self._hint()}") from error
        require_columns(self.schema, columns.owners, columns.collected)
        columns.require_apart(self.schema.names)

    def blocks(self) -> Iterator[Block]:
        """See `Reader`."""
        try:
            for batch in self._batches():
                self._rows += len(batch)
                for start in range(0, len(batch), BATCH_ROWS):
                    rows = batch.slice(start, BATCH_ROWS)
                    yield Block(rows, rows)
        except (OSError, pa.ArrowException) as error:
            raise self._source.unreadable(error) from error

    def done(self) -> tuple[int, int | None, str]:
        """See `Reader`."""
        return self._rows, self._total(), "rows"

    def writer(self, target: Target) -> Writer:
        """See `Reader`."""
        return BatchWriter(target, self.schema, self.compression)

    def _open(self, source: Source) -> pa.Schema:
        raise NotImplementedError

    def _batches(self) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def _total(self) -> int | None:
        return None

    def _hint(self) -> str:
        return ""


class Parquet(Batches):
    """A Parquet file."""

    def _open(self, source: Source) -> pa.Schema:
        self._file = pq.ParquetFile(pa.PythonFile(source.whole(), "r"), buffer_size=_PAGES_BYTES)
        metadata = self._file.metadata
        if metadata.num_row_groups and metadata.num_columns:
            self.compression = _COMPRESSIONS.get(metadata.row_group(0).column(0).compression, "snappy")
        return self._file.schema_arrow

    def _batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(self._rows_a_batch())
        if self._rows != self._total():
            raise self._source.unreadable(f"it promises {self._total()} rows and has {self._rows}")

    def _total(self) -> int:
        return self._file.metadata.num_rows

    def _rows_a_batch(self) -> int:
        groups = map(self._file.metadata.row_group, range(self._file.metadata.num_row_groups))
        bytes_a_row = max((one.total_byte_size // max(one.num_rows, 1) for one in groups), default=0)
        return max(1, min(BATCH_ROWS, BATCH_BYTES // max(bytes_a_row, 1)))


class ArrowFile(Batches):
    """An Arrow IPC file."""

    def _open(self, source: Source) -> pa.Schema:
        self._file = ipc.open_file(pa.PythonFile(source.whole(), "r"))
        return self._file.schema

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for index in range(self._file.num_record_batches):
            yield self._file.get_batch(index)

    def _hint(self) -> str:
        return "; if it is a stream, say --from arrows"


class ArrowStream(Batches):
    """An Arrow IPC stream.

    The format lets a stream just stop; so does whoever is killed while writing one. Every library writes the
    end, and who takes the beginning for the whole would not notice: so the end is asked for. What stands
    behind it, Arrow passes over, and we refuse.
    """

    def _open(self, source: Source) -> pa.Schema:
        self._bytes = _Tail(source.stream())
        self._file = ipc.open_stream(pa.PythonFile(self._bytes, "r"))
        return self._file.schema

    def _batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._file
        if self._bytes.tail != _END_OF_STREAM:
            raise self._source.unreadable("it stops without an end; is it cut off?")
        if self._bytes.read(1):
            raise self._source.unreadable("something stands behind its end; send one stream at a time")

    def _hint(self) -> str:
        return "; if it is a file with a footer, say --from arrow"


class _Tail(io.RawIOBase):
    """Reads through, and keeps the last bytes that were read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.tail = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._stream.read(size)
        self.tail = (self.tail + data[-len(_END_OF_STREAM) :])[-len(_END_OF_STREAM) :]
        return data


class BatchWriter:
    """Writes the rows that stay, in batches of some size however few of each block stay."""

    def __init__(self, target: Target, schema: pa.Schema, compression: Any) -> None:
        self._kept = Kept(schema)
        self._waiting: list[pa.RecordBatch] = []
        self._writer: Any
        if target.format.name == "parquet":
            self._writer = pq.ParquetWriter(target.file, schema, compression=compression)
        elif target.format.name == "arrow":
            self._writer = ipc.new_file(target.file, schema)
        else:
            self._writer = ipc.new_stream(target.file, schema)
        self._is_parquet = target.format.name == "parquet"

    def write(self, block: Block, mask: pa.BooleanArray) -> None:
        """See `Writer`."""
        rows = self._kept.filtered(block.rows, mask)
        if len(rows):
            self._waiting.append(rows)
        if (
            sum(map(len, self._waiting)) >= BATCH_ROWS
            or sum(rows.nbytes for rows in self._waiting) >= BATCH_BYTES
        ):
            self._flush()

    def close(self) -> None:
        """See `Writer`."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = self._kept.restored(pa.Table.from_batches(self._waiting))
        if self._is_parquet:
            self._writer.write_table(table, row_group_size=BATCH_ROWS)
        else:
            for batch in table.combine_chunks().to_batches(BATCH_ROWS):
                self._writer.write_batch(batch)
        self._waiting.clear()
