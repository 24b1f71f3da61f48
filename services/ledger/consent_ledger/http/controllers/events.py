"""`/v1/events`: everything that was recorded, and the proof of each."""

from __future__ import annotations

from litestar import Controller, Response, get
from litestar.response import Stream

from consent_ledger.http import log, reads
from consent_ledger.http.calls import NDJSON, Operation, Parameter
from consent_ledger.http.controllers.workspaces import AFTER_POSITION
from consent_ledger.http.permissions import AUDITOR, AUDITOR_OWNER
from consent_ledger.http.respond import GivenCall, respond

EVENTS = Operation(
    id="readEvents",
    tag="Log",
    summary="Every event after a position, the stored bytes, one a line.",
    roles=AUDITOR,
    parameters=(
        AFTER_POSITION,
        Parameter(
            "limit",
            {"type": "string", "pattern": "^[0-9]{1,5}$"},
            "How many at most: 1 to 10,000; 1,000 if not given.",
        ),
    ),
    answer_type=NDJSON,
)
PROOF = Operation(
    id="proveEvent",
    tag="Log",
    summary="The proof that an event is in the log, with its bytes: one file, C2SP tlog-proof.",
    roles=AUDITOR_OWNER,
    answer_type=log.TEXT,
    refusals=("not_found", "beyond_checkpoint", "damaged"),
)


class Events(Controller):
    """Events."""

    path = "/v1/events"

    @get("/", operation=EVENTS)
    async def events(self, call: GivenCall) -> Stream:
        return Stream(await reads.events(call), media_type=NDJSON)

    @get("/{position:str}/proof", operation=PROOF)
    async def proof(self, call: GivenCall) -> Response[bytes]:
        return respond(await log.proof(call))
