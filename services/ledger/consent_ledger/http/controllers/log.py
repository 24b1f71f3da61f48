"""`/log/…`, the log's files, and `/v1/log`: what any verifier needs, with no software of ours."""

from __future__ import annotations

from dataclasses import replace

from litestar import Controller, Response, get, post

from consent_ledger.http import log, messages
from consent_ledger.http.calls import Operation
from consent_ledger.http.permissions import AUDITOR, PUBLIC, STAFF
from consent_ledger.http.respond import AnyRequest, GivenCall, address_of, respond

NOTE = Operation(
    id="readCheckpoint",
    tag="Log",
    summary="The latest checkpoint: a signed note, with the cosignatures that came (C2SP tlog-checkpoint).",
    roles=PUBLIC,
    answer_type=log.TEXT,
    refusals=("not_found", "damaged", "unavailable"),
)
WITNESSED = Operation(
    id="readWitnessedCheckpoint",
    tag="Log",
    summary="The latest checkpoint that has the cosignatures which the witness policy asks for.",
    roles=PUBLIC,
    answer_type=log.TEXT,
    refusals=("not_found", "damaged", "unavailable"),
)
KEYS = Operation(
    id="readLogKeys",
    tag="Log",
    summary="Every key that ever signed this log's checkpoints, and from when until when it does.",
    roles=PUBLIC,
    answer=dict,
    refusals=("not_found", "damaged", "unavailable"),
)
TILE = Operation(
    id="readTile",
    tag="Log",
    summary="A tile of hashes at the path that C2SP tlog-tiles gives it: `0/x001/234`. It never changes.",
    roles=PUBLIC,
    answer_type=log.BYTES,
    refusals=("not_found", "damaged", "unavailable"),
)
ENTRIES = Operation(
    id="readEntries",
    tag="Log",
    summary="A bundle of up to 256 events, the stored bytes, each after its length. Never changes.",
    roles=AUDITOR,
    answer_type=log.BYTES,
    refusals=("not_found", "damaged"),
)
STATE = Operation(
    id="readLog",
    tag="Log",
    summary="What the log is called, where its files are, which keys sign it, and what witnesses saw last.",
    roles=PUBLIC,
    answer=messages.LogState,
    refusals=("damaged",),
)
NOW = Operation(
    id="publishCheckpoint",
    tag="Log",
    summary="A checkpoint of all that is recorded by now, within 2 s, however busy the log is.",
    roles=STAFF,
    answer_type=log.TEXT,
)


def _later(operation: Operation) -> Operation:
    """The same for a later epoch: it has files of its own, because files never change."""
    summary = f"{operation.summary} Of a later epoch, from 2."
    return replace(operation, id=f"{operation.id}OfEpoch", summary=summary)


class LogFiles(Controller):
    """The log's files. The first epoch's stand right below `/log`, a later one's below its number."""

    path = "/log"

    @get("/checkpoint", operation=NOTE)
    async def note(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.text(call, address_of(request)))

    @get("/checkpoint.witnessed", operation=WITNESSED)
    async def witnessed(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.text(call, address_of(request)))

    @get("/keys.json", operation=KEYS)
    async def keys(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.text(call, address_of(request)))

    @get("/tile/entries/{number:path}", operation=ENTRIES)
    async def entries(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.entries(call, address_of(request)))

    @get("/tile/{level:str}/{number:path}", operation=TILE)
    async def tile(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.tile(call, address_of(request)))

    @get("/{epoch:str}/checkpoint", operation=_later(NOTE))
    async def later_note(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.text(call, address_of(request)))

    @get("/{epoch:str}/checkpoint.witnessed", operation=_later(WITNESSED))
    async def later_witnessed(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.text(call, address_of(request)))

    @get("/{epoch:str}/keys.json", operation=_later(KEYS))
    async def later_keys(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.text(call, address_of(request)))

    @get("/{epoch:str}/tile/entries/{number:path}", operation=_later(ENTRIES))
    async def later_entries(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.entries(call, address_of(request)))

    @get("/{epoch:str}/tile/{level:str}/{number:path}", operation=_later(TILE))
    async def later_tile(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await log.tile(call, address_of(request)))


class Log(Controller):
    """The log: what it is, and its end as of now."""

    path = "/v1/log"

    @get("/", operation=STATE)
    async def state(self, call: GivenCall) -> Response[bytes]:
        return respond(await log.state(call))

    @post("/checkpoint", operation=NOW, status_code=200)
    async def checkpoint(self, call: GivenCall) -> Response[bytes]:
        return respond(await log.checkpoint_now(call))
