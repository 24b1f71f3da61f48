"""The checkpoint that a manifest names: a promise of this very log, from after the token, that it keeps."""

from __future__ import annotations

from functools import partial

from consent_domain.checkpoints import log_name
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.identifiers import Token
from consent_domain.proofs import range_root
from consent_domain.tiles import TileHashes
from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import Verifier

from consent_ledger.log.folder import LogFolder


def require_checkpoint(folder: LogFolder, note: str, token: Token) -> None:
    """Raise ConsentError unless the signed note is a checkpoint of the token's log that covers the token.

    `manifest_refused` for one that is no checkpoint, of another log, not signed by it, from before the token,
    or with a root that the published log does not have; `beyond_checkpoint` for one that is newer than what
    is published here; `damaged` and `unavailable` as the folder says. Reads some files: call it in a thread.
    """
    published, keys = folder.checkpoint(token.epoch), folder.keys(token.epoch)
    if published is None or keys is None:
        raise ConsentError("beyond_checkpoint", "no checkpoint is published yet", size="0")
    try:
        claimed = open_checkpoint(note.encode(), [Verifier.parse(key) for key in keys.verifier_keys])
    except ConsentError as error:
        raise _refused(f"it does not stand: {error.detail}") from error
    name, size, root, _ = claimed.checkpoint
    if name != log_name(token.origin, token.epoch):
        raise _refused(f"it is of {name}, and the token of {log_name(token.origin, token.epoch)}")
    if size < token.position:
        raise _refused(f"it covers {size} events, and not {token}: take one from after the job began")
    if size > published.size:
        raise ConsentError(
            "beyond_checkpoint", f"this host has published {published.size} events", size=str(published.size)
        )
    try:
        ours = range_root(TileHashes(partial(folder.read_tile, token.epoch), published.size), 0, size)
    except Unreadable as error:
        raise ConsentError("damaged", "the published files cannot be read; run fsck") from error
    if ours != root:
        raise _refused(f"this log never had that root with {size} events")


def _refused(detail: str) -> ConsentError:
    return ConsentError("manifest_refused", f"checkpoint: {detail}")
