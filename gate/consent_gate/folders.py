"""Whose word a replica is: whoever can write into its folder decides what is permitted.

So a folder is believed only if nobody but this user, and root, could have written into it. The
same is asked of what lies in it when that is opened: what another user put there, or a link that
leads elsewhere, is nobody's word.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from consent_domain.errors import ConsentError

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where this user's gates keep their replicas unless they are told where."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "consent-gate"


def make_private(folder: Path) -> None:
    """Make `folder` if it is not there, for this user alone.

    Raises ConsentError `unsafe_folder` if others may write into it, `unavailable` if it cannot be made.
    """
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise ConsentError(
            "unavailable",
            f"the replica's folder {folder} cannot be made ({error.strerror}): mend that, or name another",
        ) from error
    link = os.lstat(folder)
    if stat.S_ISLNK(link.st_mode):
        _require_owner(folder, link)
    require_private(folder, os.stat(folder))


def require_private(path: Path, found: os.stat_result | None = None) -> None:
    """Raises ConsentError `unsafe_folder` if another user could have written it, OSError if it is not there.

    `found` is what is at `path`; without it, a link is not followed but refused.
    """
    if found is None:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise ConsentError("unsafe_folder", f"{path} is a link; remove it, and it is made anew")
    _require_owner(path, found)
    if found.st_mode & _OTHERS_WRITE:
        raise ConsentError(
            "unsafe_folder",
            f"others may write into {path} (mode {stat.S_IMODE(found.st_mode):o}), and so decide what is "
            "permitted: chmod go-w it, or name a folder below it that is not there yet",
        )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that this user alone may read, in place of what is there. Raises OSError."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE_FILE)
    with open(opened, "wb") as file:
        file.write(content)


def _require_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise ConsentError(
            "unsafe_folder",
            f"{path} belongs to user {found.st_uid}, and this process is user {os.geteuid()}: "
            "name a folder of its own",
        )
