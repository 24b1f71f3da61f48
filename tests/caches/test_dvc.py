"""What the how-to says of DVC: that it brings back old rows, and how it does not."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from how_to import HowTo

pytest.importorskip("dvc")
pytestmark = pytest.mark.timeout(600)


def reproduced(how_to: HowTo, pipeline: str) -> list[str]:
    """Whose rows are in the output."""
    how_to.write(pipeline, "dvc.yaml")
    how_to.run("dvc", "repro", "--quiet")
    return sorted(pq.read_table(how_to.folder / "training.parquet")["workspace_id"].to_pylist())


def test_given_the_key_as_a_dependency_when_two_withdrew_then_repro_drops_their_rows(tmp_path: Path) -> None:
    how_to = HowTo("keep-caches-honest.md", tmp_path)
    how_to.write("filter.py")
    how_to.write("consent.py")
    with how_to.world.followed():
        how_to.run("dvc", "init", "--quiet", "--no-scm")
        everybody = ["w1", "w1", "w2", "w2", "w3", "w3"]
        assert reproduced(how_to, "fails.yaml") == everybody
        how_to.withdraw("w2")
        assert reproduced(how_to, "fails.yaml") == everybody, "this is what must not happen to anybody"
        assert reproduced(how_to, "holds.yaml") == ["w1", "w1", "w3", "w3"]
        how_to.withdraw("w3")
        assert reproduced(how_to, "holds.yaml") == ["w1", "w1"]
        made = (how_to.folder / "training.parquet").stat().st_mtime_ns
        assert reproduced(how_to, "holds.yaml") == ["w1", "w1"]
        assert (how_to.folder / "training.parquet").stat().st_mtime_ns == made, "it is still a cache"
