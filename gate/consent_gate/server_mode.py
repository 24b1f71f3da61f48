"""A gate that keeps no replica: each question goes to the ledger.

    with Gate.connect("https://ledger.example", token, purpose="train.global", mode="server") as gate:
        if gate.check("acme", collected=message_time):
            ...

For who asks now and then, from where no folder can be kept. It answers as a gate with a replica does, a
request later; while the ledger cannot be reached it answers at once that nothing is decided. Data sets
are not filtered this way: that takes the windows of every workspace, as of one moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import NoReturn

from consent_domain.decide import Collected, combine
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token, is_id
from consent_domain.instants import moment_of

from consent_gate.answers import (
    DENY,
    UNDECIDED,
    Answer,
    BatchRequest,
    CheckRequest,
    CollectedRange,
    encode,
    undecided,
)
from consent_gate.asking import STALENESS_SECONDS_MAX, Asking, in_thread, tuple_of
from consent_gate.batches import Answers
from consent_gate.boot import boot_nanoseconds
from consent_gate.questions import When, code_of, collected_of, detail_of, owners_of, require_question
from consent_gate.server_answers import Question, Rows, Told, Undecided, answer_of, require_same_log, rows_of
from consent_gate.server_client import ServerClient
from consent_gate.states import Status

BATCH_WORKSPACES_MAX = 100_000
"""The ledger's own bound; larger batches take several requests."""
ANSWER_BYTES_MAX = 1 << 20
_BYTES_A_ROW = 32
_NANOSECONDS = 1_000_000_000
_PROBE = CheckRequest(purpose="status", workspace="status")
_STATES = {"halted": "halted", "catching_up": "catching_up"}


class ServerGate(Asking):
    """Checks by the ledger. What needs a replica raises ConsentError `unavailable`."""

    asks_over_the_network = True
    poll_seconds = 0.25

    def __init__(
        self,
        url: str,
        token: str,
        *,
        purpose: str | None = None,
        max_staleness: float = STALENESS_SECONDS_MAX,
    ) -> None:
        """Made by `Gate.connect`. Sends nothing yet."""
        self.max_staleness = max_staleness
        self._server = ServerChecks(ServerClient(url, token, max_staleness), max_staleness)
        super().__init__(self._server, purpose)

    def batch(
        self,
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> ServerBatch:
        """A question about many workspaces, which is sent by `answers`."""
        asked = self.purpose if purpose is None else purpose
        return ServerBatch(self._server, asked, tuple_of(categories), collected, max_staleness, at_least)

    def status(self) -> Status:
        """Whether checks can be answered now, and on what they stand, by asking. Never raises."""
        answer = self._server.check(_PROBE.workspace, _PROBE.purpose, (), None, None, 0)
        if answer.decision != UNDECIDED:
            return Status("live", answer.token, answer.position, answer.staleness, "")
        code = answer.reasons[0].code
        return Status(_STATES.get(code, "stale"), "", 0, None, self._server.why, code)

    def close(self) -> None:
        """Give the connections back. Idempotent."""
        self._server.client.close()

    # -- what needs a replica --------------------------------------------------------------------------------

    def job(self, /, *_: object, **__: object) -> NoReturn:
        """Raises ConsentError `unavailable`."""
        raise _needs_replica("a job")

    job_async = in_thread(job)

    def filter(self, /, *_: object, **__: object) -> NoReturn:
        """Raises ConsentError `unavailable`."""
        raise _needs_replica("a filter")

    filter_async = in_thread(filter)

    def mask(self, /, *_: object, **__: object) -> NoReturn:
        """Raises ConsentError `unavailable`."""
        raise _needs_replica("a mask")

    mask_async = in_thread(mask)

    def watch(self, /, *_: object, **__: object) -> NoReturn:
        """Raises ConsentError `unavailable`."""
        raise _needs_replica("a watch")

    def manifest(self, /, *_: object, **__: object) -> NoReturn:
        """Raises ConsentError `unavailable`."""
        raise _needs_replica("a manifest")

    manifest_async = in_thread(manifest)


def _needs_replica(what: str) -> ConsentError:
    return ConsentError(
        "unavailable",
        f"{what} judges every row as of one moment, which takes a replica: connect without mode='server', "
        "or ask check_many for the distinct workspaces of data collected in one known range",
    )


class ServerChecks:
    """Asks one ledger. May be shared by threads, and survives a fork."""

    def __init__(self, client: ServerClient, staleness_seconds_max: float) -> None:
        self.client = client
        self.why = ""
        """What went wrong last; empty if nothing did."""
        self._age_max = int(staleness_seconds_max * _NANOSECONDS)
        self._newest: Token | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def check(
        self,
        workspace: str | Sequence[str],
        purpose: str | None,
        categories: tuple[str, ...],
        collected: When,
        staleness_seconds_max: float | None,
        at_least: int,
    ) -> Answer:
        """The answer to one question. Never raises but for what stops the process."""
        try:
            owners = owners_of(workspace)
            question = self.question(
                workspace, purpose, categories, collected, staleness_seconds_max, at_least
            )
            if not owners:
                return Answer(DENY, question.purpose, (), combine(()), b"", None, None, 0, "", None)
            request = CheckRequest(
                purpose=question.purpose,
                workspaces=list(owners),
                categories=list(categories),
                collected=_range(question.collected),
                max_staleness_ms=question.age_max // 1_000_000,
                at_least=self.token_of(at_least),
            )
            reply = self.client.ask("/v1/check", encode(request), ANSWER_BYTES_MAX)
            answer = answer_of(question, reply.body, reply.asked, boot_nanoseconds())
            assert answer._view is not None, "what counts says on what it stands"
            self.noted(answer._view.token)
            return answer
        except Undecided as error:
            self.why = error.detail or error.code
            return undecided(error.code, None, 0, workspace, purpose, "", None, error.detail)
        except Exception as error:
            return undecided(code_of(error), None, 0, workspace, purpose, "", None, detail_of(error))

    def question(
        self,
        workspace: object,
        purpose: str | None,
        categories: tuple[str, ...],
        collected: When,
        staleness_seconds_max: float | None,
        at_least: int,
    ) -> Question:
        """What is asked, made sure of. Raises ConsentError `malformed` or `invalid_time`, and ValueError."""
        require_question(purpose, categories)
        assert purpose is not None, "a question has one"
        age_max = self._age_max
        if staleness_seconds_max is not None:
            age_max = min(age_max, int(staleness_seconds_max * _NANOSECONDS))
        when = None if collected is None else collected_of(collected)
        newest = self._newest
        origin, epoch = (None, 0) if newest is None else (newest.origin, newest.epoch)
        return Question(workspace, purpose, when, max(age_max, 0), at_least, origin, epoch)

    def token_of(self, at_least: int) -> str:
        """The position as a token of the log that answers; none before it is known: then nobody waits."""
        newest = self._newest
        return "" if at_least <= 0 or newest is None else str(newest._replace(position=at_least))

    def noted(self, token: Token) -> None:
        """An answer counts: it pins the log, and its epoch is the newest.

        Raises Undecided `halted` if one that counted while this one was under way says otherwise: of answers
        that come at once from two logs, or two epochs, only those of one may count.
        """
        if self._pid != os.getpid():
            # Another thread of the parent may have held it.
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            newest = self._newest
            if newest is not None:
                require_same_log(token, newest.origin, newest.epoch)
            if newest is None or token[1:] > newest[1:]:
                self._newest = token
        self.why = ""


class ServerBatch:
    """A question that is handed its workspaces, and sent at the end."""

    def __init__(
        self,
        checks: ServerChecks,
        purpose: str | None,
        categories: tuple[str, ...],
        collected: When,
        staleness_seconds_max: float | None,
        at_least: int,
    ) -> None:
        self._checks = checks
        self._asked = (purpose, categories, collected, staleness_seconds_max, at_least)
        self._workspaces: list[object] = []

    def take(self, workspaces: Sequence[str]) -> None:
        """Ask about these too. Never raises but for what stops the process."""
        self._workspaces += workspaces

    def answers(self) -> Answers:
        """Send it, and the rows that came back. Never raises but for what stops the process."""
        columns = _Columns()
        for start in range(0, len(self._workspaces), BATCH_WORKSPACES_MAX):
            self._answer(self._workspaces[start : start + BATCH_WORKSPACES_MAX], columns)
        return columns.answers()

    def _answer(self, workspaces: list[object], columns: _Columns) -> None:
        ids = [name for name in workspaces if isinstance(name, str) and is_id(name)]
        try:
            rows = self._ask(ids)
        except Undecided as error:
            self._checks.why = error.detail or error.code
            columns.undecided(workspaces, error.code)
        except Exception as error:
            columns.undecided(workspaces, code_of(error))
        else:
            columns.take(workspaces, rows)

    def _ask(self, ids: list[str]) -> Rows | None:
        purpose, categories, collected, staleness, at_least = self._asked
        question = self._checks.question(None, purpose, categories, collected, staleness, at_least)
        if not ids:
            return None
        request = BatchRequest(
            purpose=question.purpose,
            workspaces=ids,
            categories=list(categories),
            collected=_range(question.collected),
            max_staleness_ms=question.age_max // 1_000_000,
            at_least=self._checks.token_of(at_least),
        )
        bytes_max = ANSWER_BYTES_MAX + len(ids) * _BYTES_A_ROW
        reply = self._checks.client.ask("/v1/check/batch", encode(request), bytes_max)
        rows = rows_of(question, len(ids), reply.body, reply.asked, boot_nanoseconds())
        self._checks.noted(rows.basis.token)
        return rows


class _Columns:
    """The rows so far."""

    def __init__(self) -> None:
        self._permitted: list[bool] = []
        self._reasons: list[int] = []
        self._codes: dict[str, int] = {}
        self._oldest: Told | None = None
        self._policy_version = ""

    def undecided(self, workspaces: list[object], code: str) -> None:
        """Nothing was decided about these."""
        for _ in workspaces:
            self._add(False, code)

    def take(self, workspaces: list[object], rows: Rows | None) -> None:
        """Rows about those of `workspaces` that are ids; the others are none."""
        answered = iter(()) if rows is None else iter(zip(rows.permitted, rows.codes, strict=True))
        for name in workspaces:
            if not isinstance(name, str):
                self._add(False, "malformed")
            elif not is_id(name):
                self._add(False, "invalid_id")
            else:
                self._add(*next(answered))
        if rows is not None and (self._oldest is None or rows.basis.asked < self._oldest.asked):
            self._oldest, self._policy_version = rows.basis, rows.policy_version

    def _add(self, permitted: bool, code: str) -> None:
        self._permitted.append(permitted)
        self._reasons.append(self._codes.setdefault(code, len(self._codes)))

    def answers(self) -> Answers:
        oldest = self._oldest
        return Answers(
            self._permitted,
            list(self._codes),
            self._reasons,
            self._policy_version,
            "" if oldest is None else str(oldest.token),
            None if oldest is None else oldest.at,
            None if oldest is None else (boot_nanoseconds() - oldest.asked) / _NANOSECONDS,
        )


def _range(collected: Collected | None) -> CollectedRange | None:
    if collected is None:
        return None
    return CollectedRange(from_=moment_of(collected.start), to=moment_of(collected.end))
