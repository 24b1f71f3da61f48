"""`/v1/obligations`: what must be purged or trained again, because whose data it holds said so."""

from __future__ import annotations

from litestar import Controller, Response, get

from consent_ledger.http import run_messages as messages
from consent_ledger.http import runs
from consent_ledger.http.calls import Operation, Parameter
from consent_ledger.http.controllers.runs import WORKSPACE
from consent_ledger.http.permissions import EVERY_ROLE
from consent_ledger.http.respond import GivenCall, respond

LIST = Operation(
    id="listObligations",
    tag="Runs",
    summary="What is due because of a workspace, or of a run and those it followed from: what, why, by when.",
    roles=EVERY_ROLE,
    parameters=(
        WORKSPACE,
        Parameter("run", {"type": "string"}, "The run that is asked about, instead of a workspace."),
        Parameter("open", {"type": "string", "enum": ["true", "false"]}, "`true`: only what is to be done."),
    ),
    answer=messages.ObligationList,
    refusals=("unknown_workspace", "unknown_run", "invalid_id", "damaged", "stale", "too_large"),
)


class Obligations(Controller):
    """What is due."""

    path = "/v1/obligations"

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await runs.obligations(call))
