"""`/v1/workspaces/{workspace}/ever`: was it ever opted in, by whom, under which words?"""

from __future__ import annotations

from litestar import Controller, Response, get

from consent_ledger.http import ever, messages
from consent_ledger.http.calls import Operation, Parameter
from consent_ledger.http.controllers.moments import MOMENT, MOMENT_REFUSALS
from consent_ledger.http.permissions import STAFF_OWNER
from consent_ledger.http.respond import GivenCall, respond

EVER = Operation(
    id="wasEverOptedIn",
    tag="Workspaces",
    summary="Whether a workspace was ever opted in, or on by default: when, by whom, under which words.",
    roles=STAFF_OWNER,
    parameters=(
        Parameter("purpose", {"type": "string"}, "The purpose that is asked about; required."),
        *MOMENT,
    ),
    answer=messages.EverAnswer,
    refusals=("unknown_workspace", "damaged", "too_large", *MOMENT_REFUSALS),
)


class EverRoutes(Controller):
    """All that was ever permitted."""

    path = "/v1/workspaces"

    @get("/{workspace:str}/ever", operation=EVER)
    async def ever(self, call: GivenCall) -> Response[bytes]:
        return respond(await ever.ever_of(call))
