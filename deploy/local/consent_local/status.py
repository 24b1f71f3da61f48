"""`consent-local status`: what runs in a folder, seen from another process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from consent_local.folder import in_use
from consent_local.services import answers_ready


def status(folder: Path) -> dict[str, object]:
    """`running` (an `up` holds the folder), `ready` (the ledger answers so), where it is, its children.

    Made to be printed as JSON; without children and address if nothing runs.
    """
    folder = folder.absolute()
    if not in_use(folder):
        return {"dataDir": str(folder), "running": False, "ready": False, "url": None, "children": []}
    url = _read(folder / "credentials.json", {"url": None})["url"]
    return {
        "dataDir": str(folder),
        "running": True,
        "ready": url is not None and answers_ready(urlsplit(url).port or 80),
        "url": url,
        "children": _read(folder / "status.json", []),
    }


def in_words(found: dict[str, object]) -> str:
    """The same for people."""
    if not found["running"]:
        return f"nothing runs in {found['dataDir']}"
    lines = [f"{'ready' if found['ready'] else 'not ready'}: {found['url'] or 'starting'}"]
    children = found["children"]
    assert isinstance(children, list)
    for child in children:
        restarts = f", started again {child['restarts']} times" if child["restarts"] else ""
        lines.append(f"  {child['name']:<10} {child['state']:<9} {child['pid'] or '-'}{restarts}")
    return "\n".join(lines)


def _read(path: Path, absent: object) -> Any:
    return json.loads(path.read_text()) if path.exists() else absent
