"""What the how-to says of dbt: that an incremental model keeps old rows, and how it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from how_to import HowTo

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("dbt")
pytestmark = pytest.mark.timeout(600)

PROJECT = """
name: training
version: "1.0"
profile: training
model-paths: [models]
macro-paths: [macros]
flags: {send_anonymous_usage_stats: false}
"""
PROFILES = "training: {target: dev, outputs: {dev: {type: duckdb, path: training.duckdb, threads: 1}}}"


def run(how_to: HowTo) -> tuple[list[str], list[str]]:
    """Whose rows are in the two models."""
    how_to.run("python", "permitted.py")
    how_to.run("dbt", "run", "--quiet", "--profiles-dir", ".")
    with duckdb.connect(how_to.folder / "training.duckdb") as connection:
        fails, holds = (
            sorted(row[0] for row in connection.table(name).select("workspace_id").fetchall())
            for name in ("fails", "holds")
        )
    return fails, holds


def test_given_the_hook_when_two_withdrew_then_an_incremental_model_drops_their_rows(tmp_path: Path) -> None:
    how_to = HowTo("keep-caches-honest.md", tmp_path)
    (how_to.folder / "dbt_project.yml").write_text(PROJECT)
    (how_to.folder / "profiles.yml").write_text(PROFILES)
    for name, to in (("fails.sql", "models"), ("holds.sql", "models"), ("macros.sql", "macros")):
        how_to.write(name, f"{to}/{name}")
    how_to.write("permitted.py")
    with how_to.world.followed():
        everybody = ["w1", "w1", "w2", "w2", "w3", "w3"]
        assert run(how_to) == (everybody, everybody)
        how_to.withdraw("w2", "w3")
        how_to.messages(range(9))
        assert run(how_to) == (sorted([*everybody, "w1"]), ["w1"] * 3), "the first must not happen to anybody"
        how_to.back("w3")
        assert run(how_to)[1] == ["w1"] * 3 + ["w3"] * 3
