"""A filtered file is there if and only if all went well, and holds nothing that is not permitted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from consent_domain.errors import ConsentError
from consent_domain.facts import (
    Attributes,
    Book,
    OrganisationFacts,
    Published,
    WorkspaceFacts,
)
from consent_domain.policy import PolicyRules, Rule
from consent_domain.purposes import Purpose, Selector
from consent_gate.filter import Filter
from consent_gate.parquet import BATCH_ROWS, Source
from consent_gate.verdicts import Verdict, Verdicts

TRAIN = Purpose(
    key="train",
    processing="train",
    reach="global",
    model_class="non_generative",
    recipient="first_party",
    categories=["messages"],
    legal_basis="legitimate_interest",
    justification="A test.",
)
RULES = PolicyRules(purposes=[TRAIN], rules=[Rule(selector=Selector(all=True), regime="opt_out")])


class OneGood:
    """A snapshot in which `good` permits, and of which `broken` cannot be read."""

    book = Book(policies=(Published("1", 1, 0, "looser", RULES),), opened=2)

    def workspace(self, name: str) -> WorkspaceFacts | None:
        if name == "broken":
            raise OSError("the replica cannot be read")
        facts = WorkspaceFacts("production", 3, 10, (Attributes(10, 3, "pro", "eu", "", ""),))
        return facts if name == "good" else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        return None


def rows(*columns: str) -> Filter:
    return Filter(Verdicts(OneGood(), 1_000, "train"), columns or ["w"])


def nothing(done: int, total: int) -> None:
    """Progress that nobody watches."""


def written(path: Path, table: pa.Table, **options: Any) -> Source:
    pq.write_table(table, path, **options)
    return Source(path)


def everything(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_only_permitted_rows_are_written_with_the_columns_as_they_were(tmp_path: Path) -> None:
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
    source = written(tmp_path / "in", table, compression="zstd")
    filtering = rows()
    done = source.write(tmp_path / "out", filtering, nothing)
    assert (done.rows, done.kept) == (4, 2)
    found = pq.ParquetFile(tmp_path / "out")
    assert found.schema_arrow.equals(source.schema, check_metadata=True)
    assert found.read().to_pylist() == [table.to_pylist()[0], table.to_pylist()[3]]
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    assert filtering.counts == {
        Verdict(True, "defaulted_on"): 2,
        Verdict(False, "unknown_workspace"): 1,
        Verdict(False, "no_workspace"): 1,
    }
    assert everything(tmp_path) == ["in", "out"]


@pytest.mark.parametrize("table", [pa.table({"w": pa.array([], pa.string())}), pa.table({"w": ["bad"] * 3})])
def test_a_file_of_which_nothing_is_left_is_written_with_its_columns(tmp_path: Path, table: pa.Table) -> None:
    source = written(tmp_path / "in", table)
    done = source.write(tmp_path / "out", rows(), nothing)
    assert done.kept == 0
    assert pq.read_table(tmp_path / "out").schema == table.schema
    assert len(pq.read_table(tmp_path / "out")) == 0


def test_a_file_of_many_batches_keeps_order_and_tells_how_far_it_is(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 7
    table = pa.table({"w": ["good" if n % 3 else "bad" for n in range(count)], "n": range(count)})
    source = written(tmp_path / "in", table, row_group_size=50_000)
    seen: list[tuple[int, int]] = []
    source.write(tmp_path / "out", rows(), lambda done, total: seen.append((done, total)))
    assert pq.read_table(tmp_path / "out")["n"].to_pylist() == [n for n in range(count) if n % 3]
    assert seen[-1] == (count, count)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_when_a_workspace_cannot_be_read_then_there_is_no_file(tmp_path: Path) -> None:
    table = pa.table({"w": ["good"] * (2 * BATCH_ROWS) + ["broken"]})
    source = written(tmp_path / "in", table)
    with pytest.raises(ConsentError, match="the replica cannot be read"):
        source.write(tmp_path / "out", rows(), nothing)
    assert everything(tmp_path) == ["in"]


def test_when_the_job_is_stopped_midway_then_there_is_no_file(tmp_path: Path) -> None:
    source = written(tmp_path / "in", pa.table({"w": ["good"] * (2 * BATCH_ROWS)}))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.write(tmp_path / "out", rows(), stop)
    assert everything(tmp_path) == ["in"]


def test_when_data_in_the_middle_is_damaged_then_there_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "in"
    table = pa.table({"w": [f"good{n}" for n in range(300_000)]})
    written(path, table, row_group_size=100_000, use_dictionary=False, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    with pytest.raises(ConsentError, match="in →"):
        Source(path).write(tmp_path / "out", rows(), nothing)
    assert everything(tmp_path) == ["in"]


def test_a_file_that_came_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    source = written(tmp_path / "in", pa.table({"w": ["good"]}))
    out = tmp_path / "out"
    with pytest.raises(ConsentError, match="is there already"):
        source.write(out, rows(), lambda done, total: out.write_text("somebody else's") and None)
    assert out.read_text() == "somebody else's"
    assert everything(tmp_path) == ["in", "out"]


@pytest.mark.parametrize("content", [None, b"", b"no Parquet at all, but long enough for a footer"])
def test_what_is_no_parquet_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "in").write_bytes(content)
    with pytest.raises(ConsentError, match="cannot be read as Parquet"):
        Source(tmp_path / "in")


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path / "in", pa.table({"w": ["good"]}))
    with pytest.raises(ConsentError, match="nowhere"):
        source.write(tmp_path / "nowhere" / "out", rows(), nothing)
