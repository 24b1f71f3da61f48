"""The signer: it remembers what it signed, in a store of its own, and never signs against it.

1. What it remembers of a log is the largest tree it signed: size and root, durable before the
   signature leaves (compare and swap: of two signers that share the store one fails).
2. It signs a tree only if a consistency proof, verified here, leads from that one to it. A smaller
   tree, or another of the same size, is refused; whoever is refused halts the log.
3. A log of which it remembers nothing it does not sign: somebody must have begun it (`begin`), which
   makes the empty tree the one that was signed last. A new key begins its log; so does a new epoch
   that continues the older one.

The store is a file outside the database and its backups: restoring both to yesterday would let
yesterday be signed twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from consent_domain.checkpoints import Checkpoint, text
from consent_domain.errors import ConsentError
from consent_domain.instants import Micros
from consent_domain.merkle import EMPTY_ROOT
from consent_domain.notes import Note, format_note
from consent_domain.proofs import ProofInvalid, Subtree, consistency, verify_consistency
from consent_gate.signatures import Signer
from consent_plumbing.sql import Statements

STATEMENTS = Statements(Path(__file__).parent / "signer_statements")
BUSY_SECONDS_MAX = 5.0


class Signed(NamedTuple):
    """The largest tree of a log that was signed. Size 0: it was begun, and nothing was signed yet."""

    size: int
    root: bytes


NOTHING_SIGNED = Signed(0, EMPTY_ROOT)


class SigningRefused(Exception):
    """It would contradict what was signed before. `reason` is the word for the halt."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class SignerState:
    """The store. Every call opens the file anew and is durable when it returns: milliseconds."""

    def __init__(self, path: Path) -> None:
        """The file at `path`, made (mode 0600) by the first write."""
        self._path = path

    def last(self, name: str) -> Signed | None:
        """What was signed of a log; None if it was never begun. Raises ConsentError `unavailable`."""
        if not self._path.exists():
            return None
        with self._opened() as connection:
            row = connection.execute(STATEMENTS["signed_of_log"], (name,)).fetchone()
        return None if row is None else Signed(row[0], row[1])

    def names(self) -> list[str]:
        """The logs that were begun, in the order of it. Raises ConsentError `unavailable`."""
        if not self._path.exists():
            return []
        with self._opened() as connection:
            return [row[0] for row in connection.execute(STATEMENTS["all_logs"])]

    def begin(self, name: str, at: Micros = 0, signed: Signed = NOTHING_SIGNED) -> bool:
        """Let a log be signed, from `signed` on, unless it was begun; whether it is begun now.

        Only for a log whose key never signed, that continues another, or whose published checkpoint says
        what was signed.
        """
        with self._opened() as connection:
            return connection.execute(STATEMENTS["begin_log"], (name, *signed, at)).rowcount == 1

    def swap(self, name: str, expected: Signed, signed: Signed, at: Micros) -> None:
        """Replace what was signed, durable. Raises SigningRefused if it is not `expected` any more."""
        with self._opened() as connection:
            swapped = connection.execute(
                STATEMENTS["swap_signed"], (*signed, at, name, expected.size, expected.root)
            )
            if swapped.rowcount != 1:
                raise SigningRefused("forked", f"another signer signed {name} meanwhile: stop one of the two")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS_MAX, isolation_level=None)
            try:
                connection.execute(STATEMENTS["sync_every_commit"])
                connection.execute(STATEMENTS["create_signed"])
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise ConsentError("unavailable", f"the signer's state {self._path}: {error}") from error


def sign(
    state: SignerState, checkpoint: Checkpoint, subtree: Subtree, keys: Sequence[Signer], at: Micros
) -> bytes:
    """The signed note of a checkpoint that continues what was signed of its log before.

    `subtree` gives the new tree's hashes, for the proof: O(log n) of them. Every key signs, under the
    checkpoint's name. The same checkpoint may be signed again. Raises SigningRefused, ConsentError
    `unavailable`, and what `subtree` raises.
    """
    assert keys and all(key.verifier.name == checkpoint.name for key in keys), "keys are of this log"
    last = state.last(checkpoint.name)
    if last is None:
        raise SigningRefused("not_begun", f"the signer never heard of the log {checkpoint.name}")
    signed = Signed(checkpoint.size, checkpoint.root)
    if signed != last:
        require_continues(last, signed, subtree)
        state.swap(checkpoint.name, last, signed, at)
    content = text(checkpoint)
    return format_note(Note(content, tuple(key.sign_note(content) for key in keys)))


def require_continues(last: Signed, signed: Signed, subtree: Callable[[int, int], bytes]) -> None:
    """Raise SigningRefused unless the tree `signed` begins with the tree `last`."""
    if signed.size < last.size:
        raise SigningRefused(
            "smaller", f"{last.size} events were signed, and now there are {signed.size}: {RECOVER}"
        )
    try:
        proof = consistency(subtree, 0, last.size, signed.size)
        verify_consistency(0, last.size, signed.size, proof, last.root, signed.root)
    except ProofInvalid as error:
        raise SigningRefused(
            "forked",
            f"{last.size} events were signed, and the {signed.size} that there are now do not begin with "
            f"them ({error}): {RECOVER}",
        ) from error


RECOVER = (
    "the database was restored from a backup, or changed by somebody who must not; "
    "run `consent-ledger recover`, which takes back what tiles and exports still hold"
)
