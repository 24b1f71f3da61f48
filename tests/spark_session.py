"""One local Spark for all tests of a process."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession


@cache
def session() -> SparkSession:
    """Two cores, no web page; a task that fails is tried again, as on a cluster."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    options = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[2,2]").appName("consent-gate")
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def frame(table: pa.Table) -> Any:
    """A DataFrame of the table's rows. Times without a zone are that in Spark too."""
    made = session().createDataFrame(table)
    for field in table.schema:
        if pa.types.is_timestamp(field.type) and field.type.tz is None:
            made = made.withColumn(field.name, made[field.name].cast("timestamp_ntz"))
    return made
