"""pyarrow: tables, record batches, and streams of them (readers, datasets, scanners).

A table or batch comes back as one; a stream as a `RecordBatchReader`, which decides as it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, require_columns

BLOCK_ROWS = 1 << 22
"""So many rows of a table are judged at once: fewer would hash all workspaces more often."""


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`. A table or record batch, or a `RecordBatchReader` of a stream."""
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        mask = masked(task, data)
        return data.filter(mask)
    schema, batches = _stream(data)
    return pa.RecordBatchReader.from_batches(schema, _kept(task, _filter(task, schema), batches))


def masked(task: Task, data: Any) -> Any:
    """See `Engine`. A `BooleanArray` for a batch, a `ChunkedArray` for a table."""
    if not isinstance(data, (pa.Table, pa.RecordBatch)):
        raise refuse_mask(data)
    mask = mask_of(task, _filter(task, data.schema), data)
    task.end()
    return mask if isinstance(data, pa.Table) else mask.combine_chunks()


def mask_of(task: Task, rows: Filter, table: pa.Table | pa.RecordBatch) -> Any:
    """The mask of a whole table, block by block, as a `ChunkedArray`."""
    names = list(dict.fromkeys([*task.where.columns, task.where.collected_column]))
    used = table.select([name for name in names if name])
    chunks = []
    for start in range(0, len(used), BLOCK_ROWS):
        chunks.append(rows.mask(batch_of(used.slice(start, BLOCK_ROWS))))
        task.progress(min(start + BLOCK_ROWS, len(used)), len(used))
    return pa.chunked_array(chunks, pa.bool_())


def _filter(task: Task, schema: pa.Schema) -> Filter:
    columns, collected = task.where.columns, task.where.collected_column
    require_columns(schema, columns, collected)
    rows = Filter(task.judge(), columns, collected)
    task.counting(rows)
    return rows


def batch_of(rows: pa.Table | pa.RecordBatch) -> pa.RecordBatch:
    """The rows in one chunk a column."""
    if isinstance(rows, pa.RecordBatch):
        return rows
    columns = [one_chunk(column) for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=rows.column_names)


def one_chunk(column: Any) -> Any:
    """A chunked column as one array; dictionaries that differ from chunk to chunk become one."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks()


def _stream(data: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if isinstance(data, pa.RecordBatchReader):
        return data.schema, iter(data)
    if isinstance(data, ds.Dataset):
        return data.schema, data.to_batches()
    if isinstance(data, ds.Scanner):
        return data.projected_schema, data.to_batches()
    raise ConsentError(
        "invalid_value", f"a {type(data).__name__} is no table, record batch, reader, dataset or scanner"
    )


def _kept(task: Task, rows: Filter, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in batches:
        kept = rows.apply(batch)
        done += len(batch)
        task.progress(done, None)
        if len(kept):
            yield kept
    task.end()
