"""The Litestar application: the routes, guarded, with every failure a problem."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from litestar import Litestar
from litestar.di import Provide

from consent_ledger.http.controllers import CONTROLLERS
from consent_ledger.http.respond import call_of, guard, problem


def routes(*lifespans: Callable[[Litestar], AbstractAsyncContextManager[None]]) -> Litestar:
    """The application behind the dispatcher. The framework's own description and its pages are left out:
    they would say another shape of problems, and load their scripts from elsewhere."""
    return Litestar(
        route_handlers=list(CONTROLLERS),
        dependencies={"call": Provide(call_of)},
        guards=[guard],
        exception_handlers={Exception: problem},
        lifespan=list(lifespans),
        openapi_config=None,
        request_max_body_size=None,
        debug=False,
    )
