"""Who withdrew is found in no cache: not in what an engine keeps by itself, not in what was saved of it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cached_jobs
import engine_world
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cached_jobs import Told
from engine_world import customer, opted_out

PACKAGES = {"arrow": "pyarrow", "spark": "pyspark"}
HERE = [name for name in cached_jobs.ENGINES if find_spec(PACKAGES.get(name, name))]
EVERYBODY = sorted(["w0", "w1", "w2", "w3"] * 3)


def in_a_new_process(engine: str, folder: Path) -> Told:
    done = subprocess.run(
        [sys.executable, cached_jobs.__file__, engine, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    kept, saved, dropped = json.loads(done.stdout.splitlines()[-1])
    return Told(sorted(kept), sorted(saved), dropped)


@pytest.mark.timeout(700)
@pytest.mark.parametrize("engine", HERE)
def test_given_rows_kept_and_saved_when_two_withdrew_then_a_new_process_finds_theirs_nowhere(
    engine: str, tmp_path: Path
) -> None:
    owners = [*(f"w{number % 4}" for number in range(12)), "nobody", None]
    pq.write_table(pa.table({"row": range(14), "w": owners}), tmp_path / "rows.parquet")
    world = engine_world.permitted(tmp_path / "replica")
    with world.followed():
        assert in_a_new_process(engine, tmp_path) == (EVERYBODY, EVERYBODY, 0)
        world.changed({name: customer(200, choices=opted_out(60)) for name in ("w1", "w2")})
        remaining = sorted(["w0", "w3"] * 3)
        assert in_a_new_process(engine, tmp_path) == (remaining, remaining, 6)
