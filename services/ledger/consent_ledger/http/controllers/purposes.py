"""`/v1/purposes`: what data is used for, and the stop for everybody."""

from __future__ import annotations

from consent_domain import commands
from consent_domain.commands import Command
from litestar import Controller, Response, get, post

from consent_ledger.http import messages, reads, writes
from consent_ledger.http.calls import Call, Operation
from consent_ledger.http.controllers.moments import MOMENT, MOMENT_REFUSALS
from consent_ledger.http.permissions import ADMIN, EVERY_ROLE
from consent_ledger.http.respond import GivenCall, respond

LIST = Operation(
    id="listPurposes",
    tag="Purposes",
    summary="Every purpose of the policy in force and of those announced.",
    roles=EVERY_ROLE,
    parameters=MOMENT,
    answer=messages.Purposes,
    refusals=MOMENT_REFUSALS,
)
SUSPEND = Operation(
    id="suspendPurpose",
    tag="Purposes",
    summary="Stop a purpose for everybody, at once. One person can.",
    roles=ADMIN,
    body=commands.SuspendPurpose,
    from_path=("purpose",),
    answer=messages.WriteAnswer,
    writes=True,
    refusals=("unknown_purpose", "wrong_state"),
)
RESUME = Operation(
    id="resumePurpose",
    tag="Purposes",
    summary="Propose to resume a purpose, or, as a second person, resume it.",
    roles=ADMIN,
    body=commands.ResumePurpose,
    from_path=("purpose",),
    answer=messages.WriteAnswer,
    writes=True,
    refusals=("unknown_purpose", "not_suspended", "second_person_required"),
)


class Purposes(Controller):
    """Purposes, by key."""

    path = "/v1/purposes"

    @get("/", operation=LIST)
    async def list(self, call: GivenCall) -> Response[bytes]:
        return respond(await reads.purposes(call))

    @post("/{purpose:str}/suspend", operation=SUSPEND)
    async def suspend(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.SuspendPurpose)

    @post("/{purpose:str}/resume", operation=RESUME)
    async def resume(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.ResumePurpose)


async def _take(call: Call, kind: type[Command]) -> Response[bytes]:
    given = {"purpose": call.id_in_path("purpose")}
    return respond(await writes.write(call, kind, 200, given))
