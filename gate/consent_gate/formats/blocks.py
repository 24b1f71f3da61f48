"""A reader of blocks of rows, and the writer of those that stay, for each format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from consent_domain.errors import ConsentError

from consent_gate.formats.reading import Source
from consent_gate.formats.writing import Target


class Columns(NamedTuple):
    """Where owners and collection times stand. `separator` parts the ids in a cell of CSV, empty for none."""

    owners: Sequence[str]
    collected: str = ""
    separator: str = ""

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys([*self.owners, *([self.collected] if self.collected else [])]))

    def require_apart(self, has: Sequence[str]) -> None:
        """Raises ConsentError `invalid_value` if another of a file's columns has one of these names but for
        its case, or the spaces around it: DuckDB and others take them for one, and read the first."""
        for name in self.names:
            for other in has:
                if other != name and other.strip().casefold() == name.strip().casefold():
                    how = "case" if other.casefold() == name.casefold() else "spaces"
                    raise ConsentError(
                        "invalid_value",
                        f"columns {name!r} and {other!r:.80} differ by {how} alone, which some programs take "
                        "for one: rename one of them",
                    )


class Block(NamedTuple):
    """Some rows: at least the columns that decide, and the rows as they came, for the writer."""

    columns: pa.RecordBatch
    rows: Any


class Reader(Protocol):
    """Rows of one source. It raises ConsentError `invalid_value` for content that cannot be read."""

    def blocks(self) -> Iterator[Block]:
        """All rows, in order. Raises at the first row that cannot be judged, and says which it is."""

    def done(self) -> tuple[int, int | None, str]:
        """How much was read, how much there is if that is known, and of what."""

    def writer(self, target: Target) -> Writer:
        """What writes rows of this reader. Raises as `blocks` does."""


class Writer(Protocol):
    """Rows that stay, on their way to a target. It raises OSError and pyarrow.ArrowException."""

    def write(self, block: Block, mask: pa.BooleanArray) -> None:
        """Write the rows that `mask` keeps."""

    def close(self) -> None:
        """All rows were written: put what stands behind them."""


def reader_of(source: Source, columns: Columns) -> Reader:
    """The reader of a source's format. It reads as far as the columns' names, and raises as `Reader` does."""
    return _reader(source.format.name)(source, columns)


def _reader(name: str) -> Callable[[Source, Columns], Reader]:
    if name == "jsonl":
        from consent_gate.formats.jsonl import JsonLines

        return JsonLines
    if name in ("csv", "tsv"):
        from consent_gate.formats.delimited import Delimited

        return Delimited
    from consent_gate.formats.columnar import ArrowFile, ArrowStream, Parquet

    return {"parquet": Parquet, "arrow": ArrowFile, "arrows": ArrowStream}[name]
