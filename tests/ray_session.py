"""One local Ray for all tests of a process."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any

import pyarrow as pa

STARTS_MAX = 3
"""Ray gives itself thirty seconds to start, which a busy machine may not have."""


@cache
def session() -> None:
    """Two processors, no web page, nothing told to anybody, and silent."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    import ray
    import ray.data

    for attempt in range(STARTS_MAX):
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            break
        except Exception:  # it knows no other
            if attempt == STARTS_MAX - 1:
                raise
            ray.shutdown()
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def dataset(table: pa.Table, block_rows: int = 40) -> Any:
    """The table's rows in blocks of so many."""
    session()
    import ray.data

    blocks = [table.slice(start, block_rows) for start in range(0, len(table), block_rows)]
    return ray.data.from_arrow(blocks or [table])
