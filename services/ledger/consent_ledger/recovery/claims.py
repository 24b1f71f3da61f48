"""What was ever signed of a ledger: by its signer's memory, and by the checkpoints at hand.

Each claim is compared with the events. Of an epoch that is over, the log goes on from a part of its tree;
a claim about more than that part is compared by the tiles of that epoch, if they are still there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, epoch_of
from consent_domain.errors import ConsentError
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust
from consent_gate.signatures import Verifier, WrongSignature

from consent_ledger.log.folder import CHECKPOINT, WITNESSED, LogFolder
from consent_ledger.log.keys import LogKeys, Rotation, load_seeds
from consent_ledger.log.signer import SignerState
from consent_ledger.recovery.examination import Begun
from consent_ledger.recovery.findings import BEHIND, CHECKPOINT_DAMAGED, FORKED, Findings
from consent_ledger.seams import Head
from consent_ledger.settings import LogKeySettings


class Claim(NamedTuple):
    """`where` says, in words, that the log of `epoch` had `size` events with this root."""

    where: str
    epoch: int
    size: int
    root: bytes
    tree: VerifiedTree | None = None
    """Its tiles, where they are not the published ones."""


def trust_of(settings: LogKeySettings, given: Sequence[str], rotations: Sequence[Rotation] = ()) -> Trust:
    """Trust in the keys that are given; else in the log's own, and in those that the ledger says it had.

    Raises ConsentError for a key that cannot be read, or if there is none.
    """
    if given:
        return Trust(tuple(Verifier.parse(text) for text in given))
    try:
        seeds = load_seeds(settings.log_key_path)
    except ConsentError as error:
        raise ConsentError(
            error.code, f"{error.detail}; or give the log's verifier key with --key"
        ) from error
    return Trust(tuple(LogKeys(settings.origin, seeds, rotations).verifiers(1)))


def claim_of(note: bytes, where: str, origin: str, trusted: Trust) -> Claim:
    """What a signed note claims. Raises ConsentError if no key signed it, or it is another log's."""
    checkpoint = trusted.open(note).checkpoint
    epoch = epoch_of(origin, checkpoint.name)
    if epoch is None:
        raise ConsentError("other_origin", f"it is of the log {checkpoint.name}, and not of {origin}")
    return Claim(where, epoch, checkpoint.size, checkpoint.root)


def claims_of_host(
    folder: LogFolder, state: SignerState, origin: str, trusted: Trust, findings: Findings
) -> list[Claim]:
    """The claims of the published checkpoints and of the signer's memory; damaged notes are findings.

    Raises ConsentError `unavailable` if the disk does not answer.
    """
    claims = []
    for epoch in folder.epochs():
        for path in (CHECKPOINT, WITNESSED):
            note = folder.note(epoch, path)
            if note is None:
                continue
            where = str(Path(str(epoch), path))
            try:
                claim = claim_of(note, f"the published {where}", origin, trusted)
            except (ConsentError, WrongSignature) as error:
                findings.add(
                    CHECKPOINT_DAMAGED, 0, f"the published {where} is no checkpoint of ours: {error}"
                )
                continue
            if claim.epoch == epoch:
                claims.append(claim)
            else:
                said = f"the published {where} is of epoch {claim.epoch}"
                findings.add(CHECKPOINT_DAMAGED, 0, said)
    for name in state.names():
        epoch_signed, last = epoch_of(origin, name), state.last(name)
        if epoch_signed is not None and last is not None and last.size:
            claims.append(Claim(f"the signer's memory of {name}", epoch_signed, last.size, last.root))
    return claims


def continued_from(claim: Claim, head: Head, begun: Sequence[Begun]) -> int:
    """How many events of the tree that a claim is about the ledger goes on from."""
    later = [one.size for one in begun if one.epoch > claim.epoch]
    return min(later[0] if later else head.position, claim.size)


def sizes_wanted(claims: Sequence[Claim], head: Head, begun: Sequence[Begun]) -> set[int]:
    """At which sizes the events' roots must be known to judge the claims."""
    return {continued_from(claim, head, begun) for claim in claims} | {
        claim.size for claim in claims if claim.size <= head.position
    }


def judge(
    claims: Sequence[Claim],
    head: Head,
    begun: Sequence[Begun],
    roots: Mapping[int, bytes],
    folder: LogFolder,
    findings: Findings,
) -> list[str]:
    """Compare all claims with the events' roots; what could not be compared, in words.

    BEHIND is found where more was signed than there is, in this epoch or a later one.
    """
    unproven = []
    for claim in claims:
        shared = continued_from(claim, head, begun)
        if shared == claim.size:
            if roots.get(shared) not in (None, claim.root):
                findings.add(FORKED, 0, f"{claim.where} says another root of the first {shared} events")
            continue
        if not any(one.epoch > claim.epoch for one in begun):
            findings.add(
                BEHIND, 0, f"{claim.where} says {claim.size} events, and the head is at {head.position}"
            )
        said = _compare_by_tiles(claim, shared, roots.get(shared), folder, findings)
        if said:
            unproven.append(said)
    return unproven


def _compare_by_tiles(
    claim: Claim, shared: int, root: bytes | None, folder: LogFolder, findings: Findings
) -> str:
    """Compare the part of a larger tree that the ledger holds; why that cannot be done, if it cannot."""
    if root is None:
        return ""
    try:
        tree = claim.tree or tree_in_folder(folder, claim)
        found = tree.root_of(shared)
    except (ConsentError, OSError) as error:
        detail = error.detail if isinstance(error, ConsentError) else str(error)
        return (
            f"{claim.where} says {claim.size} events, and that they began with the {shared} that the ledger "
            f"went on from cannot be proven by its tiles: {detail}"
        )
    if found != root:
        findings.add(FORKED, 0, f"the {claim.size} events of {claim.where} began with others than these")
    return ""


def tree_in_folder(folder: LogFolder, claim: Claim) -> VerifiedTree:
    """The published tree of a claim. Raises ConsentError if its tiles do not lead there; OSError."""
    source = FolderSource(folder.path / str(claim.epoch))
    return VerifiedTree(source, Checkpoint(f"epoch {claim.epoch}", claim.size, claim.root))
