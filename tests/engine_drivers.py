"""Every engine as the shared suite drives it: from an Arrow table with a column `row` to the rows kept."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import pyarrow as pa
from consent_gate.engines.job import Job

Columns = list[str]
Run = Callable[[Job, pa.Table, Columns, str | None], list[int]]


class Driver(NamedTuple):
    """How to filter a table with an engine. `package` must be there, or the engine is not tested here."""

    name: str
    package: str
    run: Run
    is_ordered: bool = True
    """Whether rows come back in the order in which they went in."""
    counts: bool = True
    examples: int = 10
    takes: Callable[[pa.Table], bool] = lambda table: True
    """Whether the engine has a type for each of the table's columns."""

    @property
    def is_there(self) -> bool:
        return find_spec(self.package) is not None


def arrow_table(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    return job.filter(table, columns, collected)["row"].to_pylist()


def arrow_batches(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    batches = [job.filter(batch, columns, collected) for batch in table.to_batches(max_chunksize=7)]
    return [row for batch in batches for row in batch["row"].to_pylist()]


def arrow_mask(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    mask = job.mask(table, columns, collected)
    assert mask.null_count == 0
    return table["row"].filter(mask).to_pylist()


def arrow_reader(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=5))
    return job.filter(reader, columns, collected).read_all()["row"].to_pylist()


def arrow_dataset(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import pyarrow.dataset as ds

    return job.filter(ds.dataset(table), columns, collected).read_all()["row"].to_pylist()


def arrow_scanner(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import pyarrow.dataset as ds

    return job.filter(ds.dataset(table).scanner(), columns, collected).read_all()["row"].to_pylist()


def polars_eager(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import polars as pl

    return job.filter(pl.DataFrame(table), columns, collected)["row"].to_list()


def polars_mask(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import polars as pl

    mask = job.mask(pl.DataFrame(table), columns, collected)
    assert mask.null_count() == 0
    return pl.DataFrame(table).filter(mask)["row"].to_list()


def polars_look_up(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import polars as pl

    return job.filter(pl.DataFrame(table), columns, collected, reasons=False)["row"].to_list()


def polars_lazy(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import polars as pl

    plan = pl.DataFrame(table).lazy().pipe(job.filter, columns, collected)
    return plan.select("row").collect()["row"].to_list()


def polars_lazy_look_up(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import polars as pl

    plan = pl.DataFrame(table).lazy().pipe(job.filter, columns, collected, reasons=False)
    return plan.select("row").collect()["row"].to_list()


def polars_streaming(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import polars as pl

    plan = pl.DataFrame(table).lazy().pipe(job.filter, columns, collected)
    return plan.select("row").collect(engine="streaming")["row"].to_list()


def pandas(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    frame = table.to_pandas().set_index("row", drop=False).sort_index(ascending=False, kind="stable")
    kept = frame.pipe(job.filter, columns, collected)
    assert list(kept.index) == list(kept["row"])
    return list(kept["row"])[::-1]


def pandas_arrow_types(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import pandas as pd

    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return [int(row) for row in frame.pipe(job.filter, columns, collected)["row"]]


def pandas_mask(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    frame = table.to_pandas()
    mask = job.mask(frame, columns, collected)
    return list(frame[mask]["row"])


def duckdb(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.register("data", table)
        kept = job.filter(connection.table("data"), columns, collected)
        return kept.select("row").to_arrow_table()["row"].to_pylist()


def duckdb_macros(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import duckdb
    from consent_gate.engines.duckdb import register

    with duckdb.connect() as connection:
        register(job, connection)
        connection.register("data", table)
        function = "consent_permits" if collected is None else "consent_permits_at"
        when = "" if collected is None else f', "{collected}"'
        tests = " AND ".join(f'{function}("{column}"{when})' for column in columns)
        return connection.sql(f"SELECT row FROM data WHERE {tests}").to_arrow_table()["row"].to_pylist()  # noqa: S608


def list_of_dicts(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    return [item["row"] for item in job.filter(table.to_pylist(), columns, collected)]


def iterator(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    owners = [lambda item, column=column: item[column] for column in columns]
    when = None if collected is None else (lambda item: item[collected])
    return [item["row"] for item in job.filter(iter(table.to_pylist()), owners, when)]


def iterable_mask(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    mask = job.mask(table.to_pylist(), columns, collected)
    return [row for row, permitted in zip(table["row"].to_pylist(), mask, strict=True) if permitted]


# -- engines of `make test-engines` --------------------------------------------------------------------------


def hugging_face(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import datasets

    return list(job.filter(datasets.Dataset(table), columns, collected)["row"])


def hugging_face_splits(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import datasets

    half = len(table) // 2
    parts = {"train": table.slice(0, half), "test": table.slice(half)}
    # An indices mapping, as after a shuffle, so that rows are not where they lie.
    turned = {name: datasets.Dataset(part).select(range(len(part))[::-1]) for name, part in parts.items()}
    kept = job.filter(datasets.DatasetDict(turned), columns, collected)
    return list(kept["train"]["row"])[::-1] + list(kept["test"]["row"])[::-1]


def hugging_face_stream(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    import datasets

    if len(table) == 0:
        return []  # there is no such stream
    stream = datasets.Dataset(table).to_iterable_dataset()
    return [item["row"] for item in job.filter(stream, columns, collected)]


def torch_map(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    from torch_data import Items

    kept = job.filter(Items(table.to_pylist()), columns, collected)
    return [kept[index]["row"] for index in range(len(kept))]


def torch_stream(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    from torch_data import Stream

    return [item["row"] for item in job.filter(Stream(table.to_pylist()), columns, collected)]


def torch_workers(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    from torch.utils.data import DataLoader
    from torch_data import Stream

    kept = job.filter(Stream(table.to_pylist()), columns, collected)
    loader = DataLoader(kept, batch_size=None, num_workers=1, multiprocessing_context="fork")
    return [item["row"] for item in loader]


def ray_data(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    from ray_session import dataset

    return [row["row"] for row in job.filter(dataset(table), columns, collected).take_all()]


def spark(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    from spark_session import frame

    kept = frame(table).transform(job.filter, columns, collected)
    return [row["row"] for row in kept.collect()]


def spark_semi_join(job: Job, table: pa.Table, columns: Columns, collected: str | None) -> list[int]:
    from spark_session import frame

    kept = frame(table).transform(job.filter, columns, collected, reasons=False)
    return [row["row"] for row in kept.collect()]


def _plain(table: pa.Table) -> bool:
    """Whether there is nothing that an engine's own types do not have."""
    return _has_dates(table) and not any(pa.types.is_dictionary(kind) for kind in table.schema.types)


def _has_dates(table: pa.Table) -> bool:
    """Whether all times are ones that Python, and so plain items, can hold; to the microsecond."""
    kinds = table.schema.types
    return not any(pa.types.is_timestamp(kind) and kind.unit == "ns" for kind in kinds)


def _no_lists(table: pa.Table) -> bool:
    return _has_dates(table) and not any(pa.types.is_nested(kind) for kind in table.schema.types)


DRIVERS = [
    Driver("arrow table", "pyarrow", arrow_table),
    Driver("arrow batches", "pyarrow", arrow_batches),
    Driver("arrow mask", "pyarrow", arrow_mask),
    Driver("arrow reader", "pyarrow", arrow_reader),
    Driver("arrow dataset", "pyarrow", arrow_dataset),
    Driver("arrow scanner", "pyarrow", arrow_scanner),
    Driver("polars eager", "polars", polars_eager),
    Driver("polars mask", "polars", polars_mask),
    Driver("polars look-up", "polars", polars_look_up, counts=False),
    Driver("polars lazy", "polars", polars_lazy),
    Driver("polars lazy look-up", "polars", polars_lazy_look_up, counts=False),
    Driver("polars streaming", "polars", polars_streaming, is_ordered=False),
    Driver("pandas", "pandas", pandas),
    Driver("pandas with arrow types", "pandas", pandas_arrow_types),
    Driver("pandas mask", "pandas", pandas_mask),
    Driver("duckdb", "duckdb", duckdb, is_ordered=False, examples=5),
    Driver("duckdb macros", "duckdb", duckdb_macros, is_ordered=False, counts=False, takes=_no_lists),
    Driver("list of dicts", "pyarrow", list_of_dicts, takes=_has_dates),
    Driver("iterator", "pyarrow", iterator, takes=_has_dates),
    Driver("iterable mask", "pyarrow", iterable_mask, takes=_has_dates),
    Driver("datasets", "datasets", hugging_face, examples=5, takes=_plain),
    Driver("datasets, splits", "datasets", hugging_face_splits, examples=5, takes=_plain),
    Driver("datasets, stream", "datasets", hugging_face_stream, examples=5, takes=_plain),
    Driver("torch map-style", "torch", torch_map, takes=_has_dates),
    Driver("torch stream", "torch", torch_stream, takes=_has_dates),
    Driver("torch workers", "torch", torch_workers, examples=5, counts=False, takes=_has_dates),
    Driver("ray", "ray", ray_data, is_ordered=False, examples=2, takes=_has_dates),
    Driver("spark", "pyspark", spark, is_ordered=False, examples=3, takes=_plain),
    Driver("spark semi-join", "pyspark", spark_semi_join, False, False, examples=3, takes=_plain),
]
"""The first are in the project's own environment, from `datasets` on in those of `make test-engines`."""
