"""`/v1/organisations`: their choices bind all their workspaces."""

from __future__ import annotations

from consent_domain import commands
from litestar import Controller, Response, get, post

from consent_ledger.http import messages, reads, writes
from consent_ledger.http.calls import Call, Operation, Parameter
from consent_ledger.http.controllers.moments import MOMENT, MOMENT_REFUSALS
from consent_ledger.http.controllers.workspaces import PAGE
from consent_ledger.http.permissions import ADMIN, ADMIN_OWNER, STAFF_OWNER, require_own
from consent_ledger.http.respond import GivenCall, respond

AFTER_ID = Parameter(
    "after", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}, "The id after which to go on."
)

LIST = Operation(
    id="listOrganisations",
    tag="Organisations",
    summary="Organisations by id. An owner sees its own.",
    roles=STAFF_OWNER,
    parameters=(AFTER_ID, PAGE),
    answer=messages.Organisations,
)
READ = Operation(
    id="readOrganisation",
    tag="Organisations",
    summary="An organisation, and its opt-outs that stand.",
    roles=STAFF_OWNER,
    parameters=MOMENT,
    answer=messages.OrganisationState,
    refusals=("unknown_organisation", *MOMENT_REFUSALS),
)
REGISTER = Operation(
    id="registerOrganisation",
    tag="Organisations",
    summary="Register an organisation, before workspaces are enrolled with it.",
    roles=ADMIN,
    body=commands.RegisterOrganisation,
    answer=messages.WriteAnswer,
    statuses=(201,),
    writes=True,
    refusals=("already_exists",),
)
OPT_OUT = Operation(
    id="optOrganisationOut",
    tag="Organisations",
    summary="Request an opt-out of all workspaces of an organisation, those to come included.",
    roles=ADMIN_OWNER,
    body=commands.RequestOptOut,
    from_path=("scope",),
    answer=messages.RequestAnswer,
    statuses=(202,),
    writes=True,
    refusals=("unknown_organisation", "wrong_state", "postdated", "backdated", "invalid_value"),
)
OPT_IN = Operation(
    id="requestOrganisationOptIn",
    tag="Organisations",
    summary="Request an opt-in for an organisation. Nothing is permitted by it until it is granted.",
    roles=ADMIN_OWNER,
    body=commands.RequestOptIn,
    from_path=("scope",),
    answer=messages.RequestAnswer,
    statuses=(202,),
    writes=True,
    refusals=("unknown_organisation", "unknown_purpose", "wrong_state", "invalid_value"),
)


def _scope(call: Call) -> dict[str, str]:
    organisation = call.id_in_path("organisation")
    require_own(call.principal, "organisation", organisation)
    return {"kind": "organisation", "id": organisation}


class Organisations(Controller):
    """Organisations: several workspaces under one will."""

    path = "/v1/organisations"

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.organisations(call))

    @post("/", operation=REGISTER)
    async def register(self, call: GivenCall) -> Response[bytes]:
        return respond(await writes.write(call, commands.RegisterOrganisation, 201))

    @get("/{organisation:str}", operation=READ)
    async def read(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.organisation(call))

    @post("/{organisation:str}/opt-outs", operation=OPT_OUT)
    async def opt_out(self, call: GivenCall) -> Response[bytes]:
        return respond(await writes.write(call, commands.RequestOptOut, 202, {"scope": _scope(call)}))

    @post("/{organisation:str}/opt-ins", operation=OPT_IN)
    async def opt_in(self, call: GivenCall) -> Response[bytes]:
        return respond(await writes.write(call, commands.RequestOptIn, 202, {"scope": _scope(call)}))
