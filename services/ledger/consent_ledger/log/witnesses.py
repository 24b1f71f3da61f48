"""Witnesses, asked to cosign: the client's side of C2SP tlog-witness.

A round gives one checkpoint to every witness at once, so that their cosignatures are of the same tree.
The next round begins when the policy is satisfied, when everybody answered, or after ROUND_SECONDS_MAX.
A witness that is slow is left to finish and passed over meanwhile; one that fails is asked again ever
more seldom. Nobody here makes anybody else wait, and nothing that a witness says is believed before
its cosignature is verified: not the size it claims to have seen either, which only costs it its turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import structlog
from consent_domain.checkpoints import Checkpoint, parse_number
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.notes import (
    Note,
    NoteSignature,
    encode_base64,
    format_note,
    parse_signature_lines,
)
from consent_domain.proofs import Subtree, consistency
from consent_domain.witness_policy import KnownWitness, WitnessPolicy
from consent_gate.http_bodies import ACCEPT_ENCODING, BoundedBody
from consent_gate.signatures import CosignatureVerifier

from consent_ledger.log.folder import WitnessStatus

if TYPE_CHECKING:
    import httpx

REQUEST_SECONDS_MAX = 5.0
ROUND_SECONDS_MAX = 2.0
ANSWER_BYTES_MAX = 64 * 1024
BACK_OFF_SECONDS_MAX = 15.0
FREE_SECONDS = 0.25
ROUNDS_KEPT = 8
"""Cosignatures for older checkpoints than these come too late."""
SIZE_TYPE = "text/x.tlog.size"

_log = structlog.get_logger()


class Published(NamedTuple):
    """A checkpoint as the log alone signed it, and the hashes of its tree for proofs (call in a thread)."""

    epoch: int
    checkpoint: Checkpoint
    note: Note
    subtree: Subtree


class Failed(Exception):
    """A witness did not cosign. `state` is that of WitnessStatus."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state
        self.detail = detail


class Witness:
    """One witness of the policy, and what is known of it."""

    def __init__(self, known: KnownWitness, client: httpx.AsyncClient) -> None:
        self.name = known.name
        self.verifier = CosignatureVerifier.parse(known.key)
        self._url = (known.url or "").rstrip("/")
        self._client = client
        self._sizes: dict[str, int] = {}
        self._state = "new" if self._url else "without_url"
        self._detail = "" if self._url else "the policy gives it no address"
        self._cosigned_at = 0
        self._cosigned_size = 0
        self._failures = 0
        self._again_at = 0.0
        self._asking = False

    @property
    def is_free(self) -> bool:
        """Whether it may be asked now."""
        return bool(self._url) and not self._asking and time.monotonic() >= self._again_at

    @property
    def status(self) -> WitnessStatus:
        """What is known of it."""
        at = datetime.fromtimestamp(self._cosigned_at, UTC).isoformat() if self._cosigned_at else ""
        return WitnessStatus(
            name=self.name,
            url=self._url,
            state=self._state,
            size=self._cosigned_size,
            cosigned_at=at,
            failures=self._failures,
            detail=self._detail,
        )

    async def ask(self, published: Published) -> NoteSignature | None:
        """Its verified cosignature; None if it gave none, which its status explains. Never raises but when
        cancelled; REQUEST_SECONDS_MAX, twice at most."""
        self._asking = True
        try:
            signature, at = await self._cosignature(published)
        except Failed as error:
            self._note_failure(error)
            return None
        except Exception as error:
            _log.exception("witness_failed", witness=self.name)
            self._note_failure(Failed("failing", type(error).__name__))
            return None
        finally:
            self._asking = False
        self._state, self._detail, self._failures = "cosigning", "", 0
        self._cosigned_at, self._cosigned_size = at, published.checkpoint.size
        self._sizes[published.checkpoint.name] = published.checkpoint.size
        return signature

    def _note_failure(self, error: Failed) -> None:
        if self._state != error.state:
            _log.warning("witness_does_not_cosign", witness=self.name, state=error.state, detail=error.detail)
        self._state, self._detail = error.state, error.detail
        self._failures += 1
        self._again_at = time.monotonic() + min(BACK_OFF_SECONDS_MAX, 0.5 * 2.0 ** min(self._failures, 10))

    async def _cosignature(self, published: Published) -> tuple[NoteSignature, int]:
        name, size = published.checkpoint.name, published.checkpoint.size
        old = min(self._sizes.get(name, 0), size)
        answer = await self._post(published, old)
        if answer.status == 409:
            seen = _seen_size(answer)
            if seen > size:
                raise Failed("ahead", f"it says that it has seen {seen} events, and {size} are published")
            self._sizes[name] = seen
            answer = await self._post(published, seen)
        if answer.status != 200:
            said = answer.body[:200].decode(errors="replace").strip()
            raise Failed(
                "refusing" if answer.status < 500 else "failing", f"it answered {answer.status}: {said}"
            )
        return self._verified(published, answer.body)

    def _verified(self, published: Published, body: bytes) -> tuple[NoteSignature, int]:
        """Its own cosignature among the answer's lines; those of unknown keys are ignored."""
        try:
            for signature in parse_signature_lines(body.decode()):
                if (signature.name, signature.key_hash) == (self.verifier.name, self.verifier.key_hash):
                    return signature, self.verifier.verify(published.note.text, signature)
        except (ConsentError, Unreadable, UnicodeDecodeError) as error:
            raise Failed("refusing", f"its answer is no cosignature of this checkpoint: {error}") from error
        raise Failed("refusing", f"its answer has no cosignature by {self.verifier.name}")

    async def _post(self, published: Published, old: int) -> _Answer:
        import httpx

        body = await asyncio.to_thread(_request, published, old)
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS_MAX),
                self._client.stream("POST", f"{self._url}/add-checkpoint", content=body) as response,
            ):
                content = BoundedBody(response.headers, "its answer", ANSWER_BYTES_MAX)
                async for part in response.aiter_raw():
                    content.add(part)
                return _Answer(
                    response.status_code, response.headers.get("content-type", ""), content.whole()
                )
        except Unreadable as error:
            raise Failed("refusing", error.detail) from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise Failed("failing", f"{type(error).__name__}: {error}".rstrip(": ")) from error


class _Answer(NamedTuple):
    status: int
    kind: str
    body: bytes


class Witnesses:
    """All witnesses of the policy, for one loop."""

    def __init__(
        self,
        policy: WitnessPolicy,
        on_cosigned: Callable[[Published, bytes, bool], None],
    ) -> None:
        """`on_cosigned` is given the note with the cosignatures so far, and whether they satisfy the policy;
        it is called in a thread, one call at a time."""
        self._policy = policy
        self._on_cosigned = on_cosigned
        self.witnesses = [Witness(known, self._client) for known in policy.witnesses.values()]
        self._newest: Published | None = None
        self._cosigned: dict[Published, dict[str, NoteSignature]] = {}
        self._news = asyncio.Event()
        self._telling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """For all of them; a log without witnesses does without an HTTP client, slow to import."""
        import httpx

        return httpx.AsyncClient(
            headers={"accept-encoding": ACCEPT_ENCODING}, timeout=REQUEST_SECONDS_MAX, follow_redirects=False
        )

    @property
    def lacking(self) -> str:
        """What the newest checkpoint still misses, in words; empty if nothing."""
        return self._policy.missing(self._cosigned.get(self._newest, {}) if self._newest else {})

    def offer(self, published: Published, signatures: Sequence[NoteSignature] = ()) -> None:
        """Ask for cosignatures of this checkpoint, the newest; those among `signatures` count already.

        An empty tree is nothing to be witnessed. In the loop.
        """
        if published.checkpoint.size == 0 or not self.witnesses:
            return
        by_key = {(one.verifier.name, one.verifier.key_hash): one for one in self.witnesses}
        cosigned = self._cosigned.setdefault(published, {})
        for signature in signatures:
            witness = by_key.get((signature.name, signature.key_hash))
            with suppress(Unreadable):
                if witness is not None and witness.verifier.verify(published.note.text, signature):
                    cosigned[witness.name] = signature
        self._newest = published
        self._news.set()

    async def run(self) -> None:
        """Round after round until cancelled."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                assert self._newest is not None, "there is news of a checkpoint"
                while not await self._round(self._newest) and not self._news.is_set():
                    with suppress(TimeoutError):  # somebody may be free again soon
                        await asyncio.wait_for(self._news.wait(), FREE_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self.witnesses:
                await self._client.aclose()

    async def _round(self, published: Published) -> bool:
        """Ask everybody who is free; whether nobody is left to be asked for this checkpoint."""
        cosigned = self._cosigned.setdefault(published, {})
        for old in list(self._cosigned)[:-ROUNDS_KEPT]:
            del self._cosigned[old]
        absent = [witness for witness in self.witnesses if witness.name not in cosigned]
        tasks = [asyncio.create_task(self._ask(witness, published)) for witness in absent if witness.is_free]
        for task in tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        deadline = time.monotonic() + ROUND_SECONDS_MAX
        pending = set(tasks)
        while pending and not (cosigned and self._policy.satisfied(cosigned)):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            _, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return all(witness.name in cosigned or not witness.status.url for witness in self.witnesses)

    async def _ask(self, witness: Witness, published: Published) -> None:
        signature = await witness.ask(published)
        cosigned = self._cosigned.get(published)
        if signature is None or cosigned is None:
            return
        async with self._telling:
            cosigned[witness.name] = signature
            note = Note(published.note.text, (*published.note.signatures, *cosigned.values()))
            satisfied = self._policy.satisfied(cosigned)
            try:
                await asyncio.to_thread(self._on_cosigned, published, format_note(note), satisfied)
            except (ConsentError, OSError) as error:
                # The next checkpoint comes, and with it other cosignatures.
                _log.warning("cosignature_not_published", witness=witness.name, error=str(error))


def _request(published: Published, old: int) -> bytes:
    """The body of add-checkpoint: the size the witness has seen, the proof from there, the checkpoint."""
    proof = consistency(published.subtree, 0, old, published.checkpoint.size)
    lines = [f"old {old}", *map(encode_base64, proof), "", ""]
    return "\n".join(lines).encode() + format_note(published.note)


def _seen_size(answer: _Answer) -> int:
    if answer.kind.partition(";")[0].strip() != SIZE_TYPE:
        raise Failed("refusing", f"it answered 409 with {answer.kind[:100]!r} instead of a size")
    try:
        return parse_number(answer.body.decode("ascii").removesuffix("\n"))
    except (ConsentError, UnicodeDecodeError) as error:
        raise Failed("refusing", f"it answered 409 with something that is no size: {error}") from error
