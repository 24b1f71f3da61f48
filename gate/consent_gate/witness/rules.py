"""The rules of a witness (C2SP tlog-witness), in the order in which they are asked.

    old 20852014
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=

    example.com/log
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.com/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe…

1. The request reads as above, with at most 63 lines of proof: else 400.
2. The log is known by its name: else 404.
3. A key that is known for it signed the checkpoint, and no known key's signature is wrong: else 403.
4. The old size is no larger than the new one: else 400.
5. It is the size of the largest tree that this witness cosigned of that log, 0 for none: else 409, with
   that size as `text/x.tlog.size`.
6. Where both sizes are one, so are both roots: else 409, without a size.
7. The proof leads from the old tree to the new one, empty where the old one is: else 422.
8. Then 200: the tree is remembered, and only after that the cosignature is answered.

What does not pass, and was signed by the log, is an *alarm* if it may show that the log or this witness
went wrong:

- `fork`: this witness cosigned another root of the same size. That is proof, whatever was answered.
- `inconsistent`: the proof leads nowhere. Anybody can send a bad proof with a good checkpoint, so this
  is only a reason to look.
- `rolled_back`: the checkpoint bears a cosignature of this very witness, and it does not remember it:
  its state is older than what it signed. Nothing of that log is cosigned then: 500.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from consent_domain.checkpoints import Checkpoint, parse_checkpoint, parse_number
from consent_domain.errors import ConsentError
from consent_domain.merkle import EMPTY_ROOT, HASH_BYTES
from consent_domain.notes import Note, decode_base64, parse_note
from consent_domain.proofs import ProofInvalid, verify_consistency

from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import CosignatureVerifier, Verifier, WrongSignature

BODY_BYTES_MAX = 64 * 1024
PROOF_LINES_MAX = 63

FORK = "fork"
INCONSISTENT = "inconsistent"
ROLLED_BACK = "rolled_back"


class Rejection(Exception):
    """A request that is answered `status` whatever was cosigned before."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Request(NamedTuple):
    """What a request says; nothing of it is verified."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes


class Submission(NamedTuple):
    """A request whose checkpoint its log signed. `note` has the signatures of known keys only; `is_own`
    says that this witness cosigned the checkpoint before."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: Note
    is_own: bool


class Tree(NamedTuple):
    """A tree that this witness cosigned."""

    size: int
    root: bytes


NO_TREE = Tree(0, EMPTY_ROOT)
"""What was cosigned of a log before the first time."""


class Verdict(NamedTuple):
    """`status` 200: remember and cosign. `size` is what a 409 tells; `alarm` a word from above, or empty."""

    status: int
    detail: str
    size: int | None = None
    alarm: str = ""


def parse_request(body: bytes) -> Request:
    """The request in the body of `add-checkpoint`. Raises Rejection 400."""
    head, blank, note = body.partition(b"\n\n")
    if not blank:
        _malformed("an old size, a proof, an empty line and a checkpoint are wanted")
    try:
        first, *lines = head.decode("ascii").split("\n")
        if not first.startswith("old "):
            _malformed("the first line reads: old SIZE")
        if len(lines) > PROOF_LINES_MAX:
            _malformed(f"a proof has at most {PROOF_LINES_MAX} lines")
        proof = tuple(map(decode_base64, lines))
        old_size = parse_number(first.removeprefix("old "))
    except UnicodeDecodeError:
        _malformed("old size and proof are ASCII")
    except ConsentError as error:
        _malformed(error.detail)
    if any(len(one) != HASH_BYTES for one in proof):
        _malformed(f"every line of a proof is a hash of {HASH_BYTES} bytes")
    return Request(old_size, proof, note)


def open_request(
    request: Request, logs: Mapping[str, Sequence[Verifier]], own: CosignatureVerifier
) -> Submission:
    """The request, once its checkpoint is known to be its log's. `logs`: name of a log → its keys.

    Raises Rejection 400, 404 or 403.
    """
    try:
        note = parse_note(request.note)
        checkpoint = parse_checkpoint(note.text)
    except ConsentError as error:
        _malformed(error.detail)
    keys = logs.get(checkpoint.name)
    if keys is None:
        raise Rejection(404, f"this witness does not know the log {checkpoint.name[:255]!r}")
    try:
        open_checkpoint(request.note, keys)
    except WrongSignature as error:
        raise Rejection(403, error.detail) from error
    known = {(key.name, key.key_hash) for key in keys}
    signatures = tuple(one for one in note.signatures if (one.name, one.key_hash) in known)
    return Submission(
        request.old_size,
        request.proof,
        checkpoint,
        Note(note.text, signatures),
        _is_cosigned(note, own),
    )


def decide(submission: Submission, latest: Tree | None, same_size: Tree | None) -> Verdict:
    """What is answered, if `latest` is the largest tree that was cosigned of that log, and `same_size` the
    one that has the submitted size, as far as they are remembered."""
    checkpoint, known = submission.checkpoint, latest or NO_TREE
    submitted = Tree(checkpoint.size, checkpoint.root)
    is_fork = same_size is not None and same_size != submitted
    if submission.is_own and (submitted.size > known.size or is_fork):
        return Verdict(
            500,
            f"this witness cosigned {submitted.size} entries of {checkpoint.name} and remembers only "
            f"{known.size}: its state was rolled back, and it cosigns nothing of that log",
            alarm=ROLLED_BACK,
        )
    alarm = FORK if is_fork else ""
    if submission.old_size > submitted.size:
        detail = f"the old size {submission.old_size} is larger than the new one, {submitted.size}"
        return Verdict(400, detail, alarm=alarm)
    if submission.old_size != known.size:
        detail = f"{known.size} entries were cosigned last, not {submission.old_size}"
        return Verdict(409, detail, known.size, alarm)
    if submission.old_size == submitted.size and submitted != known:
        return Verdict(409, f"another root was cosigned for {known.size} entries", alarm=FORK)
    try:
        verify_consistency(0, known.size, submitted.size, submission.proof, known.root, submitted.root)
    except ProofInvalid as error:
        return Verdict(422, error.detail, alarm=alarm or (INCONSISTENT if known.size else ""))
    return Verdict(200, f"{submitted.size} entries continue {known.size}")


def _is_cosigned(note: Note, own: CosignatureVerifier) -> bool:
    for signature in note.signatures:
        if (signature.name, signature.key_hash) == (own.name, own.key_hash):
            try:
                own.verify(note.text, signature)
            except WrongSignature:
                continue  # somebody else wrote our name
            return True
    return False


def _malformed(detail: str) -> NoReturn:
    raise Rejection(400, detail)
