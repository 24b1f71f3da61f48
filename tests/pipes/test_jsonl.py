"""A line of JSON that stays is written byte for byte as it came; what can be read in two ways is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from consent_domain.errors import ConsentError
from consent_gate.formats import lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipes_files import filtered, text_filtered


def kept(folder: Path, content: bytes, **more: str) -> bytes:
    return text_filtered(folder, content, "jsonl", **more)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"w": "good", "n": 1e5}\n{"w":"bad"}\n', b'{"w": "good", "n": 1e5}\n'),
        (b'{"w":"good"}\r\n{"w":"bad"}\r\n', b'{"w":"good"}\r\n'),
        (b'{"w":"bad"}\n{"w":"good"}', b'{"w":"good"}'),
        (b'\xef\xbb\xbf{"w":"bad"}\n{"w":"good"}\n', b'\xef\xbb\xbf{"w":"good"}\n'),
        (b'\n{"w":"good"}\n \n\n', b'{"w":"good"}\n'),
        (b'{"w":["good","good"]}\n{"w":["good","bad"]}\n{"w":[]}\n{"w":["good",null]}\n{"w":"good"}\n',
         b'{"w":["good","good"]}\n{"w":"good"}\n'),
        (b'{"w":null}\n{"v":1}\n{"w":""}\n{"w":"good"}\n', b'{"w":"good"}\n'),
        (b'{"w":"007"}\n{"w":"7"}\n', b'{"w":"007"}\n'),
        (b'{"\\u0077":"good"}\n{"\\u0077":"bad"}\n', b'{"\\u0077":"good"}\n'),
        (b'{"t":"\\"w\\":\\"bad\\"","w":"good"}\n', b'{"t":"\\"w\\":\\"bad\\"","w":"good"}\n'),
        (b'{"w":"good","m":{"w":"bad"}}\n', b'{"w":"good","m":{"w":"bad"}}\n'),
        (b'{"t":"\\u003cb\\u003e","w":"good"}\n', b'{"t":"\\u003cb\\u003e","w":"good"}\n'),
        (b"", b""),
    ],
)  # fmt: skip
def test_given_rows_when_some_stay_then_their_bytes_do(
    tmp_path: Path, content: bytes, expected: bytes
) -> None:
    assert kept(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"w":"good"}\n{"w":7}\n', "line 2: Expected `str | array | null`, got `int`"),
        (b'{"w":{"id":"good"}}\n', "line 1"),
        (b'{"w":["good",7]}\n', "line 1"),
        (b'["good"]\n', "line 1"),
        (b'[\n{"w":"good"}\n]\n', "line 1"),
        (b'{"w":"good"\n', "line 1: it is no JSON object"),
        (b'{"w":"good"}{"w":"bad"}\n', "line 1: it is no JSON object"),
        (b'{"w":"bad","w":"good"}\n', "line 1: the key 'w' stands twice"),
        (b'{"w":"bad","\\u0077":"good"}\n', "line 1: the key 'w' stands twice"),
        (b'{"w":"good"}\n{"W":"bad","w":"good"}\n', "in one object, once as 'W'"),
        (b'{"w":"good","\\u0057":"bad"}\n', "line 1: the key 'w' stands twice"),
        (b'{"w":"bad","n":%b,"w":"good"}\n' % (b"9" * 5_000), "line 1"),
        (b'{"w":"good"}\n{"w":"good","t":"caf\xe9"}\n', "line 2: it is not UTF-8"),
        (b'{"v":"good"}\n', "no line has 'w'; is it misspelt?"),
        (b'{"w":"good","t":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1"),
        (b'{"w":"\\ud800"}\n', "line 1"),
    ],
)  # fmt: skip
def test_given_what_cannot_be_read_in_one_way_when_filtered_then_there_is_no_file(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(ConsentError) as raised:
        kept(tmp_path, content)
    assert why in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_given_a_path_when_the_owner_lies_deep_then_it_decides(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"a": {"w": "good", "at": "2024-01-01T00:00:00Z"}, "n": 1},
        {"a": {"w": "bad"}, "n": 2},
        {"a": None, "n": 3},
        {"n": 4},
        {"a": {"v": 1}, "n": 5},
    ]
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    (tmp_path / "in.jsonl").write_bytes(content)
    filtered(tmp_path / "in.jsonl", tmp_path / "out.jsonl", ("a.w",), "a.at")
    assert (tmp_path / "out.jsonl").read_bytes() == content.splitlines(keepends=True)[0]


def test_given_a_key_with_a_dot_when_it_is_escaped_then_it_is_one_key(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"a.w":"good","a":{"w":"bad"}}\n{"a.w":"bad","a":{"w":"good"}}\n')
    filtered(tmp_path / "in.jsonl", tmp_path / "out.jsonl", (r"a\.w",))
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"a.w":"good","a":{"w":"bad"}}\n'


@pytest.mark.parametrize("columns", [("a..b",), ("",), ("a", "a.b")])
def test_given_paths_that_cannot_be_when_filtered_then_they_are_refused(
    tmp_path: Path, columns: tuple[str, ...]
) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"a":"good"}\n')
    with pytest.raises(ConsentError) as raised:
        filtered(tmp_path / "in.jsonl", tmp_path / "out.jsonl", columns)
    assert raised.value.code == "invalid_value"


@pytest.mark.parametrize("time", ['"2024-01-01T00:00:00"', "1704067200", '"now"', "{}"])
def test_given_a_time_that_names_no_instant_when_filtered_then_it_says_which(
    tmp_path: Path, time: str
) -> None:
    content = b'{"w":"good","at":"2024-01-01T00:00:00Z"}\n{"w":"good","at":%b}\n' % time.encode()
    with pytest.raises(ConsentError, match="line 2"):
        kept(tmp_path, content, collected="at")


value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(["good", "w"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.just("w"), st.text(max_size=3)), inner, max_size=3),
    ),
    max_leaves=6,
)
owners = st.one_of(
    st.none(), st.sampled_from(["good", "bad", "", "007"]),
    st.lists(st.one_of(st.none(), st.sampled_from(["good", "bad"])), max_size=3),
)  # fmt: skip
others = st.text(max_size=3).filter(lambda key: key != "W")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(owners, st.dictionaries(others, value, max_size=4)), min_size=1, max_size=20),
    st.booleans(),
    st.integers(1, 40),
)
def test_whatever_a_writer_of_json_writes_is_judged_by_its_owners_and_kept_byte_for_byte(
    tmp_path: Path, rows: list[tuple[Any, dict[str, Any]]], is_ascii: bool, chunk: int
) -> None:
    written = [json.dumps({**more, "w": who}, ensure_ascii=is_ascii).encode() + b"\n" for who, more in rows]
    stay = [
        line
        for line, (who, _) in zip(written, rows, strict=True)
        if who in ("good", "007") or (isinstance(who, list) and who and set(who) == {"good"})
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK_BYTES", chunk)
        assert kept(tmp_path, b"".join(written)) == b"".join(stay)


def test_given_keys_that_differ_by_case_when_filtered_then_only_those_on_the_way_to_a_column_matter(
    tmp_path: Path,
) -> None:
    """DuckDB and others take them for one, and do not say which."""
    harmless = b'{"m":{"w":"good","W2":1},"W":"bad","t":"\\"M\\""}\n{"M":{"w":"bad"}}\n'
    assert of_columns(tmp_path, harmless, "m.w") == harmless.splitlines(keepends=True)[0]
    for twice in (
        b'{"m":{"w":"good"},"M":{"w":"bad"}}\n',
        b'{"m":{"W":"bad","w":"good"}}\n',
        '{"key":"good","\u212aey":"bad"}\n'.encode(),
        b'{"key":"good","\\u212Aey":"bad"}\n',
    ):
        with pytest.raises(ConsentError, match="stands twice in one object, once as"):
            of_columns(tmp_path, twice, "key" if b"ey" in twice else "m.w")


def of_columns(folder: Path, content: bytes, *columns: str) -> bytes:
    source, target = folder / "in.jsonl", folder / "of.jsonl"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    filtered(source, target, columns)
    return target.read_bytes()
