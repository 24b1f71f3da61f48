"""Compressed text is filtered as what it holds; what is cut off or damaged leaves no file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from consent_domain.errors import ConsentError
from pipes_files import filtered

CONTENT = b"w,n\n" + b"".join(b"%b,%d\n" % (b"good" if n % 2 else b"bad", n) for n in range(20_000))
KEPT = b"w,n\n" + b"".join(b"good,%d\n" % n for n in range(1, 20_000, 2))


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def unpacked(path: Path) -> bytes:
    kind: Any = {".gz": "gzip", ".zst": "zstd"}[path.suffix]
    with pa.CompressedInputStream(pa.OSFile(str(path)), kind) as stream:
        return bytes(stream.read())


PACKED = {"gz": gzip.compress, "zst": zstd}


@pytest.mark.parametrize("source", PACKED)
@pytest.mark.parametrize("target", ["gz", "zst", ""])
def test_given_compressed_text_when_filtered_then_the_bytes_inside_stay(
    tmp_path: Path, source: str, target: str
) -> None:
    path = tmp_path / f"in.csv.{source}"
    path.write_bytes(PACKED[source](CONTENT))
    out = tmp_path / (f"out.csv.{target}" if target else "out.csv")
    filtered(path, out)
    assert (unpacked(out) if target else out.read_bytes()) == KEPT


@pytest.mark.parametrize("suffix", PACKED)
def test_given_several_parts_one_behind_the_other_when_filtered_then_all_are_read(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"in.csv.{suffix}"
    path.write_bytes(PACKED[suffix](CONTENT) + PACKED[suffix](b"good,1\nbad,2\n"))
    filtered(path, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == KEPT + b"good,1\n"


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("left", [0, 1, 20, -9, -1])
def test_given_a_part_that_is_cut_off_when_filtered_then_there_is_no_file(
    tmp_path: Path, suffix: str, left: int
) -> None:
    path = tmp_path / f"in.jsonl.{suffix}"
    path.write_bytes(PACKED[suffix](b'{"w":"good"}\n' * 50_000)[:left])
    with pytest.raises(ConsentError, match="cannot be read as jsonl"):
        filtered(path, tmp_path / "out.jsonl")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_given_one_bit_that_fell_over_when_filtered_then_there_is_no_file(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(CONTENT))
    data[-6] ^= 1
    (tmp_path / "in.csv.gz").write_bytes(data)
    with pytest.raises(ConsentError, match="incorrect data check"):
        filtered(tmp_path / "in.csv.gz", tmp_path / "out.csv")


def test_given_text_that_is_called_compressed_when_filtered_then_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv.gz").write_bytes(CONTENT)
    with pytest.raises(ConsentError, match=r"in\.csv\.gz cannot be read"):
        filtered(tmp_path / "in.csv.gz", tmp_path / "out.csv")
