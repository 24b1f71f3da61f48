"""Every statement file holds one statement that PostgreSQL's own parser takes, and its header."""

from __future__ import annotations

import sys
from pathlib import Path

import pglast

REQUIRED = ("parameters:", "columns:", "errors:", "locks:")


def faults(path: Path) -> list[str]:
    """What is wrong with one file, in words; empty if nothing."""
    text = path.read_text()
    header = [line.removeprefix("-- ") for line in text.splitlines() if line.startswith("-- ")]
    found = []
    if not text.startswith("-- ") or header[0].startswith(REQUIRED):
        found.append("does not open with a comment that says what it does")
    found += [
        f"lacks the header line `-- {key}`" for key in REQUIRED if not any(h.startswith(key) for h in header)
    ]
    try:
        count = len(pglast.parse_sql(text))
    except pglast.parser.ParseError as error:
        return [*found, f"does not parse: {error}"]
    if count != 1:
        found.append(f"holds {count} statements instead of one")
    return found


def main() -> int:
    root = Path(__file__).resolve().parents[2]
    wrong = 0
    for path in sorted(root.glob("services/*/*/**/statements/*.sql")):
        for fault in faults(path):
            print(f"{path.relative_to(root)}: {fault}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
