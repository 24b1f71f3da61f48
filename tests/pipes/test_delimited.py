"""A line of CSV that stays is written byte for byte as it came; what could be read in two ways is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_gate.formats import lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipes_files import filtered, text_filtered

STEADY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"id,w\n1,good\n2,bad\n3,good\n", b"id,w\n1,good\n3,good\n"),
        (b"id,w\r\n1,good\r\n2,bad\r\n", b"id,w\r\n1,good\r\n"),
        (b"id,w\n1,bad\n2,good", b"id,w\n2,good"),
        (b"\xef\xbb\xbfw,id\ngood,1\n", b"\xef\xbb\xbfw,id\ngood,1\n"),
        (b'\xef\xbb\xbf"w",id\nbad,1\n', b'\xef\xbb\xbf"w",id\n'),
        (b'w,t\ngood,"two\nlines, and ""more"""\nbad,"x\ny"\n', b'w,t\ngood,"two\nlines, and ""more"""\n'),
        (b'w,t\n"good",x\n"""good""",y\n', b'w,t\n"good",x\n'),
        (b"w,t\ngood, padded \n good,x\n", b"w,t\ngood, padded \n"),
        (b"w,n\n007,1\n7,2\n1e5,3\n100000,4\n", b"w,n\n007,1\n1e5,3\n"),
        (b"w,n\n\ngood,1\n\r\n\ngood,2\n\n", b"w,n\ngood,1\ngood,2\n"),
        (b"w,n\n", b"w,n\n"),
        (b"w", b"w"),
        (b"w\ngood\n\nbad\ngood", b"w\ngood\ngood"),
        (b"w,n\n,1\n\"\",2\ngood,3\n", b"w,n\ngood,3\n"),
        (b"w,x,x\ngood,1,2\n", b"w,x,x\ngood,1,2\n"),
        ("w,text\ngood,é 漢字 \U0001f600\n".encode(), "w,text\ngood,é 漢字 \U0001f600\n".encode()),
        (b"w,t\ngood,a\x00b\n", b"w,t\ngood,a\x00b\n"),
        (b'w,t\n"good","a\rb"\n', b'w,t\n"good","a\rb"\n'),
    ],
)  # fmt: skip
def test_given_rows_when_some_stay_then_their_bytes_do(tmp_path: Path, content: bytes, kept: bytes) -> None:
    assert text_filtered(tmp_path, content) == kept


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no header"),
        (b"\n\n", "no header"),
        (b"v\ngood\n", "column 'w' is not there"),
        (b"w,w\ngood,good\n", "column 'w' is twice"),
        (b"W,w\nbad,good\n", "columns 'w' and 'W' differ by case alone"),
        (b"w ,w\nbad,good\n", "columns 'w' and 'w ' differ by spaces alone"),
        (b"W\xc2\xa0,w\nbad,good\n", "differ by spaces alone"),
        (b"w,t\ngood\n", "line 2: the row has 1 fields, and the header 2"),
        (b"w,t\ngood,a\nbad,b\ngood,a,b\n", "line 4: the row has 3 fields"),
        (b'w,t\ngood,a"b\nbad,c"d\n', "line 2: a quote"),
        (b'w,t\ngood,"a"b\n', "line 2: a quote"),
        (b'w,t\n"good",a, "b"\n', "line 2: a quote"),
        (b'w,t\ngood,"never closed\nbad,x\n', "line 2: a quote is opened and never closed"),
        (b"w,t\ngood,a\rbad,b\n", "line 2: a quote or a carriage return"),
        (b"w,t\rgood,a\r", "carriage return"),
        (b"w,t\ngood,a\ngood,caf\xe9\n", "line 3: it is not UTF-8"),
        ("w,t\ngood,a\n".encode("utf-16"), "not UTF-8"),
        ("w,t\ngood,a\n".encode("utf-16-le"), "column 'w' is not there"),
        (b'w"x,t\n', "line 1: a quote"),
    ],
)  # fmt: skip
def test_given_what_cannot_be_read_in_one_way_when_filtered_then_there_is_no_file(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(ConsentError) as raised:
        text_filtered(tmp_path, content)
    assert why in str(raised.value)
    assert raised.value.code == "invalid_value"
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_given_stray_quotes_that_even_each_other_out_when_filtered_then_no_row_gets_anothers_owner(
    tmp_path: Path,
) -> None:
    """Parity alone would see two records here, and so would a lenient parser: but not the same two."""
    content = b'w,t\nbad,a"b,"x\ny"\ngood,a"b\nbad,c\n'
    with pytest.raises(ConsentError):
        text_filtered(tmp_path, content)


def test_given_several_owners_in_a_cell_when_one_denies_then_the_row_goes(tmp_path: Path) -> None:
    content = b"w,n\ngood;good,1\ngood;bad,2\ngood;,3\ngood,4\ngood; good,5\n,6\n"
    assert text_filtered(tmp_path, content, separator=";") == b"w,n\ngood;good,1\ngood,4\n"


def test_given_several_columns_when_one_owner_denies_then_the_row_goes(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"a,n,b\ngood,1,good\ngood,2,bad\n,3,good\nbad,4,good\n")
    filtered(tmp_path / "in.csv", tmp_path / "out.csv", columns=("b", "a"))
    assert (tmp_path / "out.csv").read_bytes() == b"a,n,b\ngood,1,good\n"


def test_given_collection_times_when_they_are_instants_then_windows_hold(tmp_path: Path) -> None:
    content = (
        b"w,at\ngood,2024-01-01T00:00:00Z\ngood,2019-01-01T00:00:00Z\ngood,2024-01-01T00:00:00.123456789+01:00\n"
        b"good,2020-09-13T12:26:39.999999999Z\ngood,2020-09-13T12:26:40Z\ngood,\n"
    )
    kept = text_filtered(tmp_path, content, collected="at").splitlines()[1:]
    assert kept == [content.splitlines()[index] for index in (1, 3, 5, 6)]


@pytest.mark.parametrize(
    "time", [b"2024-01-01T00:00:00", b"2024-01-01", b"1704067200", b"yesterday", b"2024-13-01T00:00:00Z"]
)
def test_given_a_time_that_names_no_instant_when_filtered_then_it_says_which_and_what_to_do(
    tmp_path: Path, time: bytes
) -> None:
    with pytest.raises(
        ConsentError, match=r"line 3: the collection time .* must say date, time and time zone"
    ):
        text_filtered(tmp_path, b"w,at\ngood,2024-01-01T00:00:00Z\ngood,%b\n" % time, collected="at")


def test_given_tabs_when_filtered_then_commas_are_text(tmp_path: Path) -> None:
    content = b"w\tt\ngood\ta,b\nbad\tx\n\t\n"
    assert text_filtered(tmp_path, content, "tsv") == b"w\tt\ngood\ta,b\n"


def test_given_tabs_when_a_quote_would_hide_the_row_of_another_then_there_is_no_file(tmp_path: Path) -> None:
    """Who writes TSV without quotes lets fields begin or end with one; who reads it so sees three rows."""
    content = b'text\tw\nfine\tgood\n"so I said\tbad\nnever"\tgood\n'
    assert [row.split(b"\t")[1] for row in content.splitlines()[1:]] == [b"good", b"bad", b"good"]
    with pytest.raises(ConsentError, match=r"line 3: a quote .* or as CSV"):
        text_filtered(tmp_path, content, "tsv")
    assert text_filtered(tmp_path, content.replace(b"\t", b","), "csv").count(b"good") == 2
    quoted = b'text\tw\n"one, ""two"""\tgood\nx\t"bad"\n'
    assert text_filtered(tmp_path, quoted, "tsv") == b'text\tw\n"one, ""two"""\tgood\n'


def test_given_a_record_without_end_when_filtered_then_memory_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consent_gate.formats import delimited

    monkeypatch.setattr(lines, "RECORD_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(delimited, "RECORD_BYTES_MAX", 1 << 20)
    with pytest.raises(ConsentError, match="line 1: the line is longer"):
        text_filtered(tmp_path, b"w" * (3 << 20))
    with pytest.raises(ConsentError, match="line 2: a quote is open"):
        text_filtered(tmp_path, b'w\n"' + b"x\n" * (2 << 20))


cell = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
"""A carriage return on its own is not quoted by Python's writer, whose reader refuses it then, as we do."""
owner = st.sampled_from(["good", "bad", "", "007", "good ", 'go"od', "good\n", "good,", "7"])


@STEADY
@given(
    st.lists(st.tuples(cell, owner, cell), max_size=30),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_whatever_a_writer_of_csv_writes_is_split_as_its_reader_does_and_kept_byte_for_byte(
    tmp_path: Path,
    rows: list[tuple[str, str, str]],
    quoting: int,
    end: str,
    is_last_ended: bool,
    chunk: int,
) -> None:
    written = []
    for row in [("a", "w", "b"), *rows]:
        line = io.StringIO(newline="")
        csv.writer(line, quoting=quoting, lineterminator=end).writerow(row)  # type: ignore[arg-type]
        written.append(line.getvalue().encode())
    stay = [line for line, row in zip(written[1:], rows, strict=True) if row[1] in ("good", "007")]
    content, expected = b"".join(written), b"".join([written[0], *stay])
    if not is_last_ended:
        last = written[-1].removesuffix(end.encode())
        content = b"".join([*written[:-1], last])
        if not rows or (stay[-1:] == written[-1:] and rows[-1][1] in ("good", "007")):
            expected = expected.removesuffix(end.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK_BYTES", chunk)
        assert text_filtered(tmp_path, content) == expected


@STEADY
@given(
    st.lists(
        st.sampled_from([b"w", b"good", b"bad", b",", b'"', b"\n", b"\r", b" ", b"\xc3\xa9"]), max_size=40
    )
)
def test_whatever_is_kept_of_any_bytes_a_strict_reader_sees_with_a_good_owner(
    tmp_path: Path, pieces: list[bytes]
) -> None:
    content = b"w,t\n" + b"".join(pieces)
    try:
        kept = text_filtered(tmp_path, content)
    except ConsentError:
        return
    rows = list(csv.reader(io.StringIO(kept.decode(), newline=""), strict=True))
    assert all(row[0] == "good" for row in rows[1:] if row)
    assert kept.startswith(b"w,t\n")
