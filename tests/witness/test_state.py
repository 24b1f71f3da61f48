"""The file in which a witness remembers: damage, other keys, races, deaths."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from consent_command import consent
from consent_domain.errors import ConsentError
from consent_gate import sqlite_files
from consent_gate.signatures import Cosigner
from consent_gate.witness import state
from consent_gate.witness.state import make, open_state
from witnessed import COSIGNER, LOG, SIGNER, Tree, climb, witness_on

HONEST = Tree()
NOW = 1_800_000_000


def refused(path: Path) -> str:
    with pytest.raises(ConsentError) as caught:
        open_state(path)
    return caught.value.code


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A state with two trees."""
    path = tmp_path / "state"
    witness = witness_on(path)
    for old, size in ((0, 3), (3, 7)):
        assert witness.add_checkpoint(HONEST.request(old, size), NOW).status == 200
    return path


# -- files ---------------------------------------------------------------------------------------------------


def test_given_no_state_then_it_is_not_made_anew(tmp_path: Path) -> None:
    assert refused(tmp_path / "state") == "not_found"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no database", bytes(4096)])
def test_given_another_file_then_it_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    assert refused(tmp_path / "state") == "damaged"


def test_given_a_state_cut_in_half_then_it_is_damaged(filled: Path) -> None:
    data = filled.read_bytes()
    filled.write_bytes(data[: len(data) // 2])
    assert refused(filled) == "damaged"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cosigned SET size = 9 WHERE size = 7",
        "UPDATE cosigned SET root = zeroblob(32) WHERE size = 7",
        "UPDATE cosigned SET log = 'other.example'",
        "UPDATE cosigned SET note = (SELECT note FROM cosigned WHERE size = 3) WHERE size = 7",
        "UPDATE cosigned SET note = x'00'",
        "UPDATE witness SET verifier_key = 'nobody'",
        "DELETE FROM witness",
        "DROP TABLE cosigned",
        "PRAGMA user_version = 2",
    ],
)
def test_given_a_state_that_somebody_edited_then_it_is_damaged(filled: Path, change: str) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute(change)
    connection.close()
    assert refused(filled) in ("damaged", "unavailable")


def test_given_a_state_whose_trees_another_key_cosigned_then_it_is_damaged(filled: Path) -> None:
    other = Cosigner(COSIGNER.verifier.name, b"o" * 32)
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE witness SET verifier_key = ?", (str(other.verifier),))
    connection.close()
    assert refused(filled) == "damaged"


def test_given_a_state_then_making_another_in_its_place_is_refused(filled: Path) -> None:
    before = filled.read_bytes()
    with pytest.raises(ConsentError, match="there already"):
        make(filled, COSIGNER.verifier)
    assert filled.read_bytes() == before
    assert [path.name for path in filled.parent.iterdir()] == ["state"], "nothing is left behind"


def test_given_more_trees_than_are_kept_then_the_newest_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "TREES_KEPT", 3)
    witness = witness_on(tmp_path / "state")
    for size in range(1, 8):
        assert witness.add_checkpoint(HONEST.request(size - 1, size), NOW).status == 200
    with sqlite3.connect(tmp_path / "state") as connection:
        assert connection.execute("SELECT size FROM cosigned").fetchall() == [(5,), (6,), (7,)]
    connection.close()


def test_given_somebody_who_holds_the_file_then_503_and_nothing_is_cosigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "BUSY_SECONDS_MAX", 0.05)
    witness = witness_on(tmp_path / "state")
    holder = sqlite3.connect(tmp_path / "state", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert witness.add_checkpoint(HONEST.request(0, 3), NOW).status == 503
    holder.execute("ROLLBACK")
    holder.close()
    assert witness.add_checkpoint(HONEST.request(0, 3), NOW).status == 200


# -- races ---------------------------------------------------------------------------------------------------


def _submit(path: Path, size: int, both: threading.Barrier, answers: dict[int, tuple[int, bytes]]) -> None:
    own = witness_on(path)
    both.wait(10)
    answer = own.add_checkpoint(HONEST.request(3, size), NOW)
    answers[size] = (answer.status, answer.body)


def test_given_the_race_of_the_specification_when_both_updates_come_at_once_then_no_leaf_is_rolled_back(
    tmp_path: Path,
) -> None:
    """Two requests from one old size, each as likely to be first: one wins, the other is told its size."""
    for attempt in range(15):
        path = tmp_path / f"state{attempt}"
        witness = witness_on(path)
        assert witness.add_checkpoint(HONEST.request(0, 3), NOW).status == 200
        both = threading.Barrier(2)
        answers: dict[int, tuple[int, bytes]] = {}

        threads = [threading.Thread(target=_submit, args=(path, size, both, answers)) for size in (7, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        (won,) = (size for size, (status, _) in answers.items() if status == 200)
        assert answers[16 - won] == (409, b"%d\n" % won)
        assert witness.sizes()[LOG] == won


def test_given_processes_that_share_a_state_then_the_sizes_that_each_is_answered_only_grow(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state"
    witness_on(path)
    spawn = multiprocessing.get_context("spawn")
    outs = [tmp_path / f"out{seed}" for seed in range(3)]
    climbers = [
        spawn.Process(target=climb, args=(str(path), seed, str(out))) for seed, out in enumerate(outs)
    ]
    for climber in climbers:
        climber.start()
    for climber in climbers:
        climber.join(60)
        assert climber.exitcode == 0
    sizes = [list(map(int, out.read_text().split())) for out in outs]
    assert all(one == sorted(one) for one in sizes)
    assert witness_on(path).sizes()[LOG] == max(max(one, default=0) for one in sizes)


# -- deaths --------------------------------------------------------------------------------------------------

DIES_BEFORE_ITS_ANSWER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from witnessed import Tree, witness_on
witness_on(Path(sys.argv[2])).add_checkpoint(Tree().request(3, 9), 1_800_000_000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_given_a_witness_that_dies_between_remembering_and_answering_then_the_log_catches_up(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state"
    assert witness_on(path).add_checkpoint(HONEST.request(0, 3), NOW).status == 200
    tests = str(Path(__file__).parents[1])
    died = subprocess.run(
        [sys.executable, "-c", DIES_BEFORE_ITS_ANSWER, tests, str(path)], capture_output=True, timeout=60
    )
    assert died.returncode == -9, died.stderr.decode()

    open_state(path)
    witness = witness_on(path)
    assert witness.add_checkpoint(HONEST.request(3, 9), NOW).body == b"9\n", "it tells what it remembers"
    assert witness.add_checkpoint(HONEST.request(9, 9), NOW).status == 200
    assert witness.add_checkpoint(Tree(forked_at=5).request(9, 9), NOW).status == 409


def test_given_a_transaction_that_fails_then_nothing_of_it_is_kept(filled: Path) -> None:
    opened, _ = open_state(filled)
    with pytest.raises(RuntimeError), opened.transaction() as transaction:
        transaction.keep(HONEST.checkpoint(9), b"note")
        raise RuntimeError
    assert witness_on(filled).sizes()[LOG] == 7


# -- keys ----------------------------------------------------------------------------------------------------


def test_given_no_key_then_keys_makes_it_with_its_state_and_prints_it_again(tmp_path: Path) -> None:
    key = str(tmp_path / "k")
    assert consent("witness", "keys", "--key-file", key).code == 2, "a new key needs a name"
    made = consent("witness", "keys", "--key-file", key, "--name", "w.example/1", "--json")
    assert made.code == 0
    assert made.told["verifierKey"].startswith("w.example/1+")
    assert [(path.name, path.stat().st_mode & 0o777) for path in sorted(tmp_path.iterdir())] == [
        ("k", 0o600),
        ("k.state", 0o600),
    ]
    assert consent("witness", "keys", "--key-file", key).out.strip() == made.told["verifierKey"]
    assert consent("witness", "keys", "--key-file", key, "--name", "w.example/2").code == 2


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda key: os.chmod(key, 0o640), "chmod 600"),
        (lambda key: key.write_bytes(b"short"), "32 bytes"),
        (lambda key: key.write_bytes(bytes(33)), "32 bytes"),
        (lambda key: key.write_bytes(bytes(32)), "another key"),
        (lambda key: key.unlink(), "cannot be read"),
        (lambda key: key.with_name("k.state").unlink(), "may cosign a fork"),
        (lambda key: key.with_name("k.state").write_bytes(b"x" * 4096), "damaged"),
    ],
)
def test_given_a_key_or_a_state_that_is_not_right_then_it_does_not_serve(
    tmp_path: Path, spoil: object, said: str
) -> None:
    key = tmp_path / "k"
    assert consent("witness", "keys", "--key-file", str(key), "--name", "w.example/1").code == 0
    assert callable(spoil)
    spoil(key)
    ran = consent("witness", "serve", "--key-file", str(key), "--log", str(SIGNER.verifier))
    assert (ran.code, said in ran.err) == (2, True), ran.err


def test_given_a_missing_key_whose_state_is_there_then_no_key_is_made_for_it(tmp_path: Path) -> None:
    key = tmp_path / "k"
    consent("witness", "keys", "--key-file", str(key), "--name", "w.example/1")
    key.unlink()
    assert consent("witness", "keys", "--key-file", str(key), "--name", "w.example/1").code == 2
    assert not key.exists()
