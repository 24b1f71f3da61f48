"""Registering a run: its manifest is verified, kept, recorded, and signed."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
from consent_domain import manifest as manifests
from consent_domain.commands import RegisterRun
from consent_domain.errors import ConsentError
from consent_domain.manifest import MANIFEST_BYTES_MAX, SIGNED_CONTEXT, Manifest
from consent_gate.signatures import Signer
from consent_plumbing.postgres import Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.runs.checkpoints import require_checkpoint
from consent_ledger.runs.sets import MANIFEST_TYPE, SET_TYPE, claimed_set
from consent_ledger.runs.verification import verify

if TYPE_CHECKING:
    from consent_ledger.worker import Worker

VERIFYING_MAX = 1
"""Manifests verified at a time by one process: each may take a core for seconds."""
WAIT_SECONDS_MAX = 30.0


class Prepared(NamedTuple):
    """A manifest that is true: the command that records it, and its bytes' SHA-256."""

    command: RegisterRun
    digest: bytes


async def prepare(worker: Worker, manifest: Manifest, data: bytes, *, keep: bool) -> Prepared:
    """Verify a manifest and its set; if `keep`, keep both, so that the event's hashes lead to them.

    Raises ConsentError `manifest_refused`, and what is wrong with the manifest by itself; `overloaded`
    if others' are verified for too long.
    """
    manifests.check(manifest)
    encoded = manifests.encode(manifest)
    if len(encoded) > MANIFEST_BYTES_MAX:
        raise ConsentError("too_large", f"the manifest takes {len(encoded)} bytes of {MANIFEST_BYTES_MAX}")
    worker.halting.require_sound()
    try:
        await asyncio.wait_for(worker.verifying.acquire(), WAIT_SECONDS_MAX)
    except TimeoutError as error:
        raise ConsentError("overloaded", "other manifests are being verified; send it again") from error
    try:
        ordinals = await asyncio.to_thread(claimed_set, manifest, data)
        token = await verify(worker.pool, worker.books, manifest, ordinals)
        if manifest.checkpoint:
            await asyncio.to_thread(require_checkpoint, worker.log, manifest.checkpoint, token)
    finally:
        worker.verifying.release()
    digest = hashlib.sha256(encoded).digest()
    if keep:
        await _keep(worker.pool, digest, MANIFEST_TYPE, encoded)
        await _keep(worker.pool, bytes.fromhex(manifest.set_sha256), SET_TYPE, data)
    command = RegisterRun(
        run=manifest.run,
        purpose=manifest.purpose,
        manifest_sha256=digest.hex(),
        set_sha256=manifest.set_sha256,
        epoch=token.epoch,
        position=token.position,
        at=manifest.at,
        outputs=manifest.outputs,
        parents=manifest.parents,
        code=manifest.code,
    )
    return Prepared(command, digest)


def signature(signer: Signer, digest: bytes) -> bytes:
    """The ledger's signature of a manifest's SHA-256, 64 bytes, by the key that signs the feed."""
    return signer.sign(SIGNED_CONTEXT, digest)


async def _keep(pool: Pool, digest: bytes, media_type: str, content: bytes) -> None:
    async with acquire(pool) as connection:
        with suppress(asyncpg.UniqueViolationError):
            await connection.execute(STATEMENTS["insert_blob"], digest, media_type, content)
