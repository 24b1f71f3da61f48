"""Filters of files and pipes: rows a second, beside the same file copied, and only parsed.

    python bench/pipes.py              1 M rows a format
    python bench/pipes.py --quick      50 k rows: whether they run

What is filtered is what `consent filter` filters, from file to file, but for the ledger: reading, judging,
counting reasons, writing, digests of both ends. The limit of text is to parse the same file alone, by
Python's csv or msgspec, which decide nothing and write nothing; of Parquet and Arrow, to read and write all
batches again. `cat` copies the bytes.
Memory is the most that the process held while it filtered beyond what it held before: it must not grow with
the rows. All go in turns, and the best round of each counts: the cores are shared with others.
"""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from consent_gate.filter import Filter
from consent_gate.formats.blocks import Columns, reader_of
from consent_gate.formats.format import format_of
from consent_gate.formats.reading import Source
from consent_gate.formats.writing import Target
from consent_gate.verdicts import Verdicts
from filter import NOW, PURPOSE, Customers
from harness import arguments
from table import Row, report

ROWS, ROWS_QUICK = 1_000_000, 50_000
WORKSPACES = 10_000
ROUNDS = 3
SAMPLE_SECONDS = 0.005
SHARES = {"csv": 0.3, "csv, quoted": 0.3, "jsonl": 0.3, "parquet": 0.5, "arrows": 0.1}
"""The share of the limit that is to be reached: text is also judged, written and digested."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--quick", action="store_true", help=f"{ROWS_QUICK:,} rows: whether they run")
    given = parser.parse_args()
    rows = ROWS_QUICK if given.quick else ROWS
    customers = Customers(WORKSPACES)
    figures = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        for what, (suffix, parse) in PARSERS.items():
            source = folder / f"{what.replace(', ', '-')}.{suffix}"
            WRITERS[what](source, rows)
            figures += measured(what, source, rows, customers, parse)
            source.unlink()
    report(f"Pipes, {rows:,} rows of {WORKSPACES:,} workspaces", figures, given.folder, given.json)


def measured(
    what: str, source: Path, rows: int, customers: Customers, parse: Callable[[Path], int]
) -> list[Row]:
    """The rate of a format, beside both peers of the same rounds."""
    target, copied = source.with_name(f"out{source.suffix}"), source.with_name("copied")

    def ours() -> int:
        target.unlink(missing_ok=True)
        return filtered(source, target, customers)

    def cat() -> int:
        with copied.open("wb") as file:
            subprocess.run(["cat", str(source)], stdout=file, check=True)
        return rows

    memory = held(ours)
    assert parse(source) == rows == ours(), "both see all rows"
    best = dict.fromkeys((ours, lambda: parse(source), cat), float("inf"))
    for _ in range(ROUNDS):
        for run in best:
            began = time.perf_counter()
            run()
            best[run] = min(best[run], time.perf_counter() - began)
    took, parsed, copying = best.values()
    size, found = source.stat().st_size / 1e6, format_of(str(source))
    assert found is not None, "the suffix says it"
    return [
        Row(
            f"{what}, filtered",
            rows / took,
            "rows/s",
            "parsed alone" if found.is_text else "read and written",
            rows / parsed,
            f"≥ {SHARES[what]} ×",
            rows / took >= SHARES[what] * rows / parsed,
            f"{size:.0f} MB, {size / took:.0f} MB/s, cat {size / copying:.0f} MB/s, +{memory:.0f} MB held",
        )
    ]


def held(run: Callable[[], object]) -> float:
    """The most megabytes that the process held while it ran, beyond what it held before."""
    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(SAMPLE_SECONDS):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return (most - before) / 1e6


def filtered(path: Path, target_path: Path, customers: Customers) -> int:
    """What `consent filter` does with a file, and how many rows it met."""
    found = format_of(str(path))
    assert found is not None, "the suffix says it"
    columns = Columns(["workspace_id"], "collected_at")
    with Source(str(path), found) as source, Target(str(target_path), found) as target:
        reader = reader_of(source, columns)
        rows = Filter(Verdicts(customers, NOW, PURPOSE), columns.owners, columns.collected)
        writer = reader.writer(target)
        for block in reader.blocks():
            writer.write(block, rows.mask(block.columns))
        writer.close()
        target.finish()
        target.keep()
        source.digest()
    return sum(rows.counts.values())


# -- the files -----------------------------------------------------------------------------------------------


def table(rows: int) -> pa.Table:
    """Rows of random workspaces, with some text."""
    chosen = random.Random(1)
    names = [f"ws-{number:08}" for number in range(WORKSPACES)]
    return pa.table(
        {
            "number": range(rows),
            "workspace_id": chosen.choices(names, k=rows),
            "text": [f"what somebody wrote, number {number}" for number in range(rows)],
            "collected_at": pa.array([1_700_000_000_000_000] * rows, pa.timestamp("us", "UTC")),
        }
    )


def _text_rows(rows: int) -> list[tuple[int, str, str, str]]:
    data = table(rows)
    return [
        (number, name, text, "2023-11-14T22:13:20Z")
        for number, name, text in zip(
            *(data[column].to_pylist() for column in ("number", "workspace_id", "text")), strict=True
        )
    ]


def _csv(path: Path, rows: int, is_quoted: bool = False) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", "workspace_id", "text", "collected_at"])
        for number, name, text, at in _text_rows(rows):
            writer.writerow([number, name, text if is_quoted else text.replace(",", ""), at])


def _jsonl(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number, name, text, at in _text_rows(rows):
            line = {"number": number, "workspace_id": name, "text": text, "collected_at": at}
            file.write(json.dumps(line) + "\n")


def _parquet(path: Path, rows: int) -> None:
    pq.write_table(table(rows), path)


def _arrows(path: Path, rows: int) -> None:
    data = table(rows)
    with ipc.new_stream(str(path), data.schema) as writer:
        writer.write_table(data, 131_072)


WRITERS: dict[str, Callable[[Path, int], None]] = {
    "csv": _csv,
    "csv, quoted": lambda path, rows: _csv(path, rows, True),
    "jsonl": _jsonl,
    "parquet": _parquet,
    "arrows": _arrows,
}


# -- the peers -----------------------------------------------------------------------------------------------


def _parse_csv(path: Path) -> int:
    with path.open(newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _parse_jsonl(path: Path) -> int:
    decode = msgspec.json.Decoder().decode
    with io.BufferedReader(io.FileIO(path)) as file:
        return sum(1 for _ in map(decode, file))


def _copy_parquet(path: Path) -> int:
    source = pq.ParquetFile(path)
    with pq.ParquetWriter(path.with_name("copied"), source.schema_arrow) as writer:
        return sum(_copied(writer, batch) for batch in source.iter_batches(131_072))


def _copy_arrows(path: Path) -> int:
    source = ipc.open_stream(pa.OSFile(str(path)))
    with ipc.new_stream(str(path.with_name("copied")), source.schema) as writer:
        return sum(_copied(writer, batch) for batch in source)


def _copied(writer: Any, batch: pa.RecordBatch) -> int:
    writer.write_batch(batch)
    return len(batch)


PARSERS: dict[str, tuple[str, Callable[[Path], int]]] = {
    "csv": ("csv", _parse_csv),
    "csv, quoted": ("csv", _parse_csv),
    "jsonl": ("jsonl", _parse_jsonl),
    "parquet": ("parquet", _copy_parquet),
    "arrows": ("arrows", _copy_arrows),
}


if __name__ == "__main__":
    main()
