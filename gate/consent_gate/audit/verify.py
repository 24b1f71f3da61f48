"""`consent verify`: what a proof, a checkpoint, an export or a live log proves, said in words.

Every function here returns what it checked, or raises: ProofInvalid, Unreadable and `malformed` for what
was checked and is wrong, with the file or the position; any other ConsentError for what could not be
checked. A tree is checked downwards from the signed root (see `trees`), so that nothing is computed from
what is not proven yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.instants import micros, rfc3339
from consent_domain.merkle import leaf_hash
from consent_domain.notes import encode_base64
from consent_domain.proofs import ProofInvalid, verify_inclusion
from consent_domain.tiles import ENTRIES, WIDTH
from consent_domain.tlog_proofs import parse_proof

from consent_gate.audit.manifests import (
    KEYS,
    Export,
    ListedSource,
    Manifest,
    read_manifest,
    require_about,
    require_files,
    tiles_in,
)
from consent_gate.audit.rules import Read, Rules
from consent_gate.audit.sources import CHECKPOINT, POLICIES, HttpSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust, in_words, newest_note, require_same_log, trust
from consent_gate.checkpoints import Opened
from consent_gate.signatures import Verifier

Progress = Callable[[int, int], None]
"""Told how many of how many events are done."""

_TEXTS = re.compile(rb'"textSha256":"([0-9a-f]{64})"')


@dataclass
class Report:
    """What was checked so far, a sentence each, and the same for programs."""

    what: str
    checked: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def say(self, *sentences: str, **facts: object) -> None:
        """Add sentences, and facts under their names for programs."""
        self.checked += sentences
        self.facts |= facts

    def opened(self, opened: Opened, trusted: Trust) -> None:
        """Add what is known of a checkpoint."""
        checkpoint = opened.checkpoint
        self.say(
            *in_words(opened),
            *_epoch(checkpoint, trusted),
            log=checkpoint.name,
            size=checkpoint.size,
            root=encode_base64(checkpoint.root),
            signedBy=list(opened.signed_by),
            cosignedBy=dict(opened.cosigned_by),
        )


def _epoch(checkpoint: Checkpoint, trusted: Trust) -> list[str]:
    if not trusted.keys or any(key.name == checkpoint.name for key in trusted.keys):
        return []
    return [
        f"A LATER EPOCH: {checkpoint.name} continues the log whose key is pinned; what that log had beyond "
        "the event log-continued is not in this one"
    ]


def verify_checkpoint(data: bytes, trusted: Trust, old: Checkpoint | None, report: Report) -> None:
    """Check a signed note alone: who signed it, and that it does not contradict an older one."""
    opened = trusted.open(data)
    report.opened(opened, trusted)
    _require_since_without_tree(old, opened.checkpoint, report)


def verify_proof(data: bytes, trusted: Trust, old: Checkpoint | None, report: Report) -> Read:
    """Check a `.tlog-proof` with the event in its `extra`; returns the event.

    The leaf is computed from these bytes, so that a proof with another event in it leads nowhere.
    """
    proof = parse_proof(data)
    opened = trusted.open(proof.checkpoint)
    report.opened(opened, trusted)
    if proof.extra is None:
        raise ProofInvalid("the proof has no `extra` line, so there is no event that it could prove")
    checkpoint, position = opened.checkpoint, proof.index + 1
    leaf = leaf_hash(proof.extra)
    verify_inclusion(leaf, proof.index, 0, checkpoint.size, proof.hashes, checkpoint.root)
    read = _readable(Rules(checkpoint.name).read(position, proof.extra))
    envelope = read.envelope
    report.say(
        f"event {position} is a leaf of that tree: {envelope.type} on {envelope.subject}, "
        f"recorded {rfc3339(micros(envelope.time))}",
        position=position,
        type=envelope.type,
        stream=envelope.subject,
    )
    _require_since_without_tree(old, checkpoint, report)
    return read


def verify_export(
    export: Export, trusted: Trust, old: Checkpoint | None, report: Report, progress: Progress
) -> VerifiedTree:
    """Check all of an export: every file, every hash, every event. About 5 µs an event.

    Its own `keys.json` is believed only if nobody pinned a key, and then the report says so.
    """
    manifest = read_manifest(export)
    require_files(manifest, export.names())
    listed = ListedSource(export, manifest)
    opened = _open_export(listed, trusted, report)
    require_about(manifest, opened.checkpoint)
    tree = VerifiedTree(listed, opened.checkpoint)
    named = _verify_tiles(tree, manifest.first, manifest.last, report, progress)
    _require_texts(listed, manifest, named, report)
    for path in sorted(listed.unread):
        listed.read(path)
    report.say(
        f"all {len(manifest.files):,} files are there, none is too much, and each has the SHA-256 "
        "that manifest.json gives",
        files=len(manifest.files),
    )
    require_since(tree, old, report)
    return tree


def verify_log(
    source: HttpSource, trusted: Trust, old: Checkpoint | None, report: Report, progress: Progress
) -> VerifiedTree:
    """Check a live log: all its tiles, and with an API key all its events."""
    opened = trusted.open(newest_note(source, trusted))
    report.opened(opened, trusted)
    size = opened.checkpoint.size
    try:
        tree = VerifiedTree(source, opened.checkpoint)
        _verify_tiles(tree, 1, size, report, progress, with_events=source.has_token)
    except ConsentError as error:
        if error.code != "not_found":
            raise
        raise ProofInvalid(f"the log is not whole: {error.detail}") from error
    require_since(tree, old, report)
    return tree


def require_since(tree: VerifiedTree, old: Checkpoint | None, report: Report) -> None:
    """Raise ProofInvalid unless the tree continues the one of an older checkpoint."""
    if old is None:
        return
    require_same_log(old, tree.checkpoint)
    try:
        root = tree.root_of(old.size)
    except ConsentError as error:
        if error.code != "not_found":
            raise
        raise ConsentError(
            "unavailable",
            f"the export does not hold the hashes that a tree of {old.size} events ends with; "
            "compare with the live log, or export from an earlier position",
        ) from error
    _require_root(old, root, report)


def _require_since_without_tree(old: Checkpoint | None, new: Checkpoint, report: Report) -> None:
    if old is None:
        return
    require_same_log(old, new)
    if old.size != new.size:
        raise ConsentError(
            "unavailable",
            f"whether {new.size} events continue the old {old.size} cannot be told from a checkpoint alone: "
            "verify the live log or an export with --since",
        )
    _require_root(old, new.root, report)


def _require_root(old: Checkpoint, root: bytes, report: Report) -> None:
    if root != old.root:
        raise ProofInvalid(
            f"THE LOG WAS REWRITTEN: its first {old.size} events do not have the root that "
            f"{old.name} signed in the old checkpoint"
        )
    report.say(
        f"it continues the old checkpoint: its first {old.size:,} events are those that were signed then",
        since=old.size,
    )


def _open_export(listed: ListedSource, trusted: Trust, report: Report) -> Opened:
    note = listed.read(CHECKPOINT)
    opened = trusted.open(note)
    report.opened(opened, trusted)
    if not trusted.keys:
        own = trust(_own_keys(listed.read(KEYS)), None)
        own.open(note)
        report.say(
            "the checkpoint is signed by a key that the export itself brings: "
            "anybody could have made such an export"
        )
    return opened


def _own_keys(data: bytes) -> list[Verifier]:
    try:
        written = msgspec.json.decode(data)["verifierKeys"]
        keys = [Verifier.parse(text) for text in written]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{KEYS} cannot be read: {error}") from error
    if not keys:
        raise Unreadable(f"{KEYS} has no key")
    return keys


def _verify_tiles(
    tree: VerifiedTree,
    first: int,
    last: int,
    report: Report,
    progress: Progress,
    with_events: bool = True,
) -> set[str]:
    """Check all tiles of an export, and the events; the SHA-256 of the texts that these name."""
    begin, end = (first - 1) // WIDTH * WIDTH + 1, min(-(-last // WIDTH) * WIDTH, tree.size)
    rules, named = Rules(tree.checkpoint.name), set[str]()
    for tile in tiles_in(first, last, tree.size):
        if tile.level != ENTRIES:
            tree.hashes(tile.level, tile.index)
        elif with_events:
            position = tile.index * WIDTH
            named |= _verify_events(rules, position + 1, tree.bundle(tile.index))
            progress(position + tile.width - begin + 1, end - begin + 1)
    report.say("every tile of hashes agrees with the one above it, up to the root that was signed")
    if not with_events:
        report.say("EVENTS WERE NOT CHECKED: without an API key the log shows hashes only", events=0)
    elif last:
        report.say(
            f"events {begin:,} to {end:,} are the leaves of that tree, each at its position",
            "each is a readable event of this ledger on its own stream, recorded after the one before it",
            events=end - begin + 1,
        )
        report.say(**{"from": begin, "to": end})
    return named


def _verify_events(rules: Rules, position: int, entries: Iterable[bytes]) -> set[str]:
    named: set[str] = set()
    for at, entry in enumerate(entries, position):
        _readable(rules.read(at, entry))
        if b'"textSha256"' in entry:
            named |= texts_named(entry)
    return named


def texts_named(entry: bytes) -> set[str]:
    """The SHA-256 of the texts, of policies and notices, that an event names."""
    return {found.decode() for found in _TEXTS.findall(entry)}


def _readable(read: Read) -> Read:
    if read.wrong:
        raise Unreadable(f"event {read.position}: {read.wrong}", position=read.position)
    return read


def _require_texts(listed: ListedSource, manifest: Manifest, named: set[str], report: Report) -> None:
    texts = [path for path in manifest.files if path.startswith(POLICIES)]
    for path in texts:
        digest = path.removeprefix(POLICIES)
        if sha256(listed.read(path)).hexdigest() != digest:
            raise ProofInvalid(f"{path} is not the text of which the events name the SHA-256")
        if digest not in named:
            raise ProofInvalid(f"{path} is a text that no exported event names")
    if texts:
        report.say(f"texts of policies and notices, each the one that an event names: {len(texts)}")
    if missing := named - {path.removeprefix(POLICIES) for path in texts}:
        report.say(f"texts that events name by SHA-256 and that are not in the export: {len(missing)}")
    report.say(texts=len(texts), textsMissing=sorted(missing))
