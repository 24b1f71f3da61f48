"""`/v1/feed/snapshot`: all facts as a file, for gates that begin, and for those that work offline."""

from __future__ import annotations

from consent_gate.snapshots.note import MEDIA_TYPE
from litestar import Controller, Response, get
from litestar.response import Stream

from consent_ledger.http import snapshots
from consent_ledger.http.calls import Operation
from consent_ledger.http.permissions import PIPELINE
from consent_ledger.http.respond import GivenCall, respond

NEWEST = Operation(
    id="readSnapshotNote",
    tag="Log",
    summary="The note of the newest snapshot, signed: all facts as of one position, and the file's SHA-256.",
    roles=PIPELINE,
    answer_type=MEDIA_TYPE,
    refusals=("damaged", "other_origin"),
)
FILE = Operation(
    id="readSnapshot",
    tag="Log",
    summary="A snapshot: sorted Parquet, immutable; in ranges, so that fetching goes on where it ended.",
    roles=PIPELINE,
    answer_type=snapshots.FILE_TYPE,
    statuses=(200, 206),
    refusals=("not_found", "range_not_satisfiable", "damaged"),
)


class Snapshots(Controller):
    """Snapshots."""

    path = "/v1/feed"

    @get("/snapshot", operation=NEWEST)
    async def newest(self, call: GivenCall) -> Response[bytes]:
        return respond(await snapshots.newest(call))

    @get("/snapshots/{sha256:str}", operation=FILE)
    async def file(self, call: GivenCall) -> Stream:
        answer = await snapshots.file(call)
        return Stream(
            answer.parts, status_code=answer.status, headers=answer.headers, media_type=snapshots.FILE_TYPE
        )
