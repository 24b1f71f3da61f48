"""A log that is submitted to witnesses, honest or forked, and a witness to submit it to."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from consent_domain import merkle
from consent_domain.checkpoints import Checkpoint, text
from consent_domain.notes import Note, NoteSignature, encode_base64, format_note
from consent_domain.proofs import Leaves, consistency, range_root
from consent_gate.signatures import Cosigner, Signer
from consent_gate.witness.state import State, make
from consent_gate.witness.witness import Witness

LOG = "ledger.example/log"
SIGNER = Signer(LOG, b"l" * 32)
COSIGNER = Cosigner("witness.example/w1", b"w" * 32)
PROGRAM = str(Path(sys.executable).with_name("consent"))


class Tree:
    """The tree of a log of which the leaves from `forked_at` on are others than the honest log's."""

    def __init__(self, leaves: int = 600, forked_at: int | None = None, name: str = LOG) -> None:
        self.name = name
        self._subtree = Leaves(
            [
                merkle.leaf_hash(b"%d%s" % (n, b"" if forked_at is None or n < forked_at else b"'"))
                for n in range(leaves)
            ]
        )

    def checkpoint(self, size: int, *extensions: str) -> Checkpoint:
        """What the log says of itself with its first `size` leaves."""
        return Checkpoint(self.name, size, range_root(self._subtree, 0, size), extensions)

    def note(
        self,
        size: int,
        *extensions: str,
        signers: Sequence[Signer] = (SIGNER,),
        others: Sequence[NoteSignature] = (),
    ) -> bytes:
        """The signed checkpoint."""
        signed = text(self.checkpoint(size, *extensions))
        return format_note(Note(signed, (*(signer.sign_note(signed) for signer in signers), *others)))

    def proof(self, old_size: int, size: int) -> list[str]:
        """The lines of the proof that the first `old_size` leaves are those of `size`."""
        return [encode_base64(one) for one in consistency(self._subtree, 0, old_size, size)]

    def request(
        self, old_size: int, size: int, proof: Sequence[str] | None = None, note: bytes | None = None
    ) -> bytes:
        """The body of `add-checkpoint`."""
        lines = [f"old {old_size}", *(self.proof(old_size, size) if proof is None else proof)]
        return "\n".join(lines).encode() + b"\n\n" + (self.note(size) if note is None else note)


def witness_on(path: Path) -> Witness:
    """A witness of the log whose state is at `path`, made if it is missing."""
    if not path.exists():
        make(path, COSIGNER.verifier)
    return Witness(COSIGNER, State(path), {LOG: [SIGNER.verifier]})


def climb(path: str, seed: int, out: str) -> None:
    """Submit ever larger trees as a log would that follows what the witness says; `out` gets the sizes that
    were cosigned. For processes of their own."""
    witness, chance, old = witness_on(Path(path)), random.Random(seed), 0
    tree, cosigned = Tree(), list[str]()
    for _ in range(25):
        size = old + chance.randint(0, 9)
        answer = witness.add_checkpoint(tree.request(old, size), 1_800_000_000)
        assert answer.status in (200, 409)
        old = size if answer.status == 200 else int(answer.body)
        cosigned += [str(size)] if answer.status == 200 else []
    Path(out).write_text(" ".join(cosigned))


def key_files(folder: Path, name: str = "witness.example/w1") -> Path:
    """A new key, with its state, made by the command; the key's file."""
    path = folder / "witness.key"
    words = [PROGRAM, "witness", "keys", "--key-file", str(path), "--name", name]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    return path


@contextmanager
def serving(key_file: Path, port: int, *listed: str) -> Iterator[subprocess.Popen[bytes]]:
    """`consent witness serve` as a process, once it answers; what it says goes to KEY_FILE.said.

    `listed` are the arguments that name its logs, by default the one of `SIGNER`.
    """
    words = [PROGRAM, "witness", "serve", "--key-file", str(key_file), "--port", str(port), "--json"]
    words += listed or ("--log", str(SIGNER.verifier))
    with Path(f"{key_file}.said").open("ab") as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 20
        while not _answers(port):
            assert process.poll() is None, Path(f"{key_file}.said").read_text()
            assert time.monotonic() < deadline, "the witness never answered"
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
