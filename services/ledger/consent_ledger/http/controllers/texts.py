"""`/v1/texts`: the words of policies and notices, by the SHA-256 that events name them by."""

from __future__ import annotations

from litestar import Controller, Response, get, post

from consent_ledger.http import messages, texts
from consent_ledger.http.calls import Operation
from consent_ledger.http.permissions import ADMIN, EVERY_ROLE
from consent_ledger.http.respond import GivenCall, respond

KEEP = Operation(
    id="keepText",
    tag="Policies",
    summary="Keep the words of a policy or notice; `textSha256` is what publishing then names.",
    roles=ADMIN,
    body=messages.GivenText,
    body_bytes_max=texts.TEXT_BYTES_MAX,
    answer=messages.KeptText,
    statuses=(201,),
    refusals=("invalid_value", "already_exists"),
)
READ = Operation(
    id="readText",
    tag="Policies",
    summary="The words with this SHA-256, byte for byte.",
    roles=EVERY_ROLE,
    answer_type="text/plain",
    refusals=("not_found", "invalid_id"),
)


class Texts(Controller):
    """Texts: what people were told, word for word."""

    path = "/v1/texts"

    @post("/", operation=KEEP)
    async def keep(self, call: GivenCall) -> Response[bytes]:
        return respond(await texts.keep(call))

    @get("/{sha256:str}", operation=READ)
    async def read(self, call: GivenCall) -> Response[bytes]:
        return respond(await texts.read(call))
