"""Between Litestar and calls: the guard of every route, the call as a dependency, answers and problems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from consent_domain.errors import ConsentError
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation

from consent_ledger.http import problems
from consent_ledger.http.calls import Answer, Call, Operation, admit, authorise, named

if TYPE_CHECKING:
    from consent_ledger.worker import Worker

AnyRequest: TypeAlias = "Request[Any, Any, Any]"
GivenCall: TypeAlias = NamedDependency[SkipValidation[Call]]
"""The call that a handler gets: made by `call_of`, already authorised."""


def operation_of(handler: BaseRouteHandler) -> Operation | None:
    """What a route declares itself to be. None: nobody may call it."""
    operation = handler.opt.get("operation")
    return operation if isinstance(operation, Operation) else None


def worker_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Worker:
    """The parts of this process. Raises ConsentError `unavailable` before it has started."""
    worker: Worker | None = getattr(connection.app.state, "worker", None)
    if worker is None:
        raise ConsentError("unavailable", "the service is starting; try again")
    return worker


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Authorise every route before its handler runs; one that declares no operation is denied to all."""
    operation = operation_of(handler)
    if operation is None:
        raise HTTPException(status_code=405)
    authorise(worker_of(connection), operation, named(connection.scope["headers"]))


async def call_of(request: AnyRequest) -> Call:
    """The call that a request makes, with its body unless the handler streams it."""
    operation = operation_of(request.route_handler)
    assert operation is not None, "the guard lets no route without an operation through"
    path = {name: str(value) for name, value in request.path_params.items()}
    scope = request.scope
    return await admit(
        worker_of(request), operation, named(scope["headers"]), scope["query_string"], path, request.receive
    )


def address_of(request: AnyRequest) -> str:
    """The path as it came, decoded. The framework's own has slashes taken out that nobody should send."""
    return unquote(request.scope["raw_path"].decode("latin-1"))


def respond(answer: Answer) -> Response[bytes]:
    """An answer as Litestar sends it."""
    return Response(
        answer.body,
        status_code=answer.status,
        # As a header, so that the framework adds no charset to one that has it already.
        headers={
            "content-type": answer.media_type,
            **{name.decode(): value.decode() for name, value in answer.headers},
        },
    )


def problem(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Any exception of a handler, a guard or the routing, as a problem."""
    status, body, headers = problems.answer_to(error)
    named = {name.decode(): value.decode() for name, value in headers if name != b"content-type"}
    if isinstance(error, HTTPException) and error.headers:
        named |= {name.lower(): value for name, value in error.headers.items() if name.lower() == "allow"}
    return Response(body, status_code=status, media_type=problems.MEDIA_TYPE, headers=named)
