"""`/v1/feed/changes`: the facts, for gates."""

from __future__ import annotations

from consent_domain.feed import MEDIA_TYPE
from litestar import Controller, Response, get

from consent_ledger.http.calls import Operation, Parameter
from consent_ledger.http.feed import changes
from consent_ledger.http.permissions import PIPELINE
from consent_ledger.http.respond import GivenCall, respond

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
    echoes=True,
    refusals=("invalid_token", "resync", "forked", "other_origin", "overloaded", "damaged"),
)


class Feed(Controller):
    """The feed."""

    path = "/v1"

    @get("/feed/changes", operation=CHANGES)
    async def changes(self, call: GivenCall) -> Response[bytes]:
        return respond(await changes(call))
