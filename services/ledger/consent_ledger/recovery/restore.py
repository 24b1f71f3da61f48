"""`consent-ledger restore`: a backup into an empty, migrated database, checked before any of it counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import asyncpg
import msgspec
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.instants import moment_of, parse_rfc3339
from consent_domain.proofs import ProofInvalid
from consent_plumbing.postgres import Connection

from consent_ledger.database import STATEMENTS
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.signer import SignerState
from consent_ledger.recovery.claims import Claim, claim_of, claims_of_host, judge, sizes_wanted, trust_of
from consent_ledger.recovery.connecting import connected, head_of, require_origin
from consent_ledger.recovery.examination import Begun, Examination, Progress
from consent_ledger.recovery.findings import BEHIND, CHECKPOINT_DAMAGED, Findings
from consent_ledger.recovery.fsck import RESTORED, history_of
from consent_ledger.recovery.importing import require_empty
from consent_ledger.recovery.tables import (
    BYTES_A_READ,
    CHECKPOINTS,
    FORMAT,
    MANIFEST,
    TABLES,
    Made,
    Manifest,
    file_of,
)
from consent_ledger.settings import LogKeySettings


class Restored(NamedTuple):
    """What was put back. `claims` are those that it was compared with."""

    manifest: Manifest
    claims: list[Claim]


async def restore(settings: LogKeySettings, source: Path, keys: list[str], progress: Progress) -> Restored:
    """Put a backup back; all of it, or nothing. The log is halted then, until `recover` has been run.

    Raises ConsentError: ProofInvalid and Unreadable for a backup that is damaged, of a fork, or does not
    fit its checkpoints; `wrong_state` for a database that is not empty or has another schema. Also OSError
    and what asyncpg raises.
    """
    manifest = read_backup(source)
    async with connected(settings.database_url, "consent-ledger restore") as connection:
        await _require_schema(connection, manifest.schema)
        try:
            async with connection.transaction():
                head = await head_of(connection, "lock_head")
                require_origin(head, settings.origin)
                if manifest.origin != settings.origin:
                    raise ConsentError(
                        "other_origin",
                        f"the backup is of {manifest.origin!r}, and CONSENT_ORIGIN names {settings.origin!r}",
                    )
                await require_empty(connection)
                await _fill(connection, source, manifest)
                claims = await _examine(connection, settings, source, manifest, keys, progress)
                LogFolder(settings.log_folder).halt_anew(
                    RESTORED,
                    f"a backup was put back that ends at {manifest.position}: run `consent-ledger recover`",
                )
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise Unreadable(f"the database refuses what is in the backup: {error}") from error
    return Restored(manifest, claims)


def read_backup(source: Path) -> Manifest:
    """The manifest of a backup all of whose files are as they were written.

    Raises ProofInvalid and Unreadable.
    """
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise Unreadable(f"{source} is no backup: it has no {MANIFEST}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"{source / MANIFEST} cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise Unreadable(f"the backup has format {manifest.format}, and this program reads {FORMAT}")
    known = {file_of(table) for table in TABLES} | {
        name for name in manifest.files if _epoch_of_file(name) is not None
    }
    if set(manifest.files) != known:
        strange = sorted(set(manifest.files) ^ known)
        raise ProofInvalid(f"{strange[0][:100]!r} is missing in {MANIFEST}, or does not belong there")
    for name, digest in manifest.files.items():
        if _digest(source / name) != digest:
            raise ProofInvalid(f"{name} was changed: its SHA-256 is not the one in {MANIFEST}")
    return manifest


def _epoch_of_file(name: str) -> int | None:
    folder, _, epoch = name.partition("/")
    plain = folder == CHECKPOINTS and epoch.isascii() and epoch.isdigit() and len(epoch) <= 10
    return int(epoch) if plain else None


def _digest(path: Path) -> str:
    found = sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(BYTES_A_READ):
                found.update(part)
    except FileNotFoundError as error:
        raise ProofInvalid(f"{path.name} is missing in the backup") from error
    return found.hexdigest()


async def _require_schema(connection: Connection, schema: list[Made]) -> None:
    try:
        rows = await connection.fetch(STATEMENTS["schema_of_ledger"])
    except asyncpg.UndefinedTableError as error:
        raise ConsentError("wrong_state", "run `consent-ledger migrate` first") from error
    if [Made(row["name"], row["sha256"].hex()) for row in rows] != schema:
        raise ConsentError(
            "wrong_state",
            "the backup was made of another schema: restore it with the version that made it, then migrate",
        )


async def _fill(connection: Connection, source: Path, manifest: Manifest) -> None:
    for table, columns in TABLES.items():
        await connection.copy_to_table(
            table,
            schema_name="ledger",
            columns=columns,
            source=_parts(source / file_of(table)),
            format="binary",
        )
    await connection.execute(STATEMENTS["number_unsealings_on"])
    moved = await connection.fetchval(
        STATEMENTS["refill_head"],
        0,
        manifest.origin,
        manifest.epoch,
        manifest.position,
        moment_of(parse_rfc3339(manifest.recorded_at)),
        manifest.range,
    )
    if moved is None:
        raise ProofInvalid(f"the backup does not hold the event at {manifest.position} that it ends with")


async def _parts(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(BYTES_A_READ):
            yield part


async def _examine(
    connection: Connection,
    settings: LogKeySettings,
    source: Path,
    manifest: Manifest,
    keys: list[str],
    progress: Progress,
) -> list[Claim]:
    """Everything that `fsck` examines, against what the backup and this host say was signed.

    That more was signed than the backup holds is what backups are like.
    """
    findings, folder = Findings(), LogFolder(settings.log_folder)
    head = await head_of(connection)
    history = await history_of(connection, findings)
    trusted = trust_of(settings, keys, history.rotations)
    claims = claims_of_host(
        folder, SignerState(Path(settings.signer_state_file)), head.origin, trusted, findings
    )
    for name in manifest.files:
        if _epoch_of_file(name) is not None:
            where = f"the backup's {name}"
            try:
                claims.append(claim_of((source / name).read_bytes(), where, head.origin, trusted))
            except ConsentError as error:
                raise ProofInvalid(f"{where} is no checkpoint of this log: {error.detail}") from error
    begun = [Begun(one.epoch, int(one.size)) for one in history.continued]
    examination = Examination(head, sizes_wanted(claims, head, begun), (), findings)
    await examination.run(connection, progress)
    judge(claims, head, examination.begun, examination.roots, folder, findings)
    grave = [one for one in findings.told if one.kind not in (BEHIND, CHECKPOINT_DAMAGED)]
    if grave:
        raise ProofInvalid(
            f"the backup is not what was signed, and nothing was put back: {grave[0].detail}",
            findings=[msgspec.to_builtins(one) for one in grave],
        )
    return claims
