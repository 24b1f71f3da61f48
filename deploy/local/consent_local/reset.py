"""`consent-local reset`: forget everything in a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from consent_local.account import INSIDE, outside_folder
from consent_local.children import ServerError
from consent_local.folder import DataFolder
from consent_local.services import end_leftovers

POSTGRES_SECONDS_MAX = 30.0


def reset(path: Path, agrees: Callable[[str], bool]) -> str:
    """Remove what consent-local made in the folder, if `agrees(question)`; what was done, in words.

    Raises ServerError if the folder is not consent-local's, is in use, or the answer was no.
    """
    folder = DataFolder.existing(path)
    try:
        if not agrees(f"Remove the ledger in {folder.path}, its keys and its logs, for ever?"):
            raise ServerError("nothing was removed")
        end_leftovers(folder.path)
        _await_end_of_postgres(outside_folder(folder.path) or folder.path / INSIDE)
        left = folder.remove()
    finally:
        folder.close()
    return f"removed; left in {folder.path}: {', '.join(left)}" if left else f"removed {folder.path}"


def _await_end_of_postgres(cluster: Path) -> None:
    """After a kill of `up` PostgreSQL ends by itself, but writes its last checkpoint first."""
    deadline = time.monotonic() + POSTGRES_SECONDS_MAX
    while any(_works_in(process, cluster) for process in Path("/proc").glob("[0-9]*")):
        if time.monotonic() > deadline:
            raise ServerError(f"PostgreSQL still runs in {cluster}; stop it first")
        time.sleep(0.05)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:  # it ended, or is somebody else's
        return False
