"""The hot paths, answered in front of Litestar by the same operations, calls and functions.

Checks, batches and single appends are asked so often that routing them through the framework would
halve what a worker answers. Nothing but the way in differs: the application's own route table gives
the operation, `admit` authorises and reads, and the function that the route calls answers.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

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

_OPT_OUT_PREFIX = "/v1/workspaces/"
_OPT_OUT_SUFFIX = "/opt-outs"
OPT_OUT_PATH = "/v1/workspaces/{workspace}/opt-outs"


class Dispatcher:
    """An ASGI application: hot paths here, everything else behind it."""

    def __init__(self, behind: Any, hot: dict[str, tuple[Operation, Function]]) -> None:
        """`behind`: an ASGI application. `hot`: path (as in the API's description) → what its POST does."""
        self.behind = behind
        self._hot = hot
        self._opt_out = hot[OPT_OUT_PATH]
        self.worker: Worker | None = None
        """Set once the process has started."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it (and the lifespan) on."""
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            found = self._hot.get(path)
            if found is not None:
                await self._answer(*found, scope, {}, receive, send)
                return
            if path.startswith(_OPT_OUT_PREFIX) and path.endswith(_OPT_OUT_SUFFIX):
                workspace = path[len(_OPT_OUT_PREFIX) : -len(_OPT_OUT_SUFFIX)]
                if workspace and "/" not in workspace:
                    await self._answer(*self._opt_out, scope, {"workspace": workspace}, receive, send)
                    return
        if scope["type"] == "http":
            await self._pass_on(scope, receive, send)
        else:
            await self.behind(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500

        async def noticing(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
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
        await send({"type": "http.response.body", "body": body})
        metrics.count_request(operation.id, status, time.perf_counter() - started)
