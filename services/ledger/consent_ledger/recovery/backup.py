"""`consent-ledger backup`: the schema `ledger` as of one instant, in a folder that is whole or not there.

What is not in it, on purpose: key files and the key store (a destroyed key must not come back with a
backup), the signer's memory (put back with the database it could not tell any more that something is
missing), the log's folder (made again from the events).
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
from consent_domain import merkle
from consent_domain.instants import rfc3339
from consent_gate.audit.export import require_absent
from consent_gate.durable import sync_folder
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import LogFolder
from consent_ledger.recovery.connecting import connected, head_of, require_origin
from consent_ledger.recovery.examination import Progress
from consent_ledger.recovery.tables import CHECKPOINTS, FORMAT, MANIFEST, TABLES, Made, Manifest, file_of
from consent_ledger.seams import Head
from consent_ledger.settings import BackupSettings


class BackedUp(NamedTuple):
    """What was written: how many bytes, and of which epochs there are checkpoints."""

    manifest: Manifest
    size: int
    epochs: list[int]


async def backup(settings: BackupSettings, out: Path, progress: Progress) -> BackedUp:
    """Write a backup into the new folder `out`, for its owner only, durable when this returns.

    Raises ConsentError `already_exists`, `other_origin`, `unavailable`; OSError and what asyncpg raises.
    Nothing is left of it then.
    """
    require_absent(out)
    with _staged(out) as folder:
        notes = _write_checkpoints(folder, LogFolder(settings.log_folder))
        async with connected(settings.database_url, "consent-ledger backup") as connection:
            await connection.execute(STATEMENTS["begin_snapshot"])
            head = await head_of(connection)
            require_origin(head, settings.origin)
            schema = [
                Made(row["name"], row["sha256"].hex())
                for row in await connection.fetch(STATEMENTS["schema_of_ledger"])
            ]
            files = notes | await _write_tables(connection, folder, progress)
        manifest = _manifest(head, schema, files)
        encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        with _File(folder / MANIFEST) as file:
            file.add(encoded)
    return BackedUp(manifest, _size(out), sorted(int(name.partition("/")[2]) for name in notes))


def _size(out: Path) -> int:
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _manifest(head: Head, schema: list[Made], files: dict[str, str]) -> Manifest:
    return Manifest(
        format=FORMAT,
        origin=head.origin,
        epoch=head.epoch,
        position=head.position,
        recorded_at=rfc3339(head.recorded_at),
        range=head.range,
        root=merkle.root(merkle.split(head.range)),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=schema,
        files=dict(sorted(files.items())),
    )


def _write_checkpoints(folder: Path, log: LogFolder) -> dict[str, str]:
    """The published checkpoints. They are read before the tables are, so that these hold what was signed."""
    (folder / CHECKPOINTS).mkdir(mode=0o700)
    written = {}
    for epoch in log.epochs():
        name = f"{CHECKPOINTS}/{epoch}"
        note = log.note(epoch)
        if note is not None:
            with _File(folder / name) as file:
                file.add(note)
            written[name] = file.digest
    return written


async def _write_tables(connection: Connection, folder: Path, progress: Progress) -> dict[str, str]:
    written = {}
    done = 0
    for table, columns in TABLES.items():
        with _File(folder / file_of(table)) as file:

            async def take(part: bytes, file: _File = file) -> None:
                nonlocal done
                file.add(part)
                done += len(part)
                progress(done, 0)

            await connection.copy_from_table(
                table, schema_name="ledger", columns=columns, output=take, format="binary"
            )
        written[file_of(table)] = file.digest
    return written


class _File:
    """A new file for its owner only, hashed while it is written, and durable at the end."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(self._descriptor, "wb")
        self._hash = sha256()

    def __enter__(self) -> _File:
        return self

    def add(self, part: bytes) -> None:
        """Append."""
        self._hash.update(part)
        self._file.write(part)

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._descriptor)


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name at the end; it goes if anything fails."""
    folder = out.with_name(f"{out.name}.{secrets.token_hex(4)}.partial")
    folder.mkdir(mode=0o700)
    try:
        yield folder
        for path in (folder / CHECKPOINTS, folder):
            sync_folder(path)
        require_absent(out)
        folder.rename(out)
        sync_folder(out.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
