"""A job of each engine, to be run again and again on one folder: what it filters now, and what it saved once.

    python tests/cached_jobs.py ENGINE FOLDER

Rows come from FOLDER/rows.parquet, the gate stands on the replica in FOLDER/replica. The first run saves
what it kept, in the way of the engine; later runs find that, filter it again, and tell whose rows remain.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from consent_gate.gate import Gate
from consent_gate.replica import Replica


class Told(NamedTuple):
    """Owners of the rows kept: of the source, and of what an earlier run saved; and how many rows of
    the latter may not be used any more."""

    kept: list[str]
    saved: list[str]
    saved_dropped: int | None


def arrow(gate: Gate, folder: Path) -> Told:
    import pyarrow.dataset as ds

    kept = gate.filter(ds.dataset(folder / "rows.parquet"), "w").data.read_all()
    saved = folder / "saved.parquet"
    if not saved.exists():
        pq.write_table(kept, saved)
    again = gate.filter(pq.read_table(saved), "w")
    return Told(kept["w"].to_pylist(), again.data["w"].to_pylist(), again.report().rows_dropped)


def polars(gate: Gate, folder: Path) -> Told:
    import polars as pl

    plan = pl.scan_parquet(folder / "rows.parquet").cache()
    with gate.job() as job:
        once = plan.pipe(job.filter, "w").cache()
        kept = pl.concat([once, once.filter(pl.col("row") < 0)]).collect()
        assert pl.collect_all([once, once], engine="streaming")[0].height == kept.height
    saved = folder / "saved.parquet"
    if not saved.exists():
        kept.write_parquet(saved)
    again = gate.filter(pl.read_parquet(saved), "w")
    return Told(kept["w"].to_list(), again.data["w"].to_list(), again.report().rows_dropped)


def pandas(gate: Gate, folder: Path) -> Told:
    import pandas as pd

    kept = gate.filter(pd.read_parquet(folder / "rows.parquet"), "w").data
    saved = folder / "saved.pickle"
    if not saved.exists():
        kept.to_pickle(saved)
    again = gate.filter(pd.read_pickle(saved), "w")
    return Told(list(kept["w"]), list(again.data["w"]), again.report().rows_dropped)


def duckdb(gate: Gate, folder: Path) -> Told:
    """A database in a file: tables and views stay there, and the gate's macros must not."""
    import duckdb
    from consent_gate.engines.duckdb import register

    with duckdb.connect(folder / "saved.duckdb") as connection, gate.job() as job:
        try:
            connection.sql("SELECT consent_permits('w1')").fetchall()
            raise AssertionError("there is a macro before this job registered one")
        except duckdb.CatalogException:
            register(job, connection)
        rows = str(folder / "rows.parquet")
        connection.execute("CREATE TABLE IF NOT EXISTS source AS FROM read_parquet(?)", [rows])
        connection.execute("CREATE TEMP VIEW permitted AS FROM source WHERE consent_permits(w)")
        connection.execute("CREATE TABLE IF NOT EXISTS saved AS FROM permitted")
        by_macro = [row[0] for row in connection.sql("SELECT w FROM permitted").fetchall()]
        kept = job.filter(connection.table("source"), "w").select("w").fetchall()
        assert sorted(by_macro) == sorted(row[0] for row in kept)
        again = gate.filter(connection.table("saved"), "w")
        saved = [row[0] for row in again.data.select("w").fetchall()]
        return Told(by_macro, saved, again.report().rows_dropped)


def datasets(gate: Gate, folder: Path) -> Told:
    """Of all that it caches by itself, see `test_datasets_cache`; here it is what the user saves."""
    import datasets

    cache, saved = str(folder / "cache"), folder / "saved"
    source = datasets.load_dataset("parquet", data_files=str(folder / "rows.parquet"), cache_dir=cache)
    kept = gate.filter(source["train"], "w").data.map(_longer).filter(_is_there)
    stream = gate.filter(source["train"].to_iterable_dataset(), "w").data
    assert [row["w"] for row in stream] == list(kept["w"])
    if not saved.exists():
        kept.save_to_disk(saved)
    again = gate.filter(datasets.load_from_disk(saved), "w")
    return Told(list(kept["w"]), list(again.data["w"]), again.report().rows_dropped)


def _longer(row: dict[str, Any]) -> dict[str, Any]:
    return {"longer": row["w"] * 2}


def _is_there(row: dict[str, Any]) -> bool:
    return bool(row["w"])


def torch(gate: Gate, folder: Path) -> Told:
    """Workers that live on, a subset, and a file of items."""
    import torch
    from torch.utils.data import DataLoader
    from torch_data import Items, Stream

    items = pq.read_table(folder / "rows.parquet").to_pylist()
    kept = [item["w"] for item in gate.filter(Items(items), "w").data]
    stream = gate.filter(Stream(items), "w").data
    loader = DataLoader(
        stream, batch_size=None, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    for _ in range(2):
        assert [item["w"] for item in loader] == kept
    saved = folder / "saved.pt"
    if not saved.exists():
        torch.save([item for item in items if item["w"] in kept], saved)
    again = gate.filter(Items(torch.load(saved)), "w")
    return Told(kept, [item["w"] for item in again.data], again.report().rows_dropped)


def ray(gate: Gate, folder: Path) -> Told:
    from ray_session import dataset

    kept = gate.filter(dataset(pq.read_table(folder / "rows.parquet")), "w").data.materialize()
    saved = folder / "saved"
    if not saved.exists():
        kept.write_parquet(str(saved))
    again = gate.filter(dataset(pq.read_table(saved)), "w")
    remaining = [row["w"] for row in again.data.take_all()]
    return Told([row["w"] for row in kept.take_all()], remaining, again.report().rows_dropped)


def spark(gate: Gate, folder: Path) -> Told:
    from spark_session import session

    spark = session()
    with gate.job() as job:
        rows = spark.read.parquet(str(folder / "rows.parquet")).transform(job.filter, "w").persist()
        kept = [row["w"] for row in rows.collect()]
    saved = folder / "saved"
    if not saved.exists():
        rows.write.parquet(str(saved))
    again = gate.filter(spark.read.parquet(str(saved)), "w")
    remaining = [row["w"] for row in again.data.collect()]
    return Told(kept, remaining, again.report().rows_dropped)


ENGINES: dict[str, Callable[[Gate, Path], Told]] = {
    one.__name__: one for one in (arrow, polars, pandas, duckdb, datasets, torch, ray, spark)
}


def main() -> None:
    engine, folder = sys.argv[1], Path(sys.argv[2])
    with Gate(Replica.open(folder / "replica"), purpose="train", max_staleness=60) as gate:
        print(json.dumps(ENGINES[engine](gate, folder)))


if __name__ == "__main__":
    main()
