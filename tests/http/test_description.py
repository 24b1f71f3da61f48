"""Given the API's description, when it is read, then it is whole and true, and needs nobody else's server."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from consent_domain.commands import ImportCommand
from consent_domain.errors import STATUS
from consent_ledger.http import permissions
from consent_ledger.http.calls import JSON, Operation
from consent_ledger.http.description import document_of, operations_of
from consent_ledger.http.examples import ANSWERS, BODIES
from consent_ledger.http.pages import CONTENT_SECURITY_POLICY, DESCRIPTION_PAGE
from consent_ledger.http.routes import routes
from litestar import Litestar, get
from openapi_spec_validator import validate

APPLICATION = routes()
OPERATIONS = {operation.id: operation for _, _, operation in operations_of(APPLICATION)}
DOCUMENT = document_of(APPLICATION)

ASKED_FOR = """
GET /v1/policies
POST /v1/policies
GET /v1/purposes
POST /v1/workspaces
GET /v1/workspaces/{workspace}
PATCH /v1/workspaces/{workspace}
POST /v1/workspaces/{workspace}/close
POST /v1/workspaces/{workspace}/succeed
POST /v1/workspaces/{workspace}/erase
GET /v1/workspaces/{workspace}/history
GET /v1/workspaces/{workspace}/ever
GET /v1/organisations
POST /v1/organisations
GET /v1/organisations/{organisation}
POST /v1/organisations/{organisation}/opt-outs
POST /v1/organisations/{organisation}/opt-ins
POST /v1/workspaces/{workspace}/opt-outs
POST /v1/workspaces/{workspace}/opt-ins
GET /v1/requests
GET /v1/requests/{request_id}
POST /v1/requests/{request_id}/acknowledge
POST /v1/requests/{request_id}/needs-action
POST /v1/requests/{request_id}/delay
POST /v1/requests/{request_id}/process
POST /v1/requests/{request_id}/reject
POST /v1/requests/{request_id}/withdraw
POST /v1/opt-ins/{opt_in}/grant
POST /v1/opt-ins/{opt_in}/refuse
POST /v1/opt-ins/{opt_in}/withdraw
POST /v1/purposes/{purpose}/suspend
POST /v1/purposes/{purpose}/resume
POST /v1/texts
GET /v1/texts/{sha256}
POST /v1/persons/find
POST /v1/persons/{person}/erase
POST /v1/events/{position}/unseal
GET /v1/unsealings
POST /v1/runs
GET /v1/runs
GET /v1/runs/{run}
GET /v1/runs/{run}/explain
POST /v1/runs/{run}/discharge
GET /v1/obligations
GET /v1/recipients
POST /v1/recipients/{recipient}/applied
POST /v1/commands
POST /v1/import
GET /v1/events
GET /v1/events/{position}/proof
GET /v1/log
POST /v1/log/checkpoint
GET /log/checkpoint
GET /log/checkpoint.witnessed
GET /log/keys.json
GET /log/tile/{level}/{number}
GET /log/tile/entries/{number}
GET /log/{epoch}/checkpoint
GET /log/{epoch}/checkpoint.witnessed
GET /log/{epoch}/keys.json
GET /log/{epoch}/tile/{level}/{number}
GET /log/{epoch}/tile/entries/{number}
POST /v1/check
POST /v1/check/batch
GET /v1/feed/changes
GET /v1/feed/snapshot
GET /v1/feed/snapshots/{sha256}
GET /health/live
GET /health/ready
GET /metrics
GET /v1/openapi.json
GET /docs
"""


def test_given_the_list_of_routes_when_compared_then_these_and_no_others_exist() -> None:
    found = {f"{method} {path}" for path, method, _ in operations_of(APPLICATION)}
    assert found == set(ASKED_FOR.split("\n")) - {""}


def test_given_a_route_without_a_declaration_when_the_application_is_made_then_it_is_refused() -> None:
    @get("/forgotten")
    async def forgotten() -> None:
        return None

    with pytest.raises(LookupError, match="/forgotten"):
        operations_of(Litestar([forgotten], openapi_config=None))


def test_given_the_operations_when_described_then_ids_are_unique_and_roles_are_known() -> None:
    listed = operations_of(APPLICATION)
    assert len({operation.id for _, _, operation in listed}) == len(listed)
    for _, _, operation in listed:
        assert operation.is_public or operation.roles <= permissions.EVERY_ROLE
        assert operation.roles, f"{operation.id} is for nobody"


def test_given_the_document_when_read_then_every_reference_leads_somewhere() -> None:
    for reference in set(_references(DOCUMENT)):
        part: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    assert DOCUMENT["openapi"] == "3.1.0"


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for value in part.values() for found in _references(value)]
    if isinstance(part, list):
        return [found for value in part for found in _references(value)]
    return []


def test_given_the_document_when_read_by_others_software_then_it_is_openapi() -> None:
    validate(DOCUMENT)  # it raises with what is wrong


def test_given_every_refusal_when_described_then_its_status_is_the_one_of_the_table() -> None:
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                for code, example in (
                    response.get("content", {})
                    .get("application/problem+json", {})
                    .get("examples", {})
                    .items()
                ):
                    assert STATUS[code] == int(status) == example["value"]["status"]


@pytest.mark.parametrize("name", sorted(BODIES))
def test_given_an_example_of_a_body_when_read_by_its_own_struct_then_it_is_valid(name: str) -> None:
    operation = OPERATIONS[name]
    for example in BODIES[name].values():
        if operation.streamed:
            msgspec.convert(example, ImportCommand)
        else:
            msgspec.convert({**example, **_in_path(operation)}, operation.body)


def _in_path(operation: Operation) -> dict[str, Any]:
    given = {"scope": {"kind": "workspace", "id": "acme"}}
    return {name: given.get(name, "acme") for name in operation.from_path}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_given_an_example_of_an_answer_when_read_by_its_own_struct_then_it_says_the_same(name: str) -> None:
    for example in ANSWERS[name].values():
        answer = OPERATIONS[name].answer
        known = {field.encode_name for field in msgspec.structs.fields(answer)}
        assert set(example) <= known
        msgspec.convert(example, answer)


def test_given_every_operation_with_a_body_when_described_then_it_has_an_example() -> None:
    assert {name for name, operation in OPERATIONS.items() if operation.body is not None} == set(BODIES)


def test_given_what_is_answered_in_json_when_described_then_it_has_a_schema_with_words() -> None:
    for name, operation in OPERATIONS.items():
        if operation.answer_type == JSON and operation.answer is not dict:
            schema = DOCUMENT["components"]["schemas"][operation.answer.__name__]
            assert schema.get("description"), name


def test_given_the_page_when_read_then_nothing_on_it_comes_from_elsewhere() -> None:
    assert not re.search(rb"""(src|href)=["']?(https?:)?//""", DESCRIPTION_PAGE)
    assert b"innerHTML" not in DESCRIPTION_PAGE and b"import(" not in DESCRIPTION_PAGE
    assert "unsafe-inline" not in CONTENT_SECURITY_POLICY and "default-src 'none'" in CONTENT_SECURITY_POLICY
