"""`consent filter` as a process of its own reads nothing from disk that a small file does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from consent_command import TRAIN, Stack

SECONDS_MAX = 100
THEN_TELL = """
import sys
from consent_gate.cli import main
code = main()
print(*sorted({"pandas", "polars", "duckdb", "pyarrow"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


def test_given_a_small_csv_when_filtered_then_no_engine_but_pyarrow_was_imported(
    stack: Stack, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("w,t\n" + f"{stack.on[0]},2024-06-01T00:00:00Z\n" * 1_000)
    words = [str(source), str(target), "--column", "w", "--collected-column", "t", "--purpose", TRAIN]
    done = subprocess.run(
        [sys.executable, "-c", THEN_TELL, "filter", *words],
        env=stack.settings(CONSENT_REPLICA=str(tmp_path / "replica")),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    assert target.read_text() == source.read_text()
    assert done.stderr.splitlines()[-1] == "pyarrow"
