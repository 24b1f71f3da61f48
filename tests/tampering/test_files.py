"""What is published is changed, and what a witness remembers is rolled back.

The docstring of each test names a row of the table in docs/explanation/tampering.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from attacked import Honest, Place, kinds, until
from consent_domain.merkle import leaf_hash
from consent_domain.notes import encode_base64
from consent_domain.proofs import Leaves, consistency
from consent_domain.tiles import ENTRIES, Tile, path
from consent_gate.seeds import read_seed
from consent_gate.signatures import Signer
from http_service import ORIGIN, free_port
from recovering import kinds as found_by
from signed_logs import STRANGER, SignedLog
from witnessed import key_files, serving

SOME = 200
"""Events of an older tree."""


def stolen(place: Place) -> Signer:
    """The log's own key."""
    return Signer(ORIGIN, read_seed(place.host.key_file, "log key"))


def entries(place: Place) -> list[bytes]:
    """The events as they are stored."""
    return [one.body for one in place.she.ledger().events]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@contextmanager
def published(honest: Honest, note: bytes) -> Iterator[None]:
    """Another checkpoint stands where the newest one is published."""
    file = honest.place.folder / "log" / "1" / "checkpoint"
    good = file.read_bytes()
    with honest.publisher.paused():
        file.write_bytes(note)
        try:
            yield
        finally:
            file.write_bytes(good)


@pytest.mark.parametrize(("tile", "needs_it"), [(Tile(0, 0, 256), 255), (Tile(ENTRIES, 0, 256), 256)])
def test_given_a_changed_tile_when_anybody_reads_it_then_it_is_not_believed_and_it_is_made_again(
    honestly: Honest, tile: Tile, needs_it: int, tmp_path: Path
) -> None:
    """a tile is changed"""
    place = honestly.place
    file = place.folder / "log" / "1" / path(tile)
    good = file.read_bytes()
    with honestly.publisher.paused():
        file.write_bytes(flipped(good))
        assert kinds(place.look(tmp_path / "new", sample="0")) == {"broken"}
        assert place.get(f"/v1/events/{needs_it}/proof").status_code == 500
    until(lambda: file.read_bytes() == good, "the publisher makes it again")
    with honestly.publisher.paused():
        file.write_bytes(flipped(good))
        assert (place.fsck().tiles_repaired, file.read_bytes(), place.halt) == (1, good, None)


def test_given_a_checkpoint_of_another_key_when_anybody_reads_it_then_it_is_not_believed(
    honestly: Honest,
) -> None:
    """the checkpoint is replaced by one of another key"""
    place = honestly.place
    with published(honestly, SignedLog(entries(place), STRANGER).note):
        assert kinds(place.look(honestly.memory, sample="0")) == {"wrong_signature"}
        assert found_by(place.fsck()) == {"checkpoint_damaged"}
    assert place.halt is None


def test_given_an_older_checkpoint_when_a_monitor_or_a_witness_saw_a_newer_one_then_it_is_found(
    honestly: Honest, tmp_path: Path
) -> None:
    """an older checkpoint is shown"""
    place = honestly.place
    with published(honestly, SignedLog(entries(place)[:SOME], stolen(place)).note):
        assert "went_back" in kinds(place.look(honestly.memory, witnessed=False, sample="0"))
        assert "behind_witness" in kinds(place.look(tmp_path / "new", sample="0"))
        ran = place.look(tmp_path / "other", witnessed=False, sample="20")
        assert "unpublished" in kinds(ran), "it answers from what it does not show"


def test_given_a_witness_whose_state_is_rolled_back_when_it_runs_then_it_stops_and_when_restarted_it_forgot(
    honest: Honest, tmp_path: Path
) -> None:
    """the witness's state is rolled back"""
    place, port = honest.place, free_port()
    events, signer = entries(place), stolen(place)
    old, new = SignedLog(events[:SOME], signer), SignedLog(events, signer)
    fork = SignedLog([*events[:SOME], *reversed(events[SOME:])], signer)
    key = key_files(tmp_path)
    state = Path(f"{key}.state")

    def shown(old_size: int, log: SignedLog, note: bytes = b"") -> httpx.Response:
        proof = consistency(Leaves(list(map(leaf_hash, log.entries))), 0, old_size, len(log.entries))
        lines = [f"old {old_size}", *map(encode_base64, proof), "", ""]
        content = "\n".join(lines).encode() + (note or log.note)
        return httpx.post(f"http://127.0.0.1:{port}/add-checkpoint", content=content, timeout=20)

    with serving(key, port, "--log", place.log_key):
        assert shown(0, old).status_code == 200
        shutil.copy(state, tmp_path / "yesterday")
        cosigned = shown(SOME, new)
        assert cosigned.status_code == 200
        shutil.copy(tmp_path / "yesterday", state)
        stopped = shown(SOME, fork)
        assert (stopped.status_code, "rolled back" in stopped.text) == (500, True)
    with serving(key, port, "--log", place.log_key):
        known = shown(SOME, new, new.note + cosigned.content)
        assert (known.status_code, "rolled back" in known.text) == (500, True), "it knows its own cosignature"
        assert shown(SOME, fork).status_code == 200, "it forgot: never put back a witness's state"
