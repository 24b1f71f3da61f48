"""What Hugging Face datasets cached of filtered data is not found by a new process after a withdrawal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import engine_world
import pytest
from engine_world import customer, opted_out

pytest.importorskip("datasets")

JOB = """
import json, sys
from pathlib import Path
import datasets
from consent_gate.gate import Gate
from consent_gate.replica import Replica

folder = Path(sys.argv[1])
data = datasets.load_dataset("json", data_files=str(folder / "rows.jsonl"), cache_dir=str(folder / "cache"))
gate = Gate(Replica.open(folder / "replica"), purpose="train", max_staleness=60)
calls = []


def tokens(row):
    calls.append(1)
    return {"tokens": row["text"].split()}


kept = gate.filter(data["train"], "w").data
mapped = kept.map(tokens)
also = kept.filter(lambda row: len(row["text"]) > 0)
print(json.dumps([sorted(mapped["w"]), sorted(also["w"]), len(calls), kept._fingerprint]))
"""


def run(folder: Path) -> tuple[list[str], list[str], int, str]:
    """The job in a process of its own, on the same cache."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(folder)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return found[0], found[1], found[2], found[3]


def test_given_a_cache_of_an_earlier_job_when_two_withdrew_then_their_rows_are_not_found_in_it(
    tmp_path: Path,
) -> None:
    rows = [{"w": f"w{number % 4}", "text": f"row {number}"} for number in range(12)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    world = engine_world.permitted(tmp_path / "replica")
    with world.followed():
        first = run(tmp_path)
        assert first[:3] == (["w0"] * 3 + ["w1"] * 3 + ["w2"] * 3 + ["w3"] * 3, first[0], 12)
        again = run(tmp_path)
        assert again[:2] == first[:2] and again[3] == first[3], "nothing was recorded: the same fingerprint"
        assert again[2] == 0, "so the cache is used"
        world.changed({name: customer(200, choices=opted_out(60)) for name in ("w1", "w2")})
        after = run(tmp_path)
    assert after[0] == after[1] == ["w0"] * 3 + ["w3"] * 3
    assert after[3] != first[3] and after[2] == 6
