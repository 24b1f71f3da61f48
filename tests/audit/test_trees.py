"""A verified tree believes nothing but what the root proves, whichever file was changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.proofs import Leaves, ProofInvalid, inclusion
from consent_domain.tiles import WIDTH, Tile, path
from consent_gate.audit.sources import FolderSource
from consent_gate.audit.trees import VerifiedTree
from signed_logs import SignedLog, lawful

SIZES = (1, 2, 255, 256, 257, 512, 700)


def tree_of(folder: Path, checkpoint: Checkpoint) -> VerifiedTree:
    return VerifiedTree(FolderSource(folder), checkpoint)


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    return lawful(max(SIZES))


def all_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "checkpoint")


@pytest.mark.parametrize("size", SIZES)
def test_any_changed_byte_of_any_file_is_found(tmp_path: Path, entries: list[bytes], size: int) -> None:
    log = SignedLog(entries[:size])
    folder = log.write(tmp_path / "log")
    for file in all_files(folder):
        whole = file.read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1}:
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises((ProofInvalid, Unreadable)):
                list(tree_of(folder, log.checkpoint).entries(1, size))
        file.write_bytes(whole[:-1])
        with pytest.raises((ProofInvalid, Unreadable)):
            list(tree_of(folder, log.checkpoint).entries(1, size))
        file.write_bytes(whole)
    assert [entry for _, entry in tree_of(folder, log.checkpoint).entries(1, size)] == entries[:size]


def test_a_changed_event_is_named_by_its_position(tmp_path: Path, log: SignedLog) -> None:
    folder = log.write(tmp_path / "log")
    bundle = folder / path(Tile(-1, 1, WIDTH))
    bundle.write_bytes(bundle.read_bytes().replace(log.entries[299], log.entries[299].replace(b"a", b"b", 1)))
    with pytest.raises(ProofInvalid, match="event 300 in tile/entries/001"):
        tree_of(folder, log.checkpoint).bundle(1)


def test_two_events_that_changed_places_are_found(tmp_path: Path, log: SignedLog) -> None:
    entries = list(log.entries)
    entries[9], entries[10] = entries[10], entries[9]
    folder = log.write(tmp_path / "log")
    other = SignedLog(entries).write(tmp_path / "other")
    bundle = path(Tile(-1, 0, WIDTH))
    (folder / bundle).write_bytes((other / bundle).read_bytes())
    with pytest.raises(ProofInvalid, match="event 10 "):
        tree_of(folder, log.checkpoint).bundle(0)


def test_tiles_of_a_forged_tree_that_agree_with_each_other_do_not_pass(
    tmp_path: Path, log: SignedLog
) -> None:
    forged = [*log.entries[:10], log.entries[10].replace(b"a", b"b", 1), *log.entries[11:]]
    folder = SignedLog(forged).write(tmp_path / "forged")
    with pytest.raises(ProofInvalid, match="do not lead to the root"):
        tree_of(folder, log.checkpoint)


def test_a_log_that_dropped_its_partial_tiles_is_read_from_the_full_ones(
    tmp_path: Path, entries: list[bytes]
) -> None:
    older = SignedLog(entries[:500])
    folder = older.write(tmp_path / "log")
    SignedLog(entries).write(folder, old_size=500)
    for level in ("0", "entries"):
        (folder / "tile" / level / "001.p" / "244").unlink()
    tree = tree_of(folder, older.checkpoint)
    assert [entry for _, entry in tree.entries(1, 500)] == entries[:500]


@pytest.mark.parametrize("size", SIZES)
def test_proofs_and_roots_are_those_of_the_tree(tmp_path: Path, entries: list[bytes], size: int) -> None:
    log = SignedLog(entries[:size])
    tree = tree_of(log.write(tmp_path / "log"), log.checkpoint)
    for position in {1, size // 2 + 1, size}:
        assert tree.inclusion(position) == inclusion(log.subtree, position - 1, 0, size)
    for older in {0, 1, size // 2, size}:
        assert tree.root_of(older) == SignedLog(entries[:older]).checkpoint.root


def test_an_empty_log_is_a_tree(tmp_path: Path) -> None:
    log = SignedLog([])
    tree = tree_of(log.write(tmp_path / "log"), log.checkpoint)
    assert (tree.size, tree.root_of(0)) == (0, log.checkpoint.root)
    with pytest.raises(ConsentError) as refused:
        list(tree.entries(1, 1))
    assert refused.value.code == "beyond_checkpoint"


@pytest.mark.parametrize(
    ("position", "code"), [(0, "not_found"), (-1, "not_found"), (601, "beyond_checkpoint")]
)
def test_a_position_that_is_not_there_is_refused(
    tmp_path: Path, log: SignedLog, position: int, code: str
) -> None:
    tree = tree_of(log.write(tmp_path / "log"), log.checkpoint)
    for ask in (tree.inclusion, lambda at: list(tree.entries(at, at))):
        with pytest.raises(ConsentError) as refused:
            ask(position)
        assert refused.value.code == code


def test_a_checkpoint_of_an_absurd_size_ends_at_once(tmp_path: Path, log: SignedLog) -> None:
    folder = log.write(tmp_path / "log")
    absurd = log.checkpoint._replace(size=(1 << 63) - 1)
    with pytest.raises(ConsentError):
        tree_of(folder, absurd)


def test_leaves_and_tiles_give_the_same_subtrees(tmp_path: Path, log: SignedLog) -> None:
    tree = tree_of(log.write(tmp_path / "log"), log.checkpoint)
    assert isinstance(log.subtree, Leaves)
    for level in range(10):
        for index in range(log.checkpoint.size >> level):
            assert tree.subtree(level, index) == log.subtree(level, index)
