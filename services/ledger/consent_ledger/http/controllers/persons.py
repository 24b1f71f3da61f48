"""`/v1/persons`: who has something sealed, and their right to have it erased."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from consent_domain import commands
from litestar import Controller, Response, post

from consent_ledger.http import messages, writes
from consent_ledger.http.calls import Answer, Call, Operation, encode
from consent_ledger.http.json_body import decode
from consent_ledger.http.permissions import ADMIN
from consent_ledger.http.respond import GivenCall, respond

FIND = Operation(
    id="findPerson",
    tag="Persons",
    summary="The ref of a person, and the streams on which something is sealed for it. It stands in no URL.",
    roles=ADMIN,
    body=messages.FindPerson,
    answer=messages.PersonFound,
)
ERASE = Operation(
    id="erasePerson",
    tag="Persons",
    summary="Erase a person: the erasure is recorded, then every key of the person is destroyed.",
    roles=ADMIN,
    body=commands.ErasePerson,
    from_path=("person",),
    answer=messages.PersonErasureAnswer,
    writes=True,
    refusals=("unknown_person", "invalid_id"),
)

_decode = msgspec.json.Decoder(messages.FindPerson)
_log = structlog.get_logger()


class Persons(Controller):
    """Persons, by a ref that names nobody."""

    path = "/v1/persons"

    @post("/find", operation=FIND, status_code=200)
    async def find(self, call: GivenCall) -> Response[bytes]:
        return respond(await find(call))

    @post("/{person:str}/erase", operation=ERASE, status_code=200)
    async def erase(self, call: GivenCall) -> Response[bytes]:
        given = {"person": call.path["person"]}
        return respond(await writes.write(call, commands.ErasePerson, 200, given))


async def find(call: Call) -> Answer:
    """The person whom the body names."""
    keys = call.worker.keystore
    person = keys.ref_of(decode(_decode, call.body).subject)
    held = await asyncio.to_thread(keys.keys_of_person, person)
    erased = await asyncio.to_thread(keys.erasures_of, person)
    _log.info("person_looked_up", person=person, principal=call.principal.id)
    found = messages.PersonFound(
        person=person,
        streams=[key.stream for key in held],
        erased_at=[str(position) for position in erased],
    )
    return Answer(200, encode(found), [(b"cache-control", b"no-store")])
