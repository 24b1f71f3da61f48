"""The hot paths, answered in front of Litestar by the same operations, calls and functions.

Checks, batches, single appends, proofs and the feed are asked so often that routing them through the
framework would halve what a worker answers. Nothing but the way in differs: the application's own route
table gives the operation, `admit` authorises and reads, and the function that the route calls answers.

HEAD is answered here too, as GET is and without the body (RFC 9110 §9.3.2).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from consent_domain.errors import ConsentError

from consent_ledger.http import metrics
from consent_ledger.http.calls import Answer, Call, Operation, admit, named
from consent_ledger.http.problems import answer_to

if TYPE_CHECKING:
    from consent_ledger.worker import Worker

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Function: TypeAlias = Callable[[Call], Awaitable[Answer]]

PART_BYTES = 256 * 1024
"""A longer body is sent in parts, each when the one before is on its way: the server copies what it sends,
and would hold a whole page of the feed for each gate that reads slowly."""


class _WithId(NamedTuple):
    """A path that is `prefix`, an id called `name`, and `suffix`."""

    method: str
    prefix: str
    name: str
    suffix: str
    found: tuple[Operation, Function]


def _with_id(method: str, path: str, found: tuple[Operation, Function]) -> _WithId:
    prefix, _, rest = path.partition("{")
    name, _, suffix = rest.partition("}")
    return _WithId(method, prefix, name, suffix, found)


class Dispatcher:
    """An ASGI application: hot paths here, everything else behind it."""

    def __init__(self, behind: Any, hot: dict[tuple[str, str], tuple[Operation, Function]]) -> None:
        """`behind`: an ASGI application. `hot`: method and path (as in the API's description, with one
        parameter at most, that is an id) → what it does."""
        self.behind = behind
        self._hot = {place: found for place, found in hot.items() if "{" not in place[1]}
        self._with_id = [_with_id(*place, found) for place, found in hot.items() if "{" in place[1]]
        self.worker: Worker | None = None
        """Set once the process has started."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it (and the lifespan) on."""
        if scope["type"] != "http":
            await self.behind(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        found = self._hot.get((method, path))
        if found is not None:
            await self._answer(*found, scope, {}, receive, send)
            return
        for one in self._with_id:
            if method == one.method and path.startswith(one.prefix) and path.endswith(one.suffix):
                given = path[len(one.prefix) : -len(one.suffix)]
                if given and "/" not in given:
                    await self._answer(*one.found, scope, {one.name: given}, receive, send)
                    return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500
        asks_for_head = scope["method"] == "HEAD"
        if asks_for_head:
            scope = {**scope, "method": "GET"}

        async def noticing(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif asks_for_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.behind(scope, receive, noticing)
        finally:
            handler = scope.get("route_handler")
            operation = handler.opt.get("operation") if handler is not None else None
            name = operation.id if operation is not None else "none"
            metrics.count_request(name, status, time.perf_counter() - started)

    async def _answer(
        self,
        operation: Operation,
        function: Function,
        scope: Scope,
        path: dict[str, str],
        receive: Receive,
        send: Send,
    ) -> None:
        started = time.perf_counter()
        try:
            if self.worker is None:
                raise ConsentError("unavailable", "the service is starting; try again")
            call = await admit(
                self.worker, operation, named(scope["headers"]), scope["query_string"], path, receive
            )
            status, body, headers, media_type = await function(call)
            headers = [(b"content-type", media_type.encode()), *headers]
        except Exception as error:
            status, body, headers = answer_to(error)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        sent = 0
        while len(body) - sent > PART_BYTES:
            part = body[sent : sent + PART_BYTES]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            sent += PART_BYTES
        await send({"type": "http.response.body", "body": body[sent:] if sent else body})
        metrics.count_request(operation.id, status, time.perf_counter() - started)
