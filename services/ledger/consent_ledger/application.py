"""The application of one worker process: Litestar, and the dispatcher of the hot paths in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consent_plumbing.logs import configure
from consent_plumbing.settings import load
from litestar import Litestar

from consent_ledger.http import checks, feed, log
from consent_ledger.http.controllers import commands as command_routes
from consent_ledger.http.controllers import workspaces as workspace_routes
from consent_ledger.http.description import operations_of
from consent_ledger.http.dispatcher import Dispatcher, Function
from consent_ledger.http.routes import routes
from consent_ledger.orphans import end_with_parent
from consent_ledger.settings import LedgerSettings
from consent_ledger.worker import Worker

HOT: dict[tuple[str, str], Function] = {
    ("POST", "/v1/check"): checks.check,
    ("POST", "/v1/check/batch"): checks.check_batch,
    ("POST", "/v1/commands"): command_routes.run,
    ("POST", "/v1/workspaces"): workspace_routes.enrol,
    ("POST", "/v1/workspaces/{workspace}/opt-outs"): workspace_routes.opt_out,
    ("GET", "/v1/events/{position}/proof"): log.proof,
    ("GET", "/v1/feed/changes"): feed.changes,
}
"""What the dispatcher answers by itself: the functions that the routes call too."""


def make() -> Dispatcher:
    """The application by the environment's settings: what each worker process calls once."""
    settings = load(LedgerSettings)
    configure(settings.log_level, "ledger")
    end_with_parent()
    return application(settings)


def application(settings: LedgerSettings) -> Dispatcher:
    """An application that opens its worker's parts when the server starts it, and closes them at the end.

    Raises LookupError if a route declares no operation: nobody could say who may call it.
    """

    @asynccontextmanager
    async def lifespan(litestar: Litestar) -> AsyncIterator[None]:
        async with Worker.running(settings) as worker:
            litestar.state.worker = dispatcher.worker = worker
            try:
                yield
            finally:
                litestar.state.worker = dispatcher.worker = None

    litestar = routes(lifespan)
    operations = {(method, path): operation for path, method, operation in operations_of(litestar)}
    dispatcher = Dispatcher(litestar, {place: (operations[place], found) for place, found in HOT.items()})
    return dispatcher
