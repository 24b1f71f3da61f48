"""SQL statements from `.sql` files, one a file, found by the file's name.

A file opens with comments: a sentence that says what it does, then `parameters:`, `columns:`,
`errors:` and `locks:`. A test prepares every statement and compares it with its header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ENTRY = re.compile(r"--\s*(parameters|columns|errors|locks):\s*(.*)")
_ENTRIES = ("parameters", "columns", "errors", "locks")


class Header(NamedTuple):
    """What a statement's file says of it. "none" where there is nothing to say."""

    doc: str
    parameters: str
    columns: str
    errors: str
    locks: str


class Statements:
    """The statements of a folder, read once. `statements["append"]` is the text of `append.sql`."""

    def __init__(self, folder: Path) -> None:
        """Read every `.sql` file of `folder`. Raises ValueError for a bad header or an empty folder."""
        self.folder = folder
        self.headers: dict[str, Header] = {}
        self._texts: dict[str, str] = {}
        for path in sorted(folder.glob("*.sql")):
            text = path.read_text(encoding="utf-8")
            self.headers[path.stem] = parse_header(text, path.name)
            self._texts[path.stem] = _without_header(text)
        if not self._texts:
            raise ValueError(f"no .sql files in {folder}: were they left out of the package?")

    def __getitem__(self, name: str) -> str:
        """The text of a statement. Raises KeyError, with the names that exist."""
        try:
            return self._texts[name]
        except KeyError:
            known = ", ".join(self._texts)
            raise KeyError(f"no statement {name}.sql in {self.folder}; there are: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def parse_header(text: str, file_name: str) -> Header:
    """The header of a file's text. Raises ValueError naming the file and the entry that is missing."""
    doc: list[str] = []
    entries: dict[str, list[str]] = {}
    current = doc
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if match := _ENTRY.match(line):
            current = entries.setdefault(match[1], [])
            line = match[2]
        current.append(line.removeprefix("--").strip())
    missing = [entry for entry in _ENTRIES if entry not in entries]
    if missing or not doc:
        raise ValueError(f"{file_name}: the header lacks {', '.join(missing) or 'a sentence'}")
    return Header(" ".join(doc), *(" ".join(entries[entry]) for entry in _ENTRIES))


def _without_header(text: str) -> str:
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if not line.startswith("--"))
    return "\n".join(lines[first:]).strip()
