"""The API's description, OpenAPI 3.1, built from what the routes themselves declare.

Schemas are JSON Schema 2020-12 of the very structs that read and write the messages, so the
description cannot say anything else than what happens; examples are read by those structs in a test.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import msgspec
from consent_domain.errors import STATUS
from litestar import Litestar
from litestar.routes import HTTPRoute

from consent_ledger.http import messages
from consent_ledger.http.calls import DRY_RUN, JSON, Operation, Parameter
from consent_ledger.http.examples import ANSWERS, BODIES
from consent_ledger.http.problems import MEDIA_TYPE, TITLES, TYPE_PREFIX
from consent_ledger.http.respond import operation_of

_TEMPLATE = "#/components/schemas/{name}"
_INTRODUCTION = """\
Where a vendor records what each workspace was told and decided, and what every pipeline asks first.

Every answer that rests on the log carries a token, `origin/epoch/position` (also in `Consent-Token`).
Positions and 64-bit integers are strings. Refusals are RFC 9457 problems with a stable `code`.
Send `Idempotency-Key` with writes: the same key settles an outcome that got lost, for ever.
"""
_ID_PATTERN = "^[A-Za-z0-9._-]{1,128}$"
_PATH_PATTERNS = {
    "position": "^[0-9]{1,19}$",
    "epoch": "^[1-9][0-9]{0,9}$",
    "level": "^[0-9]{1,2}$",
    "sha256": "^[0-9a-f]{64}$",
    "number": r"^(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?$",
}
"""What is no id. A number of a tile is the rest of the path, slashes included."""
_EVERYWHERE = ("malformed", "internal", "unavailable")
_WITH_KEY = ("unauthenticated", "forbidden")
_WITH_BODY = ("too_deep", "too_large", "unsupported_media_type", "invalid_id", "invalid_time")
_WITH_WRITE = ("idempotency_key_reused", "overloaded", "outcome_unknown")


@lru_cache(maxsize=1)
def document_of(application: Litestar) -> dict[str, Any]:
    """The OpenAPI document of every operation of the application. Do not change it: it is kept."""
    operations = operations_of(application)
    schemas = _schemas([operation for _, _, operation in operations])
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations:
        paths.setdefault(path, {})[method.lower()] = _described(path, method, operation)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Consent Ledger",
            "version": version("consent-ledger"),
            "summary": "May this data be used for this purpose?",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}],
        "tags": [{"name": name} for name in dict.fromkeys(operation.tag for _, _, operation in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `ck_…`, of the role that the operation names.",
                }
            },
            "headers": {
                "Consent-Token": {
                    "description": "The token of the answer.",
                    "schema": {"type": "string", "examples": ["consent.local/ledger/1/42"]},
                },
                "Consent-Question": {
                    "description": "The text that the request came with.",
                    "schema": {"type": "string"},
                },
                "ETag": {
                    "description": "The version of the stream: send it back as If-Match.",
                    "schema": {"type": "string", "examples": ['"7"']},
                },
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
            },
        },
    }


def operations_of(application: Litestar) -> list[tuple[str, str, Operation]]:
    """Path (as in the description), method and operation of every route, in the order of the controllers.

    Raises LookupError for a route that declares no operation: nobody could say who may call it.
    """
    found = []
    for route in application.routes:
        assert isinstance(route, HTTPRoute), f"{route.path} is no HTTP route"
        for handler in route.route_handlers:
            operation = operation_of(handler)
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                if operation is None:
                    raise LookupError(f"{method} {route.path} declares no operation, so nobody may call it")
                found.append((_path_of(route), str(method), operation))
    return found


def _path_of(route: HTTPRoute) -> str:
    return "".join(
        "/" + (part if isinstance(part, str) else "{" + part.name + "}") for part in route.path_components
    ) or "/"  # fmt: skip


# -- one operation -------------------------------------------------------------------------------------------


def _described(path: str, method: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _who(operation),
        "parameters": [*_path_parameters(path), *_parameters(operation)],
        "responses": _responses(operation),
    }
    if operation.is_public:
        described["security"] = []
    if operation.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": _TEMPLATE.format(name=_body_name(operation))}}
        if operation.id in BODIES:
            content["examples"] = {name: {"value": value} for name, value in BODIES[operation.id].items()}
        a_line = " a line" if operation.streamed else ""
        described["requestBody"] = {
            "required": True,
            "description": f"At most {operation.body_bytes_max:,} bytes{a_line}.",
            "content": {operation.body_type: content},
        }
    return described


def _who(operation: Operation) -> str:
    if operation.is_public:
        return "Open to everybody."
    right = " The key must have the right to unseal." if operation.unseals else ""
    own = " An owner: its own only; another tenant's is answered 404." if "owner" in operation.roles else ""
    return f"Roles: {', '.join(sorted(operation.roles))}.{right}{own}"


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": _PATH_PATTERNS.get(name, _ID_PATTERN)},
        }
        for name in names
    ]


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    query = [*operation.parameters, *([DRY_RUN] if operation.writes else [])]
    described = [_parameter("query", parameter) for parameter in query]
    if operation.writes:
        key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        described.append(
            _parameter(
                "header", Parameter("Idempotency-Key", key, "The same key is the same write, for ever.")
            )
        )
        if operation.id != "runCommands":
            tag = {"type": "string", "pattern": '^"[0-9]{1,10}"$'}
            described.append(
                _parameter(
                    "header", Parameter("If-Match", tag, "Write only if the version is still this one.")
                )
            )
    if operation.echoes:
        question = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
        told = "Any text of your own: the answer carries it back, so that you know it for yours."
        described.append(_parameter("header", Parameter("Consent-Question", question, told)))
    return described


def _parameter(place: str, parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "required": False,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in operation.statuses:
        response: dict[str, Any] = {"description": "The answer." if status < 400 else "What is wrong."}
        if operation.answer_type != JSON:
            response["content"] = {operation.answer_type: {"schema": {"type": "string"}}}
        elif operation.answer is not None:
            content: dict[str, Any] = {"schema": _answer_schema(operation)}
            if operation.id in ANSWERS and status < 400:
                content["examples"] = {
                    name: {"value": value} for name, value in ANSWERS[operation.id].items()
                }
            response["content"] = {JSON: content}
        if operation.writes:
            response["headers"] = {
                name: {"$ref": f"#/components/headers/{name}"} for name in ("Consent-Token", "ETag")
            }
        if operation.echoes:
            names = ("Consent-Token", "Consent-Question")[operation.answer_type != JSON :]
            response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        responses[str(status)] = response
    if operation.writes and "200" not in responses:
        responses["200"] = {**responses[str(operation.statuses[0])], "description": "A dry run's answer."}
    for status, codes in sorted(_codes_by_status(operation).items()):
        responses.setdefault(str(status), _refusal(status, codes))
    return responses


def _answer_schema(operation: Operation) -> dict[str, Any]:
    if operation.answer is dict:
        return {"type": "object"}
    return {"$ref": _TEMPLATE.format(name=operation.answer.__name__)}


def _codes_by_status(operation: Operation) -> dict[int, list[str]]:
    if operation.is_public:
        return _by_status(("internal", *operation.refusals))
    codes = [*_EVERYWHERE, *_WITH_KEY, *operation.refusals]
    codes += _WITH_BODY if operation.body is not None else ()
    codes += _WITH_WRITE if operation.writes else ()
    if operation.writes and operation.id != "runCommands":
        codes.append("version_conflict")
    return _by_status(codes)


def _by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        grouped.setdefault(STATUS[code], []).append(code)
    return grouped


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {TITLES[code]}" for code in codes),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": _TEMPLATE.format(name="Problem")},
                "examples": {code: {"value": problem_example(code)} for code in codes},
            }
        },
    }
    if status == 503:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return response


def problem_example(code: str) -> dict[str, Any]:
    """A problem of a code, as it looks."""
    return {
        "type": TYPE_PREFIX + code,
        "title": TITLES[code],
        "status": STATUS[code],
        "detail": "what was wrong here, and what to do",
        "code": code,
        "instance": "urn:uuid:0199e1a2-7c1e-7b2a-9d0e-3f1c2b4a5d6e",
    }


# -- schemas -------------------------------------------------------------------------------------------------


def _body_name(operation: Operation) -> str:
    if operation.streamed:
        return "ImportCommand"
    name: str = operation.body.__name__
    return f"{name}Body" if operation.from_path else name


def _schemas(operations: list[Operation]) -> dict[str, Any]:
    kinds: list[Any] = [messages.Problem]
    for operation in operations:
        if operation.body is not None:
            kinds.append(operation.body)
        if operation.answer not in (None, dict):
            kinds.append(operation.answer)
    written, components = msgspec.json.schema_components(list(dict.fromkeys(kinds)), ref_template=_TEMPLATE)
    schemas = dict(components)
    for schema in written:
        if "$ref" not in schema:
            schemas["ImportCommand"] = schema
    for operation in operations:
        if operation.from_path and operation.body is not None:
            whole = components[operation.body.__name__]
            schemas[_body_name(operation)] = _without(whole, {*operation.from_path, "command"})
        elif isinstance(operation.body, type) and "command" in schemas.get(operation.body.__name__, {}).get(
            "required", ()
        ):
            schemas[operation.body.__name__] = _optional(schemas[operation.body.__name__], "command")
    return schemas


def _without(schema: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The schema of an object, without some members."""
    rest = copy.deepcopy(schema)
    rest["properties"] = {name: value for name, value in rest["properties"].items() if name not in names}
    rest["required"] = [name for name in rest.get("required", ()) if name not in names]
    return rest


def _optional(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema of an object, one member of which may be left out."""
    return {**schema, "required": [other for other in schema["required"] if other != name]}
