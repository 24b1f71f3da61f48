"""JSON Lines: an object a line. Columns are dotted paths into it, and only they are looked at.

A key that stands twice on the way to a column may be read in two ways, and is refused; so is one that stands
there in another case too, which DuckDB, Go and others take for the same. A column that a row lacks is one
that is null; one that no row has is misspelt, and refused at the end. Blank lines are no rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.formats.blocks import Block, Columns
from consent_gate.formats.lines import Lines, Text, TextWriter
from consent_gate.formats.reading import Source
from consent_gate.formats.values import instants, owners
from consent_gate.formats.writing import Target

_DOT = re.compile(r"(?<!\\)\.")
_ESCAPED = re.compile(rb"\\u(?:00[2-7]|017[fF]|212[aA])")
"""Escapes of ASCII, and of the two other letters that are one of ASCII in another case."""
_LONG_S, _KELVIN = "\u017f".encode(), "\u212a".encode()
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_ .-]+")
"""Of these characters none is written otherwise than in either case, but for `_ESCAPED` and these two."""

Path = tuple[str, ...]


class JsonLines:
    """See `Reader`."""

    def __init__(self, source: Source, columns: Columns) -> None:
        self._columns = columns
        self._text = Text(source)
        paths = [path_of(name) for name in columns.names]
        if columns.separator:
            raise ConsentError(
                "invalid_value", "--separator is for CSV; in JSONL several owners are an array"
            )
        timed = {path for path, name in zip(paths, columns.names, strict=True) if name == columns.collected}
        self._decode = msgspec.json.Decoder(_shape(paths, timed)).decode
        self._values = [_getter(path) for path in paths]
        self._unseen = set(columns.names)
        self._repeats = _Repeats(paths)

    def blocks(self) -> Iterator[Block]:
        """See `Reader`."""
        met = False
        for lines in self._text.blocks():
            rows, numbers = self._rows(lines)
            if rows:
                met = True
                yield self._block(rows, numbers)
        if met and self._unseen:
            raise ConsentError(
                "invalid_value",
                f"no line has {' or '.join(map(repr, sorted(self._unseen)))}; is it misspelt?",
            )

    def done(self) -> tuple[int, int | None, str]:
        """See `Reader`."""
        return self._text.done()

    def writer(self, target: Target) -> TextWriter:
        """See `Reader`."""
        return TextWriter(target, self._text.head)

    def _rows(self, found: Lines) -> tuple[list[bytes], Sequence[int]]:
        rows, numbers = found.lines, range(found.first, found.first + len(found.lines))
        if any(map(bytes.isspace, rows)):
            told = [one for one in zip(numbers, rows, strict=True) if not one[1].isspace()]
            rows, numbers = [row for _, row in told], [number for number, _ in told]  # type: ignore[assignment]
        for index in self._repeats.suspects(rows, found.text):
            why = self._repeats.in_row(rows[index])
            if why:
                raise self._text.fault(numbers[index], why)
        return rows, numbers

    def _block(self, rows: list[bytes], numbers: Sequence[int]) -> Block:
        try:
            objects = list(map(self._decode, rows))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            objects = [self._object(row, number) for row, number in zip(rows, numbers, strict=True)]
        columns = {}
        for name, value in zip(self._columns.names, self._values, strict=True):
            values = list(map(value, objects))
            if name in self._unseen and any(one is not msgspec.UNSET for one in values):
                self._unseen.discard(name)
            values = [None if one is msgspec.UNSET else one for one in values]
            if name == self._columns.collected:
                texts = pa.array(values, pa.string())
                columns[name] = instants(texts, lambda index, why: self._text.fault(numbers[index], why))
            else:
                columns[name] = owners(values)
        return Block(pa.record_batch(columns), rows)

    def _object(self, row: bytes, number: int) -> Any:
        try:
            return self._decode(row)
        except msgspec.ValidationError as error:
            raise self._text.fault(
                number, f"{error}; owners are text, or arrays of text, and collection times text"
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._text.fault(number, f"it is no JSON object: {error}") from error


def path_of(name: str) -> Path:
    r"""The keys of a dotted path; a dot that belongs to a key is written `\.`.

    Raises ConsentError `invalid_value` for an empty key.
    """
    path = tuple(key.replace("\\.", ".") for key in _DOT.split(name))
    if not all(path):
        raise ConsentError("invalid_value", f"the path {name!r} has an empty key")
    return path


def _shape(paths: Sequence[Path], timed: set[Path]) -> Any:
    """The type of an object of which nothing but these paths is looked at."""
    below: dict[str, list[Path]] = {}
    for path in paths:
        below.setdefault(path[0], []).append(path)
    fields = []
    for key, found in below.items():
        rests = [path[1:] for path in found]
        if any(rests) and not all(rests):
            raise ConsentError("invalid_value", f"{key!r} cannot hold both ids and objects; name one of them")
        if all(rests):
            inner = _shape(rests, {path[1:] for path in timed if path[0] == key})
            kind: Any = inner | None | msgspec.UnsetType
        elif (key,) in timed:
            kind = str | None | msgspec.UnsetType
        else:
            kind = str | list[str | None] | None | msgspec.UnsetType
        fields.append((_attribute(key), kind, msgspec.field(default=msgspec.UNSET, name=key)))
    return msgspec.defstruct("Row", fields, gc=False)


def _attribute(key: str) -> str:
    return f"key_{key.encode().hex()}"


def _getter(path: Path) -> Callable[[Any], Any]:
    """What takes a decoded object and returns the value at the path, UNSET if there is none."""
    names = list(map(_attribute, path))
    if len(names) == 1:
        return attrgetter(names[0])

    def get(found: Any) -> Any:
        for name in names:
            if found is None or found is msgspec.UNSET:
                return msgspec.UNSET
            found = getattr(found, name)
        return found

    return get


class _Repeats:
    """Finds keys of the paths that stand twice in an object, in whatever case. Looks closer only where that
    may be."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        keys = {key for path in paths for key in path}
        self._written = [b'"%b"' % key.lower().encode() for key in keys]
        self._always = not all(map(_PLAIN_KEY.fullmatch, keys))

    def suspects(self, rows: list[bytes], text: bytes) -> Sequence[int]:
        """The indexes of rows in which a key may stand twice; `text` is all of them."""
        if self._always or _ESCAPED.search(text):
            return range(len(rows))
        if not text.isascii() and (_LONG_S in text or _KELVIN in text):
            return range(len(rows))
        found, lowered = set[int](), list(map(bytes.lower, rows))
        for key in self._written:
            found.update(index for index, row in enumerate(lowered) if row.count(key) > 1)
        return sorted(found)

    def in_row(self, row: bytes) -> str:
        """Why a row may be read in two ways, empty if it may not."""
        try:
            found = json.loads(row, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            return f"it is no JSON object: {error}"
        for path in self._paths:
            here = found
            for key in path:
                if not isinstance(here, _Pairs):
                    break
                alike = [pair for pair in here if pair[0].casefold() == key.casefold()]
                if len(alike) > 1:
                    others = [name for name, _ in alike if name != key]
                    also = f", once as {others[0]!r:.80}" if others else ""
                    return f"the key {key!r} stands twice in one object{also}"
                here = next((value for name, value in alike if name == key), None)
        return ""


class _Pairs(list[tuple[str, Any]]):
    """An object as the pairs that were written."""
