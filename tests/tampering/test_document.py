"""The document has a row for every attack that is tested, by the first line of the test's docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parents[1] / "docs" / "explanation" / "tampering.md"


def attacks() -> set[str]:
    """What the tests of this folder attack."""
    found = set()
    for file in FOLDER.glob("test_*.py"):
        if file == Path(__file__):
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                said = ast.get_docstring(node)
                assert said, f"{node.name} names no attack"
                found.add(said.splitlines()[0])
    return found


def rows() -> list[str]:
    """The attacks in the document's tables."""
    tables = re.findall(r"^\| attack \|.*\n\|[-|]+\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE)
    return [row.split("|")[1].strip() for table in tables for row in table.splitlines()]


def test_given_the_document_then_each_attack_has_a_test_and_each_test_a_row() -> None:
    assert len(rows()) == len(set(rows()))
    assert set(rows()) == attacks()
