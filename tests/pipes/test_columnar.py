"""A filtered file is there if and only if all went well, and holds nothing of what is not permitted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from consent_domain.errors import ConsentError
from consent_gate.formats import columnar
from consent_gate.formats.format import Format, formats
from consent_gate.formats.reading import Source
from consent_gate.formats.writing import Target
from consent_gate.verdicts import Verdict
from pipes_files import filtered

SECRET = "what somebody wrote who has withdrawn"


def write(path: Path, table: pa.Table, batch_rows: int | None = None) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=batch_rows, compression="none")
        return path
    make: Callable[..., Any] = ipc.new_file if path.suffix == ".arrow" else ipc.new_stream
    with make(path, table.schema) as writer:
        writer.write_table(table, batch_rows)
    return path


def read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read()
    opened: Any = ipc.open_file(path) if path.suffix == ".arrow" else ipc.open_stream(path)
    return opened.read_all()


def everything(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


SUFFIXES = ("parquet", "arrow", "arrows")


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_only_permitted_rows_are_written_with_the_columns_as_they_were(
    tmp_path: Path, source: str, target: str
) -> None:
    schema = pa.schema(
        [
            pa.field("w", pa.string(), metadata={b"kind": b"workspace"}),
            pa.field("tags", pa.list_(pa.dictionary(pa.int32(), pa.string()))),
            pa.field("nested", pa.struct([pa.field("n", pa.int8(), nullable=False)])),
        ],
        metadata={b"made by": b"a test"},
    )
    data = {"w": ["good", "bad", None, "good"], "tags": [["a"], [], None, ["b", "a"]]}
    table = pa.table(data | {"nested": [{"n": n} for n in range(4)]}, schema=schema)
    path = write(tmp_path / f"in.{source}", table)
    schema = read(path).schema
    counts = filtered(path, tmp_path / f"out.{target}")
    found = read(tmp_path / f"out.{target}")
    assert found.to_pylist() == [table.to_pylist()[0], table.to_pylist()[3]]
    if source == target:
        assert found.schema.equals(schema, check_metadata=True)
    assert counts == {
        Verdict(True, "defaulted_on"): 2,
        Verdict(False, "unknown_workspace"): 1,
        Verdict(False, "no_workspace"): 1,
    }
    assert everything(tmp_path) == sorted([f"in.{source}", f"out.{target}"])


_TEXT = pa.array(["kept", SECRET, "kept too"])
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    "column",
    [
        _TEXT,
        _TEXT.cast(pa.string_view()),
        _TEXT.dictionary_encode(),
        _TEXT.dictionary_encode().cast(pa.dictionary(pa.int8(), pa.large_string())),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), _TEXT, ordered=True),
        pa.array([[value] for value in _TEXT.to_pylist()]).cast(pa.list_(_DICTIONARY)),
        pa.array([[value] for value in _TEXT.to_pylist()]).cast(pa.list_(pa.string_view())),
        pa.array([{"t": value} for value in _TEXT.to_pylist()]).cast(pa.struct([("t", _DICTIONARY)])),
        _TEXT.cast(pa.binary()).cast(pa.binary_view()),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_of_a_row_that_is_dropped_is_in_the_file_whatever_holds_its_values(
    tmp_path: Path, suffix: str, column: Any
) -> None:
    table = pa.table({"w": ["good", "bad", "good"], "text": column})
    path = write(tmp_path / f"in.{suffix}", table)
    assert SECRET.encode() in path.read_bytes()
    filtered(path, tmp_path / f"out.{suffix}")
    assert SECRET.encode() not in (tmp_path / f"out.{suffix}").read_bytes()
    found = read(tmp_path / f"out.{suffix}")
    assert found["text"].to_pylist() == [column.to_pylist()[0], column.to_pylist()[2]]
    assert found.schema == read(path).schema


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a"]], pa.list_view(pa.string())),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])),
        pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())).cast(pa.map_(pa.string(), _DICTIONARY)),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_whose_values_cannot_be_told_apart_is_refused_by_name(tmp_path: Path, column: Any) -> None:
    write(tmp_path / "in.arrows", pa.table({"w": ["good"], "odd": column}))
    with pytest.raises(ConsentError, match=r"column 'odd' holds .* cast it"):
        filtered(tmp_path / "in.arrows", tmp_path / "out.arrows")
    assert everything(tmp_path) == ["in.arrows"]


def test_given_an_ordered_dictionary_when_filtered_then_it_keeps_its_order(tmp_path: Path) -> None:
    order = pa.array(["low", "middle", "high"])
    column = pa.DictionaryArray.from_arrays(pa.array([2, 1, 0], pa.int8()), order, ordered=True)
    write(tmp_path / "in.arrows", pa.table({"w": ["good", "bad", "good"], "level": column}))
    filtered(tmp_path / "in.arrows", tmp_path / "out.arrows")
    found: Any = read(tmp_path / "out.arrows")["level"].combine_chunks()
    assert found.dictionary.to_pylist() == ["low", "high"]
    assert found.to_pylist() == ["high", "low"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("table", [pa.table({"w": pa.array([], pa.string())}), pa.table({"w": ["bad"] * 3})])
def test_a_file_of_which_nothing_is_left_is_written_with_its_columns(
    tmp_path: Path, table: pa.Table, suffix: str
) -> None:
    filtered(write(tmp_path / f"in.{suffix}", table), tmp_path / f"out.{suffix}")
    found = read(tmp_path / f"out.{suffix}")
    assert (found.schema, len(found)) == (table.schema, 0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_many_batches_and_dictionaries_keeps_order(tmp_path: Path, suffix: str) -> None:
    count = 2 * columnar.BATCH_ROWS + 7
    names = pa.array(["good" if number % 3 else f"bad{number % 50}" for number in range(count)])
    table = pa.table({"w": names, "n": range(count)})
    if suffix == "arrows":
        table = table.set_column(
            0, "w", pa.chunked_array([one.dictionary_encode() for one in (names[:9], names[9:])])
        )
    filtered(write(tmp_path / f"in.{suffix}", table, 50_000), tmp_path / f"out.{suffix}")
    assert read(tmp_path / f"out.{suffix}")["n"].to_pylist() == [n for n in range(count) if n % 3]


def test_rows_of_great_size_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "BATCH_BYTES", 1 << 16)
    path = write(
        tmp_path / "in.parquet", pa.table({"w": ["good"] * 64, "t": [f"{n:010}" * 1_000 for n in range(64)]})
    )
    with Source(str(path), Format("parquet")) as source:
        sizes = [len(block.rows) for block in columnar.Parquet(source, columnar.Columns(["w"])).blocks()]
    assert max(sizes) < 10 and sum(sizes) == 64
    filtered(path, tmp_path / "out.parquet")
    assert len(read(tmp_path / "out.parquet")) == 64


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (pa.array([1, 2]), "workspace ids are text"),
        (pa.array([b"good", b"good"]), "workspace ids are text"),
        (pa.nulls(2), "workspace ids are text"),
    ],
)
def test_ids_of_another_type_are_refused_by_name(tmp_path: Path, values: Any, why: str) -> None:
    path = write(tmp_path / "in.parquet", pa.table({"w": values}))
    with pytest.raises(ConsentError, match=why):
        filtered(path, tmp_path / "out.parquet")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_that_differ_by_case_alone_are_refused(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / f"in.{suffix}", pa.table({"W": ["bad"], "w": ["good"], "X": [1], "x": [2]}))
    with pytest.raises(ConsentError, match="columns 'w' and 'W' differ by case alone"):
        filtered(source, tmp_path / f"out.{suffix}")
    assert everything(tmp_path) == [source.name]


def test_ids_that_are_all_null_keep_no_row(tmp_path: Path) -> None:
    path = write(tmp_path / "in.parquet", pa.table({"w": pa.nulls(5, pa.string())}))
    assert filtered(path, tmp_path / "out.parquet") == {Verdict(False, "no_workspace"): 5}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"nothing of the kind, but long enough for a footer", None])
def test_what_is_of_another_format_is_refused_by_name(
    tmp_path: Path, suffix: str, content: bytes | None
) -> None:
    path = tmp_path / f"in.{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConsentError, match=r"in\.\w+ cannot be read as"):
        filtered(path, tmp_path / f"out.{suffix}")


def test_a_stream_named_as_a_file_is_told_apart(tmp_path: Path) -> None:
    table = pa.table({"w": ["good"]})
    write(tmp_path / "stream.arrows", table).rename(tmp_path / "in.arrow")
    with pytest.raises(ConsentError, match="say --from arrows"):
        filtered(tmp_path / "in.arrow", tmp_path / "out.arrow")
    write(tmp_path / "file.arrow", table).rename(tmp_path / "in.arrows")
    with pytest.raises(ConsentError, match="say --from arrow"):
        filtered(tmp_path / "in.arrows", tmp_path / "out.arrows")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_when_a_workspace_cannot_be_read_then_there_is_no_file(tmp_path: Path, suffix: str) -> None:
    rows = ["good"] * (2 * columnar.BATCH_ROWS) + ["broken"]
    path = write(tmp_path / f"in.{suffix}", pa.table({"w": rows}), 50_000)
    with pytest.raises(OSError, match="the replica cannot be read"):
        filtered(path, tmp_path / f"out.{suffix}")
    assert everything(tmp_path) == [path.name]


def test_when_data_in_the_middle_is_damaged_then_there_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = pa.table({"w": [f"good{number}" for number in range(300_000)]})
    pq.write_table(table, path, row_group_size=100_000, use_dictionary=False, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    with pytest.raises(ConsentError, match="cannot be read as parquet"):
        filtered(path, tmp_path / "out.parquet")
    assert everything(tmp_path) == ["in.parquet"]


def test_a_file_that_came_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(ConsentError, match="is there already"), Target(str(out), Format("csv")) as target:
        target.file.write(b"w\n")
        out.write_text("somebody else's")
        target.finish()
        target.keep()
    assert out.read_text() == "somebody else's"
    assert everything(tmp_path) == ["out.csv"]


@pytest.mark.parametrize("name", ["parquet", "arrow", "arrows"])
def test_whatever_closes_a_writer_after_a_failure_puts_no_end_to_what_was_written(
    tmp_path: Path, name: str
) -> None:
    """A footer that is written by a destructor would make half a file look whole."""
    path = tmp_path / "out"
    with Target(str(path), Format(name)) as target:
        writer = columnar.BatchWriter(target, pa.schema([("w", pa.string())]), "none")
        target.abandon()
        written = target.file.tell()
        writer.close()
        assert target.file.tell() > written, "it tried"
        partial = next(tmp_path.iterdir())
        assert partial.read_bytes() == b""
    assert everything(tmp_path) == []


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("a.csv", "b.csv.gz", (Format("csv"), Format("csv", "gzip"))),
        ("a.2024.NDJSON.zst", "-", (Format("jsonl", "zstd"), Format("jsonl", "zstd"))),
        ("-", "b.tsv", (Format("tsv"), Format("tsv"))),
        ("a.feather", "b.pq", (Format("arrow"), Format("parquet"))),
    ],
)
def test_names_say_formats(source: str, target: str, expected: tuple[Format, Format]) -> None:
    assert formats(source, target, None, None) == expected


@pytest.mark.parametrize(
    ("source", "target", "read_as", "written_as"),
    [
        ("-", "-", None, None),
        ("a", "b.csv", None, None),
        ("a.csv", "b", None, None),
        ("a.parquet.gz", "-", None, None),
        ("a.gz", "-", None, None),
        ("a.csv", "b.parquet", None, None),
        ("a.parquet", "-", None, "jsonl"),
        ("a.csv", "b.tsv", None, None),
        ("-", "-", "xlsx", None),
        ("-", "-", "csv.bz2", None),
        ("-", "-", "parquet.gz", None),
        ("-", "-", "", ""),
    ],
)
def test_formats_that_nobody_said_or_that_would_have_to_be_converted_are_refused(
    source: str, target: str, read_as: str | None, written_as: str | None
) -> None:
    with pytest.raises(ConsentError) as raised:
        formats(source, target, read_as, written_as)
    assert raised.value.code == "invalid_value"
