"""CSV and TSV as RFC 4180 has them: a header, quotes around a field or nowhere, lines that end in LF or CRLF.

Whoever reads a file after us must see the rows that we saw. So what two parsers may read in two ways is
refused: a quote inside a field that has none around it, a row of more or fewer fields than the header, a
carriage return on its own. Many programs know no quotes in TSV, as its registration has none: there no quotes
may hide a tab or a line break. Within this grammar a line break ends a record if and only if an even number
of quotes stands before it. Blank lines are no rows, and are not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.errors import ConsentError

from consent_gate.formats.blocks import Block, Columns
from consent_gate.formats.lines import RECORD_BYTES_MAX, Lines, Text, TextWriter
from consent_gate.formats.reading import Source
from consent_gate.formats.values import instants, texts
from consent_gate.formats.writing import Target

DELIMITERS = {"csv": b",", "tsv": b"\t"}
_QUOTE = b'"'
_BLANK = (b"\n", b"\r\n", b"\r")


class Records(NamedTuple):
    """Records with their ends, as they came, and the number of the first line of each.

    `is_plain`: none has a quote, or a carriage return but before its end.
    """

    numbers: Sequence[int]
    records: list[bytes]
    is_plain: bool


class Delimited:
    """See `Reader`."""

    def __init__(self, source: Source, columns: Columns) -> None:
        self._columns = columns
        self._text = Text(source)
        self._delimiter = DELIMITERS[source.format.name]
        self._rest = self._records()
        first = next((found for found in self._rest if found.records), None)
        if first is None:
            raise source.unreadable("it has no header; its first line must name the columns")
        self._header = first.records[0]
        self._first = Records(first.numbers[1:], first.records[1:], first.is_plain)
        names = fields_of(self._header, self._delimiter)
        if names is None:
            raise self._text.fault(first.numbers[0], _MISQUOTED)
        require_names(names, columns.names)
        columns.require_apart(names)
        places = [names.index(name) for name in columns.names]
        self._fields = Fields(places, len(names), self._delimiter)

    def blocks(self) -> Iterator[Block]:
        """See `Reader`."""
        if self._first.records:
            yield self._block(self._first)
        for found in self._rest:
            if found.records:
                yield self._block(found)

    def done(self) -> tuple[int, int | None, str]:
        """See `Reader`."""
        return self._text.done()

    def writer(self, target: Target) -> TextWriter:
        """See `Reader`."""
        return TextWriter(target, self._text.head + self._header)

    def _records(self) -> Iterator[Records]:
        """Records, as many as there are in a block of lines; one that goes on is kept for the next."""
        number, size, parts = 0, 0, list[bytes]()
        for block in self._text.blocks():
            if not parts and _QUOTE not in block.text:
                yield _one_a_line(block)
                continue
            numbers, records = list[int](), list[bytes]()
            for at, line in enumerate(block.lines, block.first):
                if line.count(_QUOTE) & 1 == bool(parts):  # the record is whole
                    numbers.append(number if parts else at)
                    records.append(b"".join([*parts, line]) if parts else line)
                    parts.clear()
                    continue
                number, size = (number, size + len(line)) if parts else (at, len(line))
                parts.append(line)
                if size > RECORD_BYTES_MAX:
                    raise self._text.fault(
                        number, f"a quote is open for more than {RECORD_BYTES_MAX >> 20} MiB"
                    )
            yield _without_blanks(numbers, records, False)
        if parts:
            raise self._text.fault(number, "a quote is opened and never closed; is the file cut off?")

    def _block(self, found: Records) -> Block:
        cells = self._fields.columns(found)
        if cells is None:
            index = next(at for at, record in enumerate(found.records) if self._fields.pick(record) is None)
            raise self._text.fault(found.numbers[index], self._wrong(found.records[index]))
        told = dict(zip(self._columns.names, cells, strict=True))
        columns = {name: self._column(name, values, found.numbers) for name, values in told.items()}
        return Block(pa.record_batch(columns), found.records)

    def _column(self, name: str, cells: Sequence[bytes], numbers: Sequence[int]) -> Any:
        found = texts(cells)
        if name == self._columns.collected:
            return instants(found, lambda index, why: self._text.fault(numbers[index], why))
        separator = self._columns.separator
        return pc.split_pattern(found, separator) if separator else found

    def _wrong(self, record: bytes) -> str:
        fields = fields_of(record, self._delimiter)
        if fields is None:
            return _MISQUOTED if self._delimiter == DELIMITERS["csv"] else _MISQUOTED + _IN_TSV
        return f"the row has {len(fields)} fields, and the header {self._fields.width}"


_MISQUOTED = (
    "a quote or a carriage return stands inside a field that is not quoted; write it as RFC 4180 says, "
    'with quotes around the field and "" for each in it'
)
_IN_TSV = ", or as CSV if there is a tab or a line break in it: some programs that read TSV know no quotes"


def fields_of(record: bytes, delimiter: bytes) -> list[str] | None:
    """All fields of a record; None for one that could be read in two ways."""
    text, field = re.escape(delimiter), _field(delimiter)
    if re.fullmatch(rb"%b(?:%b%b)*+\r?\n?" % (field, text, field), record) is None:
        return None
    found = re.findall(rb"(?:^|%b)(%b)" % (text, field), _body(record))
    return [_unquoted(one).decode() for one in found]


class Fields:
    """Takes the fields at some places out of records of some width."""

    def __init__(self, places: Sequence[int], width: int, delimiter: bytes) -> None:
        self.width = width
        self._places = places
        self._delimiter = delimiter
        field = _field(delimiter)
        pattern = re.escape(delimiter).join(
            rb"(%b)" % field if index in places else field for index in range(width)
        )
        self._match = re.compile(rb"%b\r?\n?" % pattern).fullmatch
        self._order = [sorted(places).index(place) for place in places]

    def columns(self, found: Records) -> list[Sequence[bytes]] | None:
        """The fields of all records, place by place; None if one of them has not the width, or as above."""
        if not found.is_plain:
            rows = list(map(self.pick, found.records))
            return None if None in rows else list(zip(*rows, strict=True))
        delimiter = self._delimiter
        split = [record.split(delimiter) for record in found.records]
        if set(map(len, split)) != {self.width}:
            return None
        last = self.width - 1
        return [
            [fields[place].rstrip(b"\r\n") for fields in split]
            if place == last
            else [fields[place] for fields in split]
            for place in self._places
        ]

    def pick(self, record: bytes) -> list[bytes] | None:
        """The fields of one record; None if it has not the width, or could be read in two ways."""
        if _QUOTE in record:
            match = self._match(record)
            if match is None:
                return None
            groups = match.groups()
            return [_unquoted(groups[index]) for index in self._order]
        body = _body(record)
        fields = body.split(self._delimiter)
        if len(fields) != self.width or b"\r" in body:
            return None
        return [fields[place] for place in self._places]


def _field(delimiter: bytes) -> bytes:
    """A field as a regular expression: quoted, or without anything that would have to be."""
    within = rb'[^"\t\r\n]' if delimiter == DELIMITERS["tsv"] else rb'[^"]'
    return rb'(?:"%b*+(?:""%b*+)*+"|[^"\r\n%b]*+)' % (within, within, re.escape(delimiter))


def require_names(names: list[str], wanted: Sequence[str]) -> None:
    """Raises ConsentError `invalid_value` unless each wanted name is there once."""
    for name in wanted:
        if names.count(name) != 1:
            how = "twice" if name in names else "not there"
            has = ", ".join(names)
            raise ConsentError("invalid_value", f"column {name!r} is {how}; the columns are {has:.1000}")


def _one_a_line(block: Lines) -> Records:
    is_plain = block.text.count(b"\r") == block.text.count(b"\r\n")
    return _without_blanks(range(block.first, block.first + len(block.lines)), block.lines, is_plain)


def _without_blanks(numbers: Sequence[int], records: list[bytes], is_plain: bool) -> Records:
    if not any(blank in records for blank in _BLANK):
        return Records(numbers, records, is_plain)
    told = [one for one in zip(numbers, records, strict=True) if one[1] not in _BLANK]
    return Records([number for number, _ in told], [record for _, record in told], is_plain)


def _body(record: bytes) -> bytes:
    return record.removesuffix(b"\n").removesuffix(b"\r")


def _unquoted(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if field.startswith(_QUOTE) else field
