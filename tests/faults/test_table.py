"""The page about faults and the tests of faults say the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "faults-of-a-gate.md"
LINK = re.compile(r"\[(given [^\]]+)\]\(\.\./\.\./(tests/[^)]+)\)")


def sentences_of(path: Path) -> set[str]:
    found = re.findall(r"^(?:async )?def test_(\w+)\(", path.read_text(), re.MULTILINE)
    return {name.replace("_", " ") for name in found}


def test_every_row_of_the_page_names_tests_that_there_are() -> None:
    told = LINK.findall(PAGE.read_text())
    assert len(told) > 40
    assert [sentence for sentence, path in told if sentence not in sentences_of(ROOT / path)] == []


def test_every_test_of_a_fault_is_named_on_the_page() -> None:
    told = {sentence for sentence, _ in LINK.findall(PAGE.read_text())}
    here = Path(__file__)
    there = [path for path in sorted(here.parent.glob("test_*.py")) if path != here]
    assert [name for path in there for name in sorted(sentences_of(path)) if name not in told] == []
