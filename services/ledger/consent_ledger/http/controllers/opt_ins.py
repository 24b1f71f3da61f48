"""`/v1/opt-ins`: explicit consent, given for what a notice showed."""

from __future__ import annotations

from consent_domain import commands
from consent_domain.commands import Command
from litestar import Controller, Response, post

from consent_ledger.http import messages, writes
from consent_ledger.http.calls import Call, Operation
from consent_ledger.http.permissions import COMMAND_ROLES
from consent_ledger.http.respond import GivenCall, respond


def _step(verb: str, kind: type[Command], summary: str, *refusals: str) -> Operation:
    return Operation(
        id=f"{verb}OptIn",
        tag="Opt-ins",
        summary=summary,
        roles=COMMAND_ROLES[kind],
        body=kind,
        from_path=("optIn",),
        answer=messages.RequestAnswer,
        writes=True,
        refusals=("unknown_opt_in", "wrong_state", "authority_insufficient", *refusals),
    )


GRANT = _step(
    "grant",
    commands.GrantOptIn,
    "Consent, for the purposes exactly as the notice showed them.",
    "backdated",
    "unknown_purpose",
)
REFUSE = _step("refuse", commands.RefuseOptIn, "Refuse: it stands as opted out under every later policy.")
WITHDRAW = _step("withdraw", commands.WithdrawOptIn, "Take consent back: it stands as opted out from now on.")


class OptIns(Controller):
    """Opt-ins, by the id that their request was answered with."""

    path = "/v1/opt-ins"

    @post("/{opt_in:str}/grant", operation=GRANT)
    async def grant(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.GrantOptIn)

    @post("/{opt_in:str}/refuse", operation=REFUSE)
    async def refuse(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.RefuseOptIn)

    @post("/{opt_in:str}/withdraw", operation=WITHDRAW)
    async def withdraw(self, call: GivenCall) -> Response[bytes]:
        return await _take(call, commands.WithdrawOptIn)


async def _take(call: Call, kind: type[Command]) -> Response[bytes]:
    return respond(await writes.write(call, kind, 200, {"optIn": call.path["opt_in"]}))
