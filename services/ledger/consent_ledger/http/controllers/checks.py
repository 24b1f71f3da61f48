"""`/v1/check` and `/v1/check/batch`: may this data be used?"""

from __future__ import annotations

from consent_gate.answers import BatchAnswer, BatchRequest, CheckAnswer, CheckRequest
from litestar import Controller, Response, post

from consent_ledger.http import checks
from consent_ledger.http.calls import BATCH_BYTES_MAX, Operation
from consent_ledger.http.permissions import ASKERS, EVERY_ROLE
from consent_ledger.http.respond import GivenCall, respond

CHECK = Operation(
    id="check",
    tag="Checks",
    summary="May data of a workspace, collected then, be used for a purpose? What is not certain is denied.",
    roles=EVERY_ROLE,
    body=CheckRequest,
    body_bytes_max=64 * 1024,
    answer=CheckAnswer,
    echoes=True,
    refusals=("invalid_token", "invalid_time"),
)
CHECK_BATCH = Operation(
    id="checkBatch",
    tag="Checks",
    summary="The same for up to 100,000 workspaces and one purpose, answered by columns.",
    roles=ASKERS,
    body=BatchRequest,
    body_bytes_max=BATCH_BYTES_MAX,
    answer=BatchAnswer,
    echoes=True,
    refusals=("invalid_token",),
)


class Checks(Controller):
    """Checks: the question that every pipeline asks first."""

    path = "/v1/check"

    @post("/", operation=CHECK, status_code=200)
    async def check(self, call: GivenCall) -> Response[bytes]:
        return respond(await checks.check(call))

    @post("/batch", operation=CHECK_BATCH, status_code=200)
    async def check_batch(self, call: GivenCall) -> Response[bytes]:
        return respond(await checks.check_batch(call))
