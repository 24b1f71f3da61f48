"""`/v1/requests`: opt-outs and opt-ins on their way, and the steps that staff and owners take."""

from __future__ import annotations

from consent_domain import commands
from consent_domain.commands import Command
from litestar import Controller, Response, get, post

from consent_ledger.http import messages, reads, writes
from consent_ledger.http.calls import Call, Operation, Parameter
from consent_ledger.http.controllers.moments import MOMENT, MOMENT_REFUSALS
from consent_ledger.http.controllers.workspaces import PAGE
from consent_ledger.http.permissions import COMMAND_ROLES, STAFF_OWNER
from consent_ledger.http.respond import GivenCall, respond

LIST = Operation(
    id="listRequests",
    tag="Requests",
    summary="Requests in the order in which they began, and how long the last 90 days' took.",
    roles=STAFF_OWNER,
    parameters=(
        Parameter(
            "state",
            {
                "type": "string",
                "enum": [
                    "open", "received", "acknowledged", "needs_action", "delayed", "processed", "rejected",
                    "withdrawn", "granted", "refused",
                ],
            },
            "Only requests in this state; `open`: where somebody still has to do something.",
        ),
        Parameter("overdue", {"type": "string", "enum": ["true", "false"]}, "`true`: only those past due."),
        Parameter("after", {"type": "string", "format": "uuid"}, "The request after which to go on."),
        PAGE,
    ),
    answer=messages.Requests,
)  # fmt: skip
READ = Operation(
    id="readRequest",
    tag="Requests",
    summary="One request: its state, when it is due, under which rule.",
    roles=STAFF_OWNER,
    parameters=MOMENT,
    answer=messages.RequestState,
    refusals=("unknown_request", "quarantined", *MOMENT_REFUSALS),
)


def _step(verb: str, kind: type[Command], summary: str, *refusals: str) -> Operation:
    return Operation(
        id=f"{verb}OptOut",
        tag="Requests",
        summary=summary,
        roles=COMMAND_ROLES[kind],
        body=kind,
        from_path=("request",),
        answer=messages.RequestAnswer,
        writes=True,
        refusals=("unknown_request", "wrong_state", *refusals),
    )


ACKNOWLEDGE = _step(
    "acknowledge",
    commands.AcknowledgeOptOut,
    "Say that the request was seen, and what became known of the requester's authority.",
)
NEEDS_ACTION = _step("requireActionFor", commands.AskForAction, "Ask the requester for something.")
DELAY = _step(
    "delay", commands.DelayOptOut, "Be due later, once, as far as the rule allows.", "reason_not_listed"
)
PROCESS = _step("process", commands.ProcessOptOut, "Say that the opt-out was carried out.")
REJECT = _step(
    "reject",
    commands.RejectOptOut,
    "Reject the opt-out, for a reason that the policy lists; a second person approves.",
    "reason_not_listed",
    "second_person_required",
)
WITHDRAW = _step("withdraw", commands.WithdrawOptOut, "Take the opt-out back.", "authority_insufficient")


class Requests(Controller):
    """Requests: every one has a due date, and says how long the others took."""

    path = "/v1/requests"

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.requests(call))

    @get("/{request_id:str}", operation=READ)
    async def read(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.request(call))

    @post("/{request_id:str}/acknowledge", operation=ACKNOWLEDGE)
    async def acknowledge(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.AcknowledgeOptOut)

    @post("/{request_id:str}/needs-action", operation=NEEDS_ACTION)
    async def needs_action(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.AskForAction)

    @post("/{request_id:str}/delay", operation=DELAY)
    async def delay(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.DelayOptOut)

    @post("/{request_id:str}/process", operation=PROCESS)
    async def process(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.ProcessOptOut)

    @post("/{request_id:str}/reject", operation=REJECT)
    async def reject(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.RejectOptOut)

    @post("/{request_id:str}/withdraw", operation=WITHDRAW)
    async def withdraw(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.WithdrawOptOut)


async def _take(call: Call, kind: type[Command]) -> Response[bytes]:
    return respond(await writes.write(call, kind, 200, {"request": call.path["request_id"]}))
