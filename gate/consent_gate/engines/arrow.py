"""pyarrow: tables, record batches, and streams of them (readers, datasets, scanners).

A table or batch comes back as one; a stream as a `RecordBatchReader`, which decides as it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.filter import Filter, require_columns

BLOCK_ROWS_MIN, BLOCK_ROWS_MAX = 1 << 20, 1 << 22
"""So many rows of a table a processor judges at once: fewer would hash all workspaces more often."""


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`. A table or record batch, or a `RecordBatchReader` of a stream."""
    if isinstance(data, (pa.Table, pa.RecordBatch)):
        mask = masked(task, data)
        return data.filter(mask)
    schema, batches = _stream(data)
    return pa.RecordBatchReader.from_batches(schema, _kept(task, filtering(task, schema), batches))


def masked(task: Task, data: Any) -> Any:
    """See `Engine`. A `BooleanArray` for a batch, a `ChunkedArray` for a table."""
    if not isinstance(data, (pa.Table, pa.RecordBatch)):
        raise refuse_mask(data)
    mask = mask_of(task, filtering(task, data.schema), data)
    task.end()
    return mask if isinstance(data, pa.Table) else mask.combine_chunks()


def filtering(task: Task, schema: pa.Schema) -> Filter:
    """The task's filter, if the schema has its columns. Raises ConsentError `invalid_value` if not."""
    require_columns(schema, task.where.columns, task.where.collected_column)
    return task.filtering()


def mask_of(task: Task, rows: Filter, table: pa.Table | pa.RecordBatch, block: int = 0) -> Any:
    """The mask of a whole table, as a `ChunkedArray`: block by block, on all processors."""
    names = list(dict.fromkeys([*task.where.columns, task.where.collected_column]))
    used = table.select([name for name in names if name])
    block = block or min(BLOCK_ROWS_MAX, max(BLOCK_ROWS_MIN, -(-len(used) // pa.cpu_count())))
    starts = range(0, len(used), block)

    def judged(start: int) -> Any:
        return rows.mask(batch_of(used.slice(start, block)))

    chunks: list[Any] = []
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        for mask in pool.map(judged, starts) if len(starts) > 1 else map(judged, starts):
            chunks.append(mask)
            task.progress(min(len(chunks) * block, len(used)), len(used))
    return pa.chunked_array(chunks, pa.bool_())


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
