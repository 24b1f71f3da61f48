"""`/v1/workspaces`: enrolment, change, end, choices, and what is known of one."""

from __future__ import annotations

from consent_domain import commands
from litestar import Controller, Response, get, patch, post

from consent_ledger.http import messages, reads, writes
from consent_ledger.http.calls import Answer, Call, Operation, Parameter
from consent_ledger.http.controllers.moments import MOMENT, MOMENT_REFUSALS
from consent_ledger.http.permissions import ADMIN, ADMIN_OWNER, STAFF_OWNER, require_own
from consent_ledger.http.respond import GivenCall, respond

AFTER_POSITION = Parameter(
    "after", {"type": "string", "pattern": "^[0-9]{1,19}$"}, "The position after which to go on; 0 at first."
)
PAGE = Parameter(
    "limit", {"type": "string", "pattern": "^[0-9]{1,4}$"}, "How many at most: 1 to 1,000; 100 if not given."
)
PROOFS = Parameter(
    "proofs",
    {"type": "string", "enum": ["true", "false"]},
    "`true`: with the proof of each event that a checkpoint covers, a `.tlog-proof` as text.",
)

ENROL = Operation(
    id="enrolWorkspace",
    tag="Workspaces",
    summary="Enrol a workspace. What the policy in force turns on by default is recorded in the same commit.",
    roles=ADMIN,
    body=commands.EnrolWorkspace,
    answer=messages.WriteAnswer,
    statuses=(201,),
    writes=True,
    refusals=("already_exists", "unknown_organisation", "no_policy_in_force", "invalid_value", "backdated"),
)
READ = Operation(
    id="readWorkspace",
    tag="Workspaces",
    summary="Where a workspace stands on every purpose: why, since when, and under which words.",
    roles=STAFF_OWNER,
    parameters=MOMENT,
    answer=messages.WorkspaceState,
    refusals=("unknown_workspace", "quarantined", "stale", "damaged", *MOMENT_REFUSALS),
)
CHANGE = Operation(
    id="changeWorkspace",
    tag="Workspaces",
    summary="Change plan, region, contract or organisation: only the members given.",
    roles=ADMIN,
    body=commands.ChangeWorkspace,
    from_path=("workspace",),
    answer=messages.WriteAnswer,
    writes=True,
    refusals=("unknown_workspace", "unknown_organisation", "wrong_state", "backdated", "postdated"),
)
CLOSE = Operation(
    id="closeWorkspace",
    tag="Workspaces",
    summary="Close a workspace: everything is denied from then on.",
    roles=ADMIN,
    body=commands.CloseWorkspace,
    from_path=("workspace",),
    answer=messages.WriteAnswer,
    writes=True,
    refusals=("unknown_workspace", "wrong_state", "postdated"),
)
SUCCEED = Operation(
    id="succeedWorkspace",
    tag="Workspaces",
    summary="Let a workspace take over another's data: a denial on either side denies data from before.",
    roles=ADMIN,
    body=commands.SucceedWorkspace,
    from_path=("workspace",),
    answer=messages.WriteAnswer,
    writes=True,
    refusals=("unknown_workspace", "wrong_state", "invalid_value"),
)
ERASE = Operation(
    id="eraseWorkspace",
    tag="Workspaces",
    summary="Propose to erase a workspace, or, as a second person, erase all that is sealed for it.",
    roles=ADMIN,
    body=commands.EraseWorkspace,
    from_path=("workspace",),
    answer=messages.WorkspaceErasureAnswer,
    writes=True,
    refusals=("unknown_workspace", "second_person_required", "quarantined"),
)
HISTORY = Operation(
    id="readHistory",
    tag="Workspaces",
    summary="Every event of a workspace, as it is stored. Personal data stays sealed.",
    roles=STAFF_OWNER,
    parameters=(AFTER_POSITION, PAGE, PROOFS),
    answer=messages.History,
    refusals=("unknown_workspace", "damaged"),
)
OPT_OUT = Operation(
    id="optWorkspaceOut",
    tag="Workspaces",
    summary="Request an opt-out. It denies from receipt, as far as the requester's authority goes.",
    roles=ADMIN_OWNER,
    body=commands.RequestOptOut,
    from_path=("scope",),
    answer=messages.RequestAnswer,
    statuses=(202,),
    writes=True,
    refusals=("unknown_workspace", "wrong_state", "postdated", "backdated", "invalid_value"),
)
OPT_IN = Operation(
    id="requestWorkspaceOptIn",
    tag="Workspaces",
    summary="Request an opt-in. Nothing is permitted by it until it is granted.",
    roles=ADMIN_OWNER,
    body=commands.RequestOptIn,
    from_path=("scope",),
    answer=messages.RequestAnswer,
    statuses=(202,),
    writes=True,
    refusals=("unknown_workspace", "unknown_purpose", "wrong_state", "invalid_value"),
)


async def enrol(call: Call) -> Answer:
    """Enrol the workspace in the body."""
    return await writes.write(call, commands.EnrolWorkspace, 201)


async def opt_out(call: Call) -> Answer:
    """Request an opt-out of the workspace in the path."""
    return await writes.write(call, commands.RequestOptOut, 202, {"scope": _scope(call)})


def _scope(call: Call) -> dict[str, str]:
    workspace = call.id_in_path("workspace")
    require_own(call.principal, "workspace", workspace)
    return {"kind": "workspace", "id": workspace}


class Workspaces(Controller):
    """Workspaces: the customers whose data it is."""

    path = "/v1/workspaces"

    @post("/", operation=ENROL)
    async def enrol(self, call: GivenCall) -> Response[bytes]:
        return respond(await enrol(call))

    @get("/{workspace:str}", operation=READ)
    async def read(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.workspace(call))

    @patch("/{workspace:str}", operation=CHANGE)
    async def change(self, call: GivenCall) -> Response[bytes]:
        given = {"workspace": call.id_in_path("workspace")}
        return respond(await writes.write(call, commands.ChangeWorkspace, 200, given))

    @post("/{workspace:str}/close", operation=CLOSE)
    async def close(self, call: GivenCall) -> Response[bytes]:
        given = {"workspace": call.id_in_path("workspace")}
        return respond(await writes.write(call, commands.CloseWorkspace, 200, given))

    @post("/{workspace:str}/succeed", operation=SUCCEED)
    async def succeed(self, call: GivenCall) -> Response[bytes]:
        given = {"workspace": call.id_in_path("workspace")}
        return respond(await writes.write(call, commands.SucceedWorkspace, 200, given))

    @post("/{workspace:str}/erase", operation=ERASE, status_code=200)
    async def erase(self, call: GivenCall) -> Response[bytes]:
        given = {"workspace": call.id_in_path("workspace")}
        return respond(await writes.write(call, commands.EraseWorkspace, 200, given))

    @get("/{workspace:str}/history", operation=HISTORY)
    async def history(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.history(call))

    @post("/{workspace:str}/opt-outs", operation=OPT_OUT)
    async def opt_out(self, call: GivenCall) -> Response[bytes]:
        return respond(await opt_out(call))

    @post("/{workspace:str}/opt-ins", operation=OPT_IN)
    async def opt_in(self, call: GivenCall) -> Response[bytes]:
        return respond(await writes.write(call, commands.RequestOptIn, 202, {"scope": _scope(call)}))
