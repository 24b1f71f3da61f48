"""`consent export`: a part of a log, or all of it, as files that stand alone.

Every file is verified against the checkpoint before it is written. All are written into `OUT.partial`
and renamed at the very end, so that OUT is whole or is not there. An export that was interrupted goes
on where it stopped: what is in `OUT.partial` is verified again instead of being fetched.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import NamedTuple

import msgspec
from consent_domain.checkpoints import Checkpoint, epoch_of
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.proofs import ProofInvalid
from consent_domain.tiles import ENTRIES, WIDTH, Tile, encode_entries, path

from consent_gate.audit.archives import is_archive
from consent_gate.audit.manifests import (
    FORMAT,
    KEYS,
    MANIFEST,
    README,
    Manifest,
    encode_manifest,
    tiles_in,
)
from consent_gate.audit.sources import CHECKPOINT, POLICIES, FolderSource, LogSource
from consent_gate.audit.trees import VerifiedTree
from consent_gate.audit.trust import Trust, newest_note
from consent_gate.audit.verify import Progress, texts_named
from consent_gate.checkpoints import Opened
from consent_gate.durable import sync_folder

PARTIAL = ".partial"
_NEW = ".new"
_PASSING = ("unavailable", "overloaded", "stale")


class Wanted(NamedTuple):
    """What to export: `first` to `last` (None: to the end of the checkpoint), with these texts, if named
    by an event. `origin` is the ledger's; `keys` are those that it says it has, told on nobody's word."""

    origin: str
    first: int = 1
    last: int | None = None
    texts: Sequence[bytes] = ()
    keys: Sequence[str] = ()
    witnesses: Sequence[str] = ()


class Exported(NamedTuple):
    """What was exported, and the SHA-256 of texts that its events name and that are not in it."""

    opened: Opened
    manifest: Manifest
    texts_missing: list[str]


def export(source: LogSource, trusted: Trust, wanted: Wanted, out: Path, progress: Progress) -> Exported:
    """Export into `out`: an archive if it is called so, else a folder.

    Raises ConsentError, and then `out` is not made: `already_exists` if it was there, `not_found` or
    `beyond_checkpoint` for positions that are not in the tree, ProofInvalid and Unreadable if the log
    does not prove what it serves.
    """
    require_absent(out)
    note = newest_note(source, trusted)
    opened = trusted.open(note)
    with _staging(out) as folder:
        resumes = any(folder.iterdir())
        try:
            exported = _into(folder, source, note, opened, wanted, progress)
        except (Unreadable, ProofInvalid):
            if not resumes:
                raise
            # What an interrupted export left may be wrong, and not the log.
            _empty(folder)
            exported = _into(folder, source, note, opened, wanted, progress)
        _finish(folder, out)
    return exported


def _into(
    folder: Path, source: LogSource, note: bytes, opened: Opened, wanted: Wanted, progress: Progress
) -> Exported:
    """Write all files of an export into a folder that may have some of them."""
    staged = _Staged(source, folder)
    try:
        tree = VerifiedTree(staged, opened.checkpoint)
        first, last = _range(tree, wanted)
        named = _fetch(tree, staged, first, last, progress)
        texts = _texts(staged, wanted.texts, named)
        manifest = _manifest(opened.checkpoint, wanted.origin, first, last)
        staged.write(CHECKPOINT, note)
        staged.write(KEYS, _keys(opened, wanted))
        staged.write(README, _readme(manifest))
        for digest, text in texts.items():
            staged.write(POLICIES + digest, text)
        manifest = msgspec.structs.replace(manifest, files=dict(staged.digests))
        staged.write(MANIFEST, encode_manifest(manifest))
        staged.remove_others()
    finally:
        staged.close()
    return Exported(opened, manifest, sorted(named - set(texts)))


def require_absent(out: Path) -> None:
    """Raise ConsentError unless `out` can be made."""
    if os.path.lexists(out):
        raise ConsentError("already_exists", f"{out} is there already; nothing is overwritten")
    if not out.parent.is_dir():
        raise ConsentError("invalid_value", f"the folder {out.parent} is not there; make it first")


def _range(tree: VerifiedTree, wanted: Wanted) -> tuple[int, int]:
    if tree.size == 0 and wanted.first == 1 and wanted.last is None:
        return 1, 0
    last = tree.size if wanted.last is None else wanted.last
    tree.require_position(wanted.first)
    tree.require_position(last)
    if wanted.first > last:
        raise ConsentError("invalid_value", f"an export from {wanted.first} to {last} has nothing in it")
    return wanted.first, last


def _fetch(tree: VerifiedTree, staged: _Staged, first: int, last: int, progress: Progress) -> set[str]:
    """Verify and write all tiles; the SHA-256 of the texts that the events name."""
    named: set[str] = set()
    for tile in tiles_in(first, last, tree.size):
        data = _bytes_of(tree, tile)
        staged.write(path(tile), data)
        if tile.level == ENTRIES:
            named |= texts_named(data) if b'"textSha256"' in data else set()
            progress(min((tile.index + 1) * WIDTH, last) - first + 1, last - first + 1)
    return named


def _texts(staged: _Staged, given: Sequence[bytes], named: set[str]) -> dict[str, bytes]:
    """The texts that events name: those given, and those that the log's ledger keeps."""
    texts = {sha256(text).hexdigest(): text for text in given}
    if strangers := sorted(set(texts) - named):
        raise ConsentError(
            "invalid_value",
            f"the text with SHA-256 {strangers[0]} is not named by any event that is exported",
        )
    for digest in sorted(named - set(texts)):
        try:
            text = staged.read(POLICIES + digest)
        except ConsentError as error:
            if error.code != "not_found":
                raise
            continue
        if sha256(text).hexdigest() != digest:
            raise ProofInvalid(f"the text that is kept under {digest} has another SHA-256")
        texts[digest] = text
    return texts


def _manifest(checkpoint: Checkpoint, origin: str, first: int, last: int) -> Manifest:
    epoch = epoch_of(origin, checkpoint.name)
    if epoch is None:
        raise Unreadable(f"the checkpoint is of {checkpoint.name!r}, which is no log of {origin!r}")
    return Manifest(
        format=FORMAT,
        origin=origin,
        epoch=epoch,
        log=checkpoint.name,
        size=checkpoint.size,
        first=first,
        last=last,
        files={},
    )


def _keys(opened: Opened, wanted: Wanted) -> bytes:
    """Which keys the log and its witnesses had: the one that was pinned, where one was."""
    told = {
        "log": opened.checkpoint.name,
        "verifierKeys": list(opened.signed_by) or list(wanted.keys),
        "witnessKeys": list(wanted.witnesses),
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"


def _readme(manifest: Manifest) -> bytes:
    text = files("consent_gate.audit").joinpath("export_readme.md").read_text(encoding="utf-8")
    named = {"first": manifest.first, "last": manifest.last, "log": manifest.log, "size": manifest.size}
    return Template(text).substitute(named).encode()


class _Staged:
    """A log of which some files are in a folder already. Use as a `LogSource`."""

    def __init__(self, source: LogSource, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._here = FolderSource(folder)
        self._there: set[str] = set()
        self.digests: dict[str, str] = {}

    def read(self, path: str) -> bytes:
        """As `LogSource.read`: from the folder if it is there."""
        try:
            data = self._here.read(path)
        except ConsentError:
            return self._source.read(path)
        self._there.add(path)
        return data

    def write(self, path: str, data: bytes) -> None:
        """Put a file into the folder, whole or not at all, unless it was read from there."""
        self.digests[path] = sha256(data).hexdigest()
        if path in self._there:
            return
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f"{target.name}{_NEW}")
        new.write_bytes(data)
        new.replace(target)

    def remove_others(self) -> None:
        """Remove what is not of this export: an interrupted one may have had other positions."""
        for name in [name for name in self._here.names() if name not in self.digests]:
            (self._folder / name).unlink()

    def close(self) -> None:
        """Give back what is open; the log itself stays open."""
        self._here.close()


def _bytes_of(tree: VerifiedTree, tile: Tile) -> bytes:
    if tile.level == ENTRIES:
        return encode_entries(tree.bundle(tile.index))
    return tree.hashes(tile.level, tile.index)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """The folder beside `out` in which the export is made, for one process at a time.

    It stays where the export could go on later: after an interruption, and when the log did not answer.
    """
    folder = out.with_name(out.name + PARTIAL)
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConsentError("already_exists", f"another process is exporting into {out}") from None
        try:
            yield folder
        except ConsentError as error:
            if error.code not in _PASSING:
                shutil.rmtree(folder)
            raise
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _finish(folder: Path, out: Path) -> None:
    """Rename the whole export to `out`, on the disk before it is called so."""
    if not is_archive(out.name):
        os.sync()  # one call for many thousand files
        require_absent(out)
        folder.rename(out)
    else:
        archive = folder.with_name(folder.name + ".archive")
        _pack(folder, archive, compressed=not out.name.endswith(".tar"))
        require_absent(out)
        archive.rename(out)
        shutil.rmtree(folder)
    sync_folder(out.parent)


def _pack(folder: Path, archive: Path, compressed: bool) -> None:
    """Pack the folder, the manifest first. Same files, same archive: owners and times are left out."""
    paths = sorted(file for file in folder.rglob("*") if file.is_file())
    paths.sort(key=lambda file: file.name != MANIFEST)
    with archive.open("wb") as file:
        with (
            gzip.GzipFile("", "wb", 6, file, mtime=0) if compressed else nullcontext(file) as target,
            tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as packed,
        ):
            for source in paths:
                member = tarfile.TarInfo(source.relative_to(folder).as_posix())
                member.size = source.stat().st_size
                with source.open("rb") as content:
                    packed.addfile(member, content)
        file.flush()
        os.fsync(file.fileno())
