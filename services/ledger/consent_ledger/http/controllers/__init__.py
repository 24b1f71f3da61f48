"""The routes, a file a resource: what each is for, who may call it, and the function that answers."""

from __future__ import annotations

from litestar import Controller

from consent_ledger.http.controllers.checks import Checks
from consent_ledger.http.controllers.commands import Commands
from consent_ledger.http.controllers.events import Events
from consent_ledger.http.controllers.ever import EverRoutes
from consent_ledger.http.controllers.feed import Feed
from consent_ledger.http.controllers.health import Health
from consent_ledger.http.controllers.log import Log, LogFiles
from consent_ledger.http.controllers.obligations import Obligations
from consent_ledger.http.controllers.opt_ins import OptIns
from consent_ledger.http.controllers.organisations import Organisations
from consent_ledger.http.controllers.persons import Persons
from consent_ledger.http.controllers.policies import Policies
from consent_ledger.http.controllers.purposes import Purposes
from consent_ledger.http.controllers.recipients import Recipients
from consent_ledger.http.controllers.requests import Requests
from consent_ledger.http.controllers.runs import Runs
from consent_ledger.http.controllers.snapshots import Snapshots
from consent_ledger.http.controllers.texts import Texts
from consent_ledger.http.controllers.unsealings import UnsealingRoutes
from consent_ledger.http.controllers.workspaces import Workspaces

CONTROLLERS: tuple[type[Controller], ...] = (
    Checks,
    Workspaces,
    EverRoutes,
    Organisations,
    Requests,
    OptIns,
    Policies,
    Texts,
    Purposes,
    Persons,
    Runs,
    Obligations,
    Recipients,
    Commands,
    Events,
    Log,
    LogFiles,
    Feed,
    Snapshots,
    UnsealingRoutes,
    Health,
)
