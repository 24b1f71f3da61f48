"""`/v1/recipients`: who takes part, and how much of the log each has applied."""

from __future__ import annotations

from litestar import Controller, Response, get, post

from consent_ledger.http import run_messages as messages
from consent_ledger.http import runs
from consent_ledger.http.calls import Operation, Parameter
from consent_ledger.http.controllers.workspaces import PAGE
from consent_ledger.http.permissions import ADMIN_PIPELINE, ASKERS
from consent_ledger.http.respond import GivenCall, respond

LIST = Operation(
    id="listRecipients",
    tag="Runs",
    summary="Who takes part, and how much of the log each has applied, by its own word.",
    roles=ASKERS,
    parameters=(Parameter("after", {"type": "string"}, "The recipient after which to go on."), PAGE),
    answer=messages.RecipientList,
    refusals=("invalid_id",),
)
APPLIED = Operation(
    id="recipientApplied",
    tag="Runs",
    summary="Say that everything up to a token is applied. It never goes back.",
    roles=ADMIN_PIPELINE,
    body=messages.GivenApplied,
    answer=messages.AppliedAnswer,
    writes=True,
    refusals=("invalid_token", "invalid_value", "wrong_state"),
)


class Recipients(Controller):
    """Recipients, by name."""

    path = "/v1/recipients"

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.recipients(call))

    @post("/{recipient:str}/applied", operation=APPLIED, status_code=200)
    async def applied(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.applied(call))
