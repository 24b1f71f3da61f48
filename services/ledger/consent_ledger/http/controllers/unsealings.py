"""`/v1/events/{position}/unseal` and `/v1/unsealings`: looking at what is sealed, and who did."""

from __future__ import annotations

import msgspec
from consent_domain.instants import micros, rfc3339
from consent_plumbing.postgres import acquire
from litestar import Controller, Response, get, post

from consent_ledger.database import STATEMENTS
from consent_ledger.http import messages
from consent_ledger.http.calls import Answer, Call, Operation, Parameter, encode, whole_number
from consent_ledger.http.controllers.workspaces import PAGE
from consent_ledger.http.json_body import decode
from consent_ledger.http.permissions import AUDITOR
from consent_ledger.http.reads import PAGE_DEFAULT, PAGE_MAX, POSITION_MAX
from consent_ledger.http.respond import GivenCall, respond

UNSEAL = Operation(
    id="unsealEvent",
    tag="Log",
    summary="What is sealed in an event, for auditors who may. Each look is recorded first, with its reason.",
    roles=AUDITOR,
    unseals=True,
    body=messages.Unseal,
    answer=messages.UnsealedField,
    refusals=("not_found", "invalid_value", "erased"),
)
LIST = Operation(
    id="listUnsealings",
    tag="Log",
    summary="Every look at a sealed field: when, by whom, at which event, and why.",
    roles=AUDITOR,
    parameters=(
        Parameter(
            "after",
            {"type": "string", "pattern": "^[0-9]{1,19}$"},
            "The number after which to go on; 0 at first.",
        ),
        PAGE,
    ),
    answer=messages.Unsealings,
)

_decode = msgspec.json.Decoder(messages.Unseal)


class UnsealingRoutes(Controller):
    """Looks at sealed fields."""

    path = "/v1"

    @post("/events/{position:str}/unseal", operation=UNSEAL, status_code=200)
    async def unseal(self, call: GivenCall) -> Response[bytes]:
        return respond(await unseal(call))

    @get("/unsealings", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await listed(call))


async def unseal(call: Call) -> Answer:
    """What is sealed in the event of the path. No cache may keep it."""
    position = whole_number(call.path["position"], "position", 1, POSITION_MAX)
    seen = await call.worker.unsealer.look(position, call.principal.id, decode(_decode, call.body).reason)
    told = messages.UnsealedField(
        position=str(position),
        event=seen.event.id,
        stream=seen.event.stream,
        type=seen.event.type,
        field=seen.field,
        subject=seen.subject,
        person=call.worker.keystore.ref_of(seen.subject),
        unsealing=str(seen.number),
    )
    return Answer(200, encode(told), [(b"cache-control", b"no-store")])


async def listed(call: Call) -> Answer:
    """A page of the looks that were recorded."""
    after = call.number("after", 0, 0, POSITION_MAX)
    limit = call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    async with acquire(call.worker.pool) as connection:
        rows = await connection.fetch(STATEMENTS["unsealings_after"], after, limit + 1)
    page = [
        messages.UnsealingState(
            unsealing=str(row["number"]),
            position=str(row["position"]),
            principal=row["principal"],
            reason=row["reason"],
            at=rfc3339(micros(row["at"])),
        )
        for row in rows[:limit]
    ]
    following = page[-1].unsealing if len(rows) > limit else ""
    return Answer(200, encode(messages.Unsealings(unsealings=page, next=following)))
