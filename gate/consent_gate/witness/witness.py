"""`Witness`: a request for a cosignature, decided by the rules, remembered, and only then answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consent_domain.errors import ConsentError
from consent_domain.notes import Note, format_note, signature_line

from consent_gate.signatures import Cosigner, Verifier
from consent_gate.telling import tell
from consent_gate.witness.rules import (
    FORK,
    INCONSISTENT,
    ROLLED_BACK,
    Rejection,
    Submission,
    Tree,
    Verdict,
    decide,
    open_request,
    parse_request,
)
from consent_gate.witness.state import Cosigned, Evidence, State, Trees

TEXT = "text/plain; charset=utf-8"
TLOG_SIZE = "text/x.tlog.size"

_MEANING = {
    FORK: "THE LOG FORKED: it signed two trees of one size, and both signatures are kept as evidence",
    INCONSISTENT: "the log signed a tree that was not shown to continue the one cosigned before: a fork, or "
    "somebody sent its checkpoint with a wrong proof",
    ROLLED_BACK: "THE STATE OF THIS WITNESS WAS ROLLED BACK: it cosigned what it does not remember. Put the "
    "newest state back; nothing of that log is cosigned until then",
}


class Answer(NamedTuple):
    """What HTTP answers."""

    status: int
    content_type: str
    body: bytes


class Witness:
    """One key and its state. Threads may share it."""

    def __init__(self, cosigner: Cosigner, state: State, logs: Mapping[str, Sequence[Verifier]]) -> None:
        """`logs`: the name of each log that is cosigned, and the keys that may sign for it."""
        self._cosigner = cosigner
        self._state = state
        self._logs = logs
        self._lock = threading.Lock()
        self._largest: dict[str, Tree] = {}
        self.answered: Counter[int] = Counter()
        """How many requests were answered by each status."""
        self.alarms: Counter[str] = Counter()
        """How many requests were an alarm of each kind."""

    def add_checkpoint(self, body: bytes, now_seconds: int) -> Answer:
        """The answer to a request, after what it says was remembered. Two fsyncs where it cosigns."""
        try:
            answer = self._add_checkpoint(body, now_seconds)
        except Rejection as rejection:
            answer = _words(rejection.status, rejection.detail)
        except ConsentError as error:
            tell("error", "unavailable", detail=error.detail)
            answer = _words(503, "the state of this witness cannot be read or written now")
        with self._lock:
            self.answered[answer.status] += 1
        return answer

    @property
    def name(self) -> str:
        """The name of the witness's key."""
        return self._cosigner.verifier.name

    @property
    def key(self) -> str:
        """The verifier key of the witness."""
        return str(self._cosigner.verifier)

    @property
    def logs(self) -> list[str]:
        """The names of the logs that are cosigned."""
        return list(self._logs)

    def latest(self, log: str) -> bytes | None:
        """The largest checkpoint that was cosigned of a log, signed by both; None if there is none.

        Raises ConsentError `unavailable`.
        """
        with self._state.reading() as reading:
            found = reading.latest(log)
        return None if found is None else found.note

    def sizes(self) -> dict[str, int]:
        """For each log that is cosigned, the largest size that was. Raises ConsentError `unavailable`."""
        with self._state.reading() as reading:
            found = {log: reading.latest(log) for log in self._logs}
        return {log: 0 if cosigned is None else cosigned.tree.size for log, cosigned in found.items()}

    def _add_checkpoint(self, body: bytes, now_seconds: int) -> Answer:
        submission = open_request(parse_request(body), self._logs, self._cosigner.verifier)
        checkpoint, signature = submission.checkpoint, None
        with self._state.transaction() as transaction:
            latest = transaction.latest(checkpoint.name)
            same = transaction.of_size(checkpoint.name, checkpoint.size)
            verdict = self._decide(submission, latest, same)
            if verdict.status == 200:
                signature = self._cosigner.cosign(submission.note.text, now_seconds)
                note = Note(submission.note.text, (*submission.note.signatures, signature))
                transaction.keep(checkpoint, format_note(note))
            is_new = bool(verdict.alarm) and _keep(
                transaction, verdict, submission, latest, same, body, now_seconds
            )
        if verdict.alarm:
            self._alarm(verdict, submission, is_new)
        if signature is not None:
            self._remember(checkpoint.name, Tree(checkpoint.size, checkpoint.root))
            return Answer(200, TEXT, signature_line(signature).encode())
        if verdict.size is not None:
            return Answer(verdict.status, TLOG_SIZE, f"{verdict.size}\n".encode())
        return _words(verdict.status, verdict.detail)

    def _decide(self, submission: Submission, latest: Cosigned | None, same: Cosigned | None) -> Verdict:
        remembered = self._largest.get(submission.checkpoint.name)
        if remembered is not None and (latest is None or latest.tree.size < remembered.size):
            # Under the lock for writing: what this process committed before must be there.
            return Verdict(
                500,
                f"this process cosigned {remembered.size} entries of {submission.checkpoint.name}, and the "
                "state has fewer: it was rolled back, and nothing of that log is cosigned",
                alarm=ROLLED_BACK,
            )
        return decide(
            submission, None if latest is None else latest.tree, None if same is None else same.tree
        )

    def _remember(self, log: str, tree: Tree) -> None:
        with self._lock:
            if log not in self._largest or self._largest[log].size < tree.size:
                self._largest[log] = tree

    def _alarm(self, verdict: Verdict, submission: Submission, is_new: bool) -> None:
        with self._lock:
            self.alarms[verdict.alarm] += 1
        level = "warning" if verdict.alarm == INCONSISTENT else "critical"
        checkpoint = submission.checkpoint
        tell(
            level, verdict.alarm, log=checkpoint.name, size=checkpoint.size, status=verdict.status,
            meaning=_MEANING[verdict.alarm], detail=verdict.detail, evidenceKept=is_new,
        )  # fmt: skip


def _keep(
    trees: Trees,
    verdict: Verdict,
    submission: Submission,
    latest: Cosigned | None,
    same: Cosigned | None,
    body: bytes,
    now_seconds: int,
) -> bool:
    """Keep what an alarm is about: the request, and the checkpoint that contradicts it."""
    checkpoint = submission.checkpoint
    beside = same if verdict.alarm == FORK else latest
    known = b"" if beside is None else beside.note
    tree = Tree(checkpoint.size, checkpoint.root)
    return trees.keep_evidence(Evidence(checkpoint.name, verdict.alarm, tree, known, body, now_seconds))


def _words(status: int, detail: str) -> Answer:
    return Answer(status, TEXT, f"{detail}\n".encode(errors="replace"))
