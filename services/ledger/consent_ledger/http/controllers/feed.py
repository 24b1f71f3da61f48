"""`/v1/events` and `/v1/feed/changes`: everything, for auditors, and the facts, for gates."""

from __future__ import annotations

from consent_domain.feed import MEDIA_TYPE
from litestar import Controller, Response, get
from litestar.response import Stream

from consent_ledger.http import reads
from consent_ledger.http.calls import NDJSON, Operation, Parameter
from consent_ledger.http.controllers.workspaces import AFTER_POSITION
from consent_ledger.http.feed import changes
from consent_ledger.http.permissions import AUDITOR, PIPELINE
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
CHANGES = Operation(
    id="followFeed",
    tag="Log",
    summary="What gates follow: signed facts changed after a token, or after 1 s a watermark.",
    roles=PIPELINE,
    parameters=(
        Parameter(
            "after", {"type": "string"}, "The token to go on from; `0` is the beginning of a snapshot."
        ),
        Parameter(
            "limit", {"type": "string", "pattern": "^[0-9]{1,5}$"}, "How many rows a page has at most."
        ),
    ),
    answer_type=MEDIA_TYPE,
    refusals=("invalid_token",),
)


class Feed(Controller):
    """The log and the feed."""

    path = "/v1"

    @get("/events", operation=EVENTS)
    async def events(self, call: GivenCall) -> Stream:
        return Stream(await reads.events(call), media_type=NDJSON)

    @get("/feed/changes", operation=CHANGES)
    async def changes(self, call: GivenCall) -> Response[bytes]:
        return respond(await changes(call))
