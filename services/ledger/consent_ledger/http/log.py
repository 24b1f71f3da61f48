"""The log over HTTP: its files as any web server could serve them, proofs, and a checkpoint on demand.

C2SP tlog-tiles says the types and how long caches may keep what. Nothing here reads a table, but for the
head that a checkpoint on demand must cover and for telling what does not exist from what is not covered yet.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import structlog
from consent_domain.checkpoints import log_name, parse_checkpoint, prefix_of
from consent_domain.envelope import stream_of
from consent_domain.errors import ConsentError
from consent_domain.notes import parse_note
from consent_plumbing.nats import CHECKPOINT_WANTED_SUBJECT

from consent_ledger.http import messages
from consent_ledger.http.calls import Answer, Call, encode, whole_number
from consent_ledger.http.permissions import require_own_stream
from consent_ledger.log.folder import CHECKPOINT, WITNESSED, Status
from consent_ledger.seams import Head, StoreUnavailable

if TYPE_CHECKING:
    from consent_ledger.worker import Worker

TEXT = "text/plain; charset=utf-8"
BYTES = "application/octet-stream"
JSON = "application/json"
WANTED_SECONDS_MAX = 2.0
POSITION_MAX = 2**63 - 1
ENTRIES = "tile/entries/"

_Read = TypeVar("_Read")
_NEVER_STALE = "max-age=31536000, immutable"
_FRESH = [(b"cache-control", b"no-cache")]
_LOOK_SECONDS, _ASK_AGAIN_LOOKS = 0.02, 10
_LATER_EPOCH = re.compile(r"/log/([2-9]|[1-9][0-9]{1,9})/(.+)")
_log = structlog.get_logger()
_GZIP = re.compile(rb"(^|[ ,])gzip *(,|;(?! *q=0(\.0*)? *(,|$))|$)", re.IGNORECASE)


# -- files ---------------------------------------------------------------------------------------------------


def _located(path: str) -> tuple[int, str]:
    """The epoch, and the path below its prefix, that an address names; taken as it came, not tidied up."""
    later = _LATER_EPOCH.fullmatch(path)
    return (1, path.removeprefix("/log/")) if later is None else (int(later[1]), later[2])


async def _in_a_thread(worker: Worker, read: Callable[..., _Read], *arguments: object) -> _Read:
    """What `read` reads. In threads of their own: strangers on a slow disk hold up nothing but each other."""
    return await asyncio.get_running_loop().run_in_executor(worker.files, read, *arguments)


def _published(worker: Worker, epoch: int, path: str) -> bytes:
    """The file. Raises ConsentError `not_found`, `damaged` or `unavailable`; where it lies is not told."""
    with _untold():
        return worker.log.published(epoch, path)


@contextmanager
def _untold() -> Iterator[None]:
    """Whatever fails inside is told without where the files lie: the caller may be anybody."""
    try:
        yield
    except ConsentError as error:
        if error.code == "not_found":
            raise ConsentError("not_found", "the published log has no such file") from error
        _log.error("published_file_unreadable", code=error.code, detail=error.detail)
        raise ConsentError(error.code, "what is published cannot be read here at the moment") from error


async def text(call: Call, address: str) -> Answer:
    """A checkpoint, or the keys: what changes at its address. Raises ConsentError `not_found`."""
    epoch, path = _located(address)
    data = await _in_a_thread(call.worker, _published, call.worker, epoch, path)
    return Answer(200, data, list(_FRESH), JSON if path.endswith(".json") else TEXT)


async def tile(call: Call, address: str) -> Answer:
    """A tile of hashes that the checkpoint covers. It never changes. Raises ConsentError `not_found`."""
    epoch, path = _located(address)
    if path.startswith(ENTRIES):
        raise ConsentError("not_found", "this is no tile of hashes")
    data = await _in_a_thread(call.worker, _published, call.worker, epoch, path)
    return Answer(200, data, [(b"cache-control", f"public, {_NEVER_STALE}".encode())], BYTES)


async def entries(call: Call, address: str) -> Answer:
    """A bundle of entries that the checkpoint covers. It never changes, and is for this caller only."""
    epoch, path = _located(address)
    if not path.startswith(ENTRIES):
        raise ConsentError("not_found", "this is no bundle of entries")
    packed = _GZIP.search(call.headers.get(b"accept-encoding", b"")) is not None
    data = await _in_a_thread(call.worker, _bundle, call.worker, epoch, path, packed)
    headers = [(b"cache-control", f"private, {_NEVER_STALE}".encode()), (b"vary", b"accept-encoding")]
    if packed:
        headers.append((b"content-encoding", b"gzip"))
    return Answer(200, data, headers, BYTES)


def _bundle(worker: Worker, epoch: int, path: str, packed: bool) -> bytes:
    data = _published(worker, epoch, path)
    return gzip.compress(data, compresslevel=1, mtime=0) if packed else data


# -- proofs --------------------------------------------------------------------------------------------------


async def proof(call: Call) -> Answer:
    """The `.tlog-proof` of an event: any for an auditor, those on its own stream for an owner.

    Raises ConsentError `not_found`, `beyond_checkpoint`, and as `Proofs.prove` does.
    """
    position = whole_number(call.path["position"], "position", 1, POSITION_MAX)
    unknown = ConsentError("not_found", f"there is no event {position}, or none of yours")
    try:
        proven = await call.worker.prover.prove(position)
    except ConsentError as error:
        if error.code == "beyond_checkpoint" and position > (await head_of(call.worker)).position:
            raise unknown from error
        raise
    if call.principal.scope_kind is not None:
        named = stream_of(proven.entry)
        require_own_stream(call.principal, None if named is None else named[0], unknown)
    name = f'attachment; filename="{position}.tlog-proof"'
    headers = [(b"cache-control", b"private, no-cache"), (b"content-disposition", name.encode())]
    return Answer(200, proven.proof, headers, TEXT)


# -- the log itself ------------------------------------------------------------------------------------------


async def head_of(worker: Worker) -> Head:
    """The head as last committed. Raises ConsentError `unavailable`."""
    try:
        return await worker.store.read_head()
    except StoreUnavailable as error:
        raise ConsentError("unavailable", "the ledger cannot be read now; try again") from error


async def checkpoint_now(call: Call) -> Answer:
    """A checkpoint that covers every event recorded before the request, within 2 s.

    Raises ConsentError `unavailable` if nobody publishes one in time.
    """
    worker = call.worker
    head = await head_of(worker)
    deadline = asyncio.get_running_loop().time() + WANTED_SECONDS_MAX
    looks = 0
    while True:
        if looks % _ASK_AGAIN_LOOKS == 0:  # what is sent may be lost
            await worker.bus.publish(CHECKPOINT_WANTED_SUBJECT, b"")
        looks += 1
        note = await _in_a_thread(worker, _covering, worker, head)
        if note is not None:
            return Answer(200, note, list(_FRESH), TEXT)
        if asyncio.get_running_loop().time() >= deadline:
            raise ConsentError(
                "unavailable",
                f"no checkpoint of {head.position} events within {WANTED_SECONDS_MAX:.0f} s; "
                "is `consent-ledger publish` running?",
            )
        await asyncio.sleep(_LOOK_SECONDS)


@_untold()
def _covering(worker: Worker, head: Head) -> bytes | None:
    """The published note if it covers the head. What is answered is the very note that was looked into."""
    note = worker.log.note(head.epoch)
    if note is None:
        return None
    try:
        size = parse_checkpoint(parse_note(note).text).size
    except ConsentError as error:
        raise ConsentError("damaged", "the published checkpoint cannot be read") from error
    return note if size >= head.position else None


async def state(call: Call) -> Answer:
    """What the log is called, where it is, which keys sign it, and what its witnesses saw last."""
    return Answer(200, encode(await _in_a_thread(call.worker, _state, call.worker)), list(_FRESH))


@_untold()
def _state(worker: Worker) -> messages.LogState:
    origin, log = worker.settings.origin, worker.log
    epochs = [_epoch(worker, number) for number in log.epochs()] or [
        messages.LogEpoch(epoch=1, name=origin, prefix=prefix_of(1), size="0")
    ]
    newest = epochs[-1]
    keys, witnessed = log.keys(newest.epoch), log.checkpoint(newest.epoch, WITNESSED)
    return messages.LogState(
        origin=origin,
        epoch=newest.epoch,
        name=newest.name,
        prefix=newest.prefix,
        size=newest.size,
        witnessed_size="0" if witnessed is None else str(witnessed.size),
        verifier_keys=[] if keys is None else keys.verifier_keys,
        witnesses=witnesses_of(log.status()),
        epochs=epochs,
    )


def _epoch(worker: Worker, number: int) -> messages.LogEpoch:
    checkpoint = worker.log.checkpoint(number, CHECKPOINT)
    return messages.LogEpoch(
        epoch=number,
        name=log_name(worker.settings.origin, number),
        prefix=prefix_of(number),
        size="0" if checkpoint is None else str(checkpoint.size),
    )


def witnesses_of(status: Status | None) -> list[messages.WitnessState]:
    """The witnesses as the publisher saw them last, without their addresses."""
    return [
        messages.WitnessState(name=one.name, state=one.state, size=str(one.size), cosigned_at=one.cosigned_at)
        for one in (() if status is None else status.witnesses)
    ]
