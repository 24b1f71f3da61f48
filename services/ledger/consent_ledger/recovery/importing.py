"""`consent-ledger import`: a ledger put back from an export that stands alone.

An export holds the events and the texts that they name, and nothing else: API keys, Idempotency-Keys, the
record of looks at sealed fields and the key store are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import asyncpg
from consent_domain.errors import ConsentError
from consent_domain.proofs import ProofInvalid
from consent_gate.audit.archives import TarSource, is_archive
from consent_gate.audit.manifests import (
    Export,
    ListedSource,
    Manifest,
    read_manifest,
    require_about,
    require_files,
)
from consent_gate.audit.sources import CHECKPOINT, POLICIES, FolderSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust
from consent_gate.signatures import Verifier
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.growth import Growth
from consent_ledger.recovery.connecting import connected, head_of, require_origin
from consent_ledger.recovery.examination import Progress
from consent_ledger.recovery.fsck import RESTORED
from consent_ledger.recovery.insertion import Insertion, refused
from consent_ledger.settings import LogKeySettings

RUN_BUNDLES = 8
TEXT = "text/plain; charset=utf-8"


class OpenedExport(NamedTuple):
    """An export whose files are all there and whose checkpoint a pinned key signed."""

    manifest: Manifest
    listed: ListedSource
    tree: VerifiedTree


class Imported(NamedTuple):
    """What was put in, up to which position, in which epoch."""

    manifest: Manifest
    position: int
    epoch: int
    texts: int


def open_export(path: Path, trusted: Trust) -> OpenedExport:
    """An export in a folder or archive, its events yet to be read. Raises ConsentError, OSError."""
    export: Export = TarSource(path) if is_archive(path.name) else FolderSource(path)
    manifest = read_manifest(export)
    require_files(manifest, export.names())
    listed = ListedSource(export, manifest)
    opened = trusted.open(listed.read(CHECKPOINT))
    require_about(manifest, opened.checkpoint)
    return OpenedExport(manifest, listed, VerifiedTree(listed, opened.checkpoint))


async def import_export(
    settings: LogKeySettings, path: Path, keys: Sequence[str], progress: Progress
) -> Imported:
    """Put the ledger of an export into an empty, migrated database; all of it, or nothing.

    The log is halted then, until `recover` and `fsck` have been run. Raises ConsentError for an export that
    does not prove itself or does not begin at 1, and `wrong_state` for a database that is not empty.
    """
    opened = open_export(path, Trust(tuple(Verifier.parse(key) for key in keys)))
    try:
        if opened.manifest.origin != settings.origin:
            raise ConsentError(
                "other_origin",
                f"the export is of {opened.manifest.origin!r}, and CONSENT_ORIGIN names {settings.origin!r}",
            )
        if opened.manifest.first > 1:
            raise ConsentError(
                "invalid_value",
                f"the export begins at event {opened.manifest.first}: a ledger is put back from the first on",
            )
        async with connected(settings.database_url, "consent-ledger import") as connection:
            return await _import(connection, settings, opened, progress)
    except asyncpg.IntegrityConstraintViolationError as error:
        raise refused(error) from error
    finally:
        opened.listed.close()


async def _import(
    connection: Connection, settings: LogKeySettings, opened: OpenedExport, progress: Progress
) -> Imported:
    async with connection.transaction():
        head = await head_of(connection, "lock_head")
        require_origin(head, settings.origin)
        await require_empty(connection)
        insertion = Insertion(connection, head, settings.origin, Growth())
        last = opened.manifest.last
        run: list[bytes] = []
        for begin, entries in opened.tree.bundles(1, last) if last else ():
            run += entries
            if begin // 256 % RUN_BUNDLES == RUN_BUNDLES - 1:
                await insertion.add(run)
                run = []
                progress(insertion.position, last)
        await insertion.add(run)
        if insertion.epoch != opened.manifest.epoch:
            raise ProofInvalid(
                f"the export is of epoch {opened.manifest.epoch}, and its events say {insertion.epoch}"
            )
        texts = await _insert_texts(connection, opened)
        for path in sorted(opened.listed.unread):
            opened.listed.read(path)
        await insertion.finish()
        LogFolder(settings.log_folder).halt_anew(
            RESTORED, f"the ledger was imported up to {last}: run `consent-ledger recover`"
        )
    return Imported(opened.manifest, insertion.position, insertion.epoch, texts)


async def require_empty(connection: Connection) -> None:
    """Raise ConsentError `wrong_state` if the ledger's tables hold anything."""
    filled = [row["name"] for row in await connection.fetch(STATEMENTS["filled_tables"])]
    if filled:
        raise ConsentError(
            "wrong_state",
            f"the database is not empty ({', '.join(filled)}): a ledger is put back into one that "
            "`consent-ledger migrate` has just made",
        )


async def _insert_texts(connection: Connection, opened: OpenedExport) -> int:
    paths = sorted(path for path in opened.manifest.files if path.startswith(POLICIES))
    for path in paths:
        text = opened.listed.read(path)
        digest = sha256(text).digest()
        if digest.hex() != path.removeprefix(POLICIES):
            raise ProofInvalid(f"{path} is not the text of which it has the SHA-256 as its name")
        await connection.execute(STATEMENTS["insert_blob"], digest, TEXT, text)
    return len(paths)
