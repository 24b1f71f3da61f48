"""`/v1/policies`: the published versions of the vendor's principles."""

from __future__ import annotations

from consent_domain import commands
from litestar import Controller, Response, get, post

from consent_ledger.http import messages, reads, writes
from consent_ledger.http.calls import Operation
from consent_ledger.http.controllers.moments import MOMENT, MOMENT_REFUSALS
from consent_ledger.http.permissions import ADMIN, EVERY_ROLE
from consent_ledger.http.respond import GivenCall, respond

LIST = Operation(
    id="listPolicies",
    tag="Policies",
    summary="Every published version, in the order of their taking effect.",
    roles=EVERY_ROLE,
    parameters=MOMENT,
    answer=messages.Policies,
    refusals=MOMENT_REFUSALS,
)
PUBLISH = Operation(
    id="publishPolicy",
    tag="Policies",
    summary="Publish a version. One called editorial whose rules differ is refused, with the difference.",
    roles=ADMIN,
    body=commands.PublishPolicy,
    body_bytes_max=1024 * 1024,
    answer=messages.WriteAnswer,
    statuses=(201,),
    writes=True,
    refusals=(
        "already_exists",
        "not_editorial",
        "wrong_direction",
        "notice_too_short",
        "policy_out_of_order",
        "backdated",
        "invalid_value",
    ),
)


class Policies(Controller):
    """Policies: law and principles as data."""

    path = "/v1/policies"

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.policies(call))

    @post("/", operation=PUBLISH)
    async def publish(self, call: GivenCall) -> Response[bytes]:
        return respond(await writes.write(call, commands.PublishPolicy, 201))
