"""Rows that stay, without anything of those that do not.

`filter` on Arrow data copies what stays, but for two kinds of columns. A dictionary keeps all its values,
and a view (`string_view`, `list_view`) the buffers that it looks into: written to a file, the values of
rows that were dropped would go along. So such columns are filtered as plain ones, and made anew from what
is left. An ordered dictionary keeps its order.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.errors import ConsentError

_PLAIN = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


class Kept:
    """Filters batches of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        """Raises ConsentError `invalid_value` for a type whose values cannot be told apart."""
        self._schema = schema
        self._plain = pa.schema([_plain_field(field) for field in schema]).with_metadata(schema.metadata)
        self._changed = [
            index for index, (had, has) in enumerate(zip(schema, self._plain, strict=True)) if had != has
        ]
        self._orders: dict[int, Any] = {}
        """Of ordered dictionaries: all values met so far, in their order."""

    def filtered(self, rows: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
        """The rows that `mask` keeps, with plain columns."""
        columns: list[Any] = list(rows.columns)
        for index in self._changed:
            if _is_ordered(columns[index].type):
                self._note_order(index, columns[index].dictionary)
            columns[index] = columns[index].cast(self._plain.field(index).type)
        return pa.RecordBatch.from_arrays(columns, schema=self._plain).filter(mask)

    def restored(self, rows: pa.Table) -> pa.Table:
        """Rows of `filtered` in the schema as it was."""
        columns: list[Any] = list(rows.columns)
        for index in self._changed:
            kind = self._schema.field(index).type
            if _is_ordered(kind):
                columns[index] = self._ordered(index, columns[index], kind)
            else:
                columns[index] = columns[index].combine_chunks().cast(kind)
        return pa.Table.from_arrays(columns, schema=self._schema)

    def _note_order(self, index: int, dictionary: Any) -> None:
        values = dictionary.cast(self._plain.field(index).type)
        known = self._orders.get(index)
        self._orders[index] = values if known is None else pc.unique(pa.concat_arrays([known, values]))

    def _ordered(self, index: int, column: Any, kind: Any) -> Any:
        values = self._orders[index]
        used = values.filter(pc.is_in(values, value_set=pc.unique(column)))
        places = pc.index_in(column.combine_chunks(), value_set=used).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(places, used.cast(kind.value_type), ordered=True)


def _plain_field(field: pa.Field[Any]) -> pa.Field[Any]:
    kind = plain_type(field.type.value_type if _is_ordered(field.type) else field.type)
    if kind is None:
        raise ConsentError(
            "invalid_value",
            f"column {field.name!r} holds {field.type}: values of rows that are dropped would go along with "
            "those that stay; cast it to a plain type first",
        )
    return field.with_type(kind)


def plain_type(kind: Any) -> Any:
    """The type without dictionaries and views, itself if it has none; None if it cannot do without."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_dictionary(kind):
        return None if kind.ordered else plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return kind if plain_type(kind.storage_type) == kind.storage_type else None
    if kind.num_fields == 0:
        return kind
    inner = [plain_type(kind.field(index).type) for index in range(kind.num_fields)]
    if all(one == kind.field(index).type for index, one in enumerate(inner)) and not _is_view(kind):
        return kind
    return None if None in inner else _rebuilt(kind, inner)


def _rebuilt(kind: Any, inner: list[Any]) -> Any:
    fields = [kind.field(index).with_type(one) for index, one in enumerate(inner)]
    if pa.types.is_struct(kind):
        return pa.struct(fields)
    if pa.types.is_list(kind):
        return pa.list_(fields[0])
    if pa.types.is_large_list(kind):
        return pa.large_list(fields[0])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    return None


def _is_view(kind: Any) -> bool:
    tests = (pa.types.is_list_view, pa.types.is_large_list_view, pa.types.is_run_end_encoded)
    return any(test(kind) for test in tests)


def _is_ordered(kind: Any) -> bool:
    return pa.types.is_dictionary(kind) and kind.ordered
