"""What the how-to says of Prefect: that its input cache returns old rows, and how it does not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from how_to import HowTo

pytest.importorskip("prefect")
pytestmark = pytest.mark.timeout(900)

FLOWS = ["fails.py", "holds.py"]


def run(how_to: HowTo) -> list[list[str]]:
    """Whose rows the two flows got, in a process of their own, on one store of results."""
    options = {
        "PREFECT_HOME": str(how_to.folder / "home"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "200",
    }
    for flow in FLOWS:
        how_to.write(flow)
    both = f"import runpy; [runpy.run_path(flow) for flow in {FLOWS}]"
    said = how_to.run("python", "-c", both, **options).splitlines()[-2:]
    return [sorted(ast.literal_eval(line)) for line in said]


def test_given_the_key_as_an_input_when_two_withdrew_then_the_cache_has_no_rows_of_theirs(
    tmp_path: Path,
) -> None:
    how_to = HowTo("keep-caches-honest.md", tmp_path)
    with how_to.world.followed():
        everybody = ["w1", "w1", "w2", "w2", "w3", "w3"]
        assert run(how_to) == [everybody, everybody]
        how_to.withdraw("w2", "w3")
        assert run(how_to) == [everybody, ["w1", "w1"]], "the first is what must not happen to anybody"
