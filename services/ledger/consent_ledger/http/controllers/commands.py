"""`/v1/commands` and `/v1/import`: many at once."""

from __future__ import annotations

from consent_domain.commands import ImportCommand
from litestar import Controller, Response, post

from consent_ledger.http import imports, messages, writes
from consent_ledger.http.calls import COMMANDS_BYTES_MAX, NDJSON, Answer, Call, Operation
from consent_ledger.http.permissions import ADMIN, ADMIN_OWNER
from consent_ledger.http.respond import AnyRequest, GivenCall, respond
from consent_ledger.importer import LINE_BYTES_MAX, Summary

RUN = Operation(
    id="runCommands",
    tag="Commands",
    summary="Give up to 100 commands. Each is applied or refused by itself, in order, with its own verdict.",
    roles=ADMIN_OWNER,
    body=messages.CommandBatch,
    body_bytes_max=COMMANDS_BYTES_MAX,
    answer=messages.CommandVerdicts,
    writes=True,
)
IMPORT = Operation(
    id="importHistory",
    tag="Commands",
    summary="Import what happened before the ledger was opened: a command a line.",
    roles=ADMIN,
    body=ImportCommand,
    body_type=NDJSON,
    streamed=True,
    body_bytes_max=LINE_BYTES_MAX,
    answer=Summary,
    refusals=("wrong_state", "already_exists"),
)


async def run(call: Call) -> Answer:
    """Give the commands in the body."""
    return await writes.write_commands(call)


class Commands(Controller):
    """Commands, as they are told apart by their member `command`."""

    path = "/v1"

    @post("/commands", operation=RUN, status_code=200)
    async def run(self, call: GivenCall) -> Response[bytes]:
        return respond(await run(call))

    @post("/import", operation=IMPORT, status_code=200)
    async def import_history(self, call: GivenCall, request: AnyRequest) -> Response[bytes]:
        return respond(await imports.import_lines(call, request.stream()))
