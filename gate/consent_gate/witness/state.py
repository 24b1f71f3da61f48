"""What a witness cosigned: one SQLite file, bound to one key.

1. Key and state are made together, once (`make`). A key whose state is missing must never start over
   with an empty one: it would cosign a fork of what it cosigned before.
2. Reading what was cosigned and writing what is cosigned now is one transaction that holds the lock for
   writing from its begin, and is on disk when it ends. So several processes may share a file.
3. A file that is damaged, another version's or another key's is refused (`open_state`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, parse_checkpoint
from consent_domain.errors import ConsentError
from consent_domain.notes import Note, parse_note

from consent_gate.signatures import CosignatureVerifier, WrongSignature
from consent_gate.sqlite_files import Connection, SqliteFile
from consent_gate.witness.rules import Tree

VERSION = 1
"""Of the file's layout, its `user_version`."""
TREES_KEPT = 4_096
"""Of a log: a fork is proven at once if it has one of these sizes."""
EVIDENCE_KEPT = 100
"""Of a log and a kind of alarm; the first ones tell most, and a stranger must not fill the disk."""

_WHAT = "the witness's state"
_STATEMENTS = Path(__file__).parent / "statements"
_TABLES = ("create_witness", "create_cosigned", "create_evidence")


class Cosigned(NamedTuple):
    """A tree that was cosigned, and the checkpoint with the signatures of log and witness."""

    tree: Tree
    note: bytes


class Evidence(NamedTuple):
    """An alarm: what the log signed (`submitted`, the whole request) beside what was cosigned before."""

    log: str
    alarm: str
    tree: Tree
    cosigned: bytes
    submitted: bytes
    at_seconds: int


class Trees:
    """What was cosigned, seen through an open file."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def latest(self, log: str) -> Cosigned | None:
        """The largest tree of a log that was cosigned."""
        return self._tree("latest_of_log", log)

    def of_size(self, log: str, size: int) -> Cosigned | None:
        """The tree of a log that was cosigned with this size, as far as it is kept."""
        return self._tree("cosigned_of_size", log, size)

    def logs(self) -> list[str]:
        """The logs of which anything was cosigned."""
        return [str(row[0]) for row in self._connection.run("logs")]

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Remember a checkpoint as cosigned. Only in a transaction."""
        name, size, root, _ = checkpoint
        self._connection.run("keep_cosigned", name, size, root, note)
        self._connection.run("forget_older", name, TREES_KEPT)

    def keep_evidence(self, evidence: Evidence) -> bool:
        """Keep an alarm; whether there was room for it, and it was not there yet. Only in a transaction."""
        log, alarm, tree, cosigned, submitted, at = evidence
        if self._connection.run("evidence_count", log, alarm).fetchone()[0] >= EVIDENCE_KEPT:
            return False
        kept = self._connection.run("keep_evidence", log, alarm, *tree, cosigned, submitted, at)
        return kept.rowcount == 1

    def evidence(self, rows_max: int) -> list[Evidence]:
        """The alarms, newest first."""
        return [
            Evidence(log, alarm, Tree(size, root), cosigned, submitted, at)
            for log, alarm, size, root, cosigned, submitted, at in self._connection.run("evidence", rows_max)
        ]

    def _tree(self, statement: str, *parameters: object) -> Cosigned | None:
        row = self._connection.run(statement, *parameters).fetchone()
        return None if row is None else Cosigned(Tree(row[0], row[1]), row[2])


class State:
    """The file. Threads and processes may share it."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, _WHAT, _STATEMENTS)

    @contextmanager
    def transaction(self) -> Iterator[Trees]:
        """To read and write at once. Raises as `SqliteFile.transaction`."""
        with self._file.transaction() as connection:
            yield Trees(connection)

    @contextmanager
    def reading(self) -> Iterator[Trees]:
        """To look only. Raises as `SqliteFile.reading`."""
        with self._file.reading() as connection:
            yield Trees(connection)


def make(path: Path, verifier: CosignatureVerifier) -> None:
    """Make the state of a new key. Raises as `SqliteFile.make`."""
    file = SqliteFile(path, _WHAT, _STATEMENTS)
    file.make(_TABLES, VERSION, lambda connection: connection.run("insert_witness", str(verifier)))


def open_state(path: Path) -> tuple[State, CosignatureVerifier]:
    """The state in a file that `make` made, read through, and the key whose it is.

    Raises ConsentError `not_found` if there is none, `damaged` if it cannot be what this program wrote.
    """
    if not path.is_file():
        raise ConsentError(
            "not_found",
            f"{_WHAT} {path} is missing. A witness that forgets what it cosigned may cosign a fork: "
            "put the file back, or make a new key, which the logs must then learn",
        )
    file = SqliteFile(path, _WHAT, _STATEMENTS)
    file.require_whole(VERSION)
    with file.reading() as connection:
        try:
            verifier = CosignatureVerifier.parse(connection.run("verifier_key").fetchone()[0])
            trees = Trees(connection)
            for log in trees.logs():
                latest = trees.latest(log)
                assert latest is not None, "the log has at least one row"
                _require_own(log, latest, verifier)
        except (ConsentError, TypeError, ValueError) as error:
            raise file.damaged(error) from error
    return State(path), verifier


def _require_own(log: str, cosigned: Cosigned, verifier: CosignatureVerifier) -> None:
    """Raise unless a row is what its note says, and this witness's key cosigned it."""
    note = parse_note(cosigned.note)
    checkpoint = parse_checkpoint(note.text)
    if (checkpoint.name, checkpoint.size, checkpoint.root) != (log, *cosigned.tree):
        raise ValueError(f"what it says of {log} is not what the checkpoint beside it says")
    _require_cosigned(note, verifier)


def _require_cosigned(note: Note, verifier: CosignatureVerifier) -> None:
    own = [one for one in note.signatures if (one.name, one.key_hash) == (verifier.name, verifier.key_hash)]
    if not own:
        raise WrongSignature(f"its key {verifier.name} did not cosign what is in it")
    for signature in own:
        verifier.verify(note.text, signature)
